"""The door for those who watch a process: /metrics, /healthz and /readyz, on a port of its own.

Why a thread: a process whose loop hangs still answers /metrics, and its /readyz says that it hangs. Nothing here
touches what the process works with; a pulse is what its loop has written down.
"""

import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from infra.log.lag import Lags
from infra.process.loops import every
from infra.process.metrics import REGISTRY

SLACK = 4
"""Measurements that may be missing until a process does not count as ready."""


class Quiet(WSGIRequestHandler):
    """A request each few seconds is not worth a line."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Pulse:
    """Whether the process measures itself as it should, and what it found in its way.

    It beats when all that it measures was measured: a loop that hangs, or a log or database that does not answer,
    leaves it without a beat.
    """

    def __init__(self, every: float) -> None:
        """`every`: seconds between two measurements."""
        self.every = every
        self._beat: float | None = None
        self._problem = "not measured yet"
        self.lags: Lags = {}
        """What waited when it was measured last."""

    def beat(self, found: Lags | None = None) -> None:
        """All is well now; `found` waits."""
        self.lags = found or {}
        self._beat = time.monotonic()
        self._problem = ""

    def miss(self, problem: str) -> None:
        """This stands in the way now."""
        self._problem = problem

    def problem(self) -> str:
        """Why the process is not ready; empty if it is."""
        if self._beat is None or self._problem:
            return self._problem
        silent = time.monotonic() - self._beat
        return f"nothing measured for {silent:.0f} s" if silent > self.every * SLACK else ""


async def measure(pulse: Pulse, look: Callable[[], Awaitable[Lags]], away: tuple[type[Exception], ...]) -> None:
    """Look every now and then, for ever; `away` are the errors of a look that are waited out."""

    async def run() -> None:
        try:
            pulse.beat(await look())
        except away as error:
            pulse.miss(str(error))
            raise

    await every(pulse.every, run, name="health", failures=away)


Start = Callable[[str, list[tuple[str, str]]], Any]


def doors(pulse: Pulse) -> Callable[[dict[str, Any], Start], Iterable[bytes]]:
    """The WSGI application (PEP 3333)."""
    metrics: Any = make_wsgi_app(REGISTRY)

    def serve(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        problem = ""
        match environ.get("PATH_INFO"):
            case "/metrics":
                found: Iterable[bytes] = metrics(environ, start)
                return found
            case "/healthz":
                told: dict[str, Any] = {"status": "ok"}
            case "/readyz":
                problem = pulse.problem()
                told = {"status": "not ready", "problem": problem} if problem else {"status": "ready"}
                told["lag"] = {name: each._asdict() for name, each in pulse.lags.items()}
            case _:
                start("404 Not Found", [("Content-Type", "text/plain")])
                return [b"/metrics, /healthz or /readyz\n"]
        start("503 Service Unavailable" if problem else "200 OK", [("Content-Type", "application/json")])
        return [json.dumps(told).encode() + b"\n"]

    return serve


def open_doors(address: str, port: int, pulse: Pulse) -> WSGIServer | None:
    """Serve from now on, until the process ends or shutdown() is called; None where the port is 0. Raises OSError."""
    if not port:
        return None
    server = make_server(address, port, doors(pulse), ThreadingWSGIServer, handler_class=Quiet)
    threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()
    return server
