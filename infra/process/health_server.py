"""The health server of a process: /metrics, /healthz and /readyz for monitoring, over HTTP on a port of its own.

Why a thread: a process whose event loop hangs still answers /metrics, and its /readyz says that it hangs. The thread
touches nothing that the process works with: it reads the HealthState, which the event loop has written.
"""

import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from infra.process.loops import every
from infra.process.metrics import REGISTRY

if TYPE_CHECKING:
    from infra.log.lag import Lags

SLACK = 4
"""A process is no longer ready when its last successful measurement is older than so many periods."""


class QuietRequestHandler(WSGIRequestHandler):
    """A handler that writes no log line for a request: monitoring asks every few seconds."""

    def log_message(self, format: str, *args: object) -> None:
        """Write no log line for a request."""


class HealthState:
    """Whether a process is ready, as its last measurement of itself found.

    A process whose event loop hangs, or whose log or database does not answer, has no successful measurement, and is
    not ready.
    """

    def __init__(self, every: float) -> None:
        """Make the state of a process that measures itself every `every` seconds, and has not done so yet."""
        self.every = every
        self._succeeded_at: float | None = None
        self._problem = "not measured yet"
        self.lags: Lags = {}
        """The lag of each topic at the last successful measurement."""

    def succeeded(self, lags: "Lags | None" = None) -> None:
        """Note that a measurement succeeded just now, and the lags that it found."""
        self.lags = lags or {}
        self._succeeded_at = time.monotonic()
        self._problem = ""

    def failed(self, problem: str) -> None:
        """Note that a measurement failed: the process is not ready because of `problem`."""
        self._problem = problem

    def problem(self) -> str:
        """Return why the process is not ready, or an empty text if it is."""
        if self._succeeded_at is None or self._problem:
            return self._problem
        age = time.monotonic() - self._succeeded_at
        return f"no successful measurement for {age:.0f} s" if age > self.every * SLACK else ""


async def measure_health(
    health: HealthState, look: "Callable[[], Awaitable[Lags]]", away: tuple[type[Exception], ...]
) -> None:
    """Measure the lags by `look` every `health.every` seconds until cancelled, and note the outcome in `health`.

    Exceptions of the types in `away` make the process not ready until a later measurement succeeds. Raises any other
    exception of `look`.
    """

    async def run() -> None:
        try:
            health.succeeded(await look())
        except away as error:
            health.failed(str(error))
            raise

    await every(health.every, run, name="health", failures=away)


Start = Callable[[str, list[tuple[str, str]]], Any]


def health_app(health: HealthState) -> Callable[[dict[str, Any], Start], Iterable[bytes]]:
    """Make the WSGI application (PEP 3333) that answers /metrics, /healthz and /readyz.

    /readyz answers 503 with the problem where the process is not ready. /healthz answers 200 as long as it answers."""
    metrics: Any = make_wsgi_app(REGISTRY)

    def serve(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        problem = ""
        match environ.get("PATH_INFO"):
            case "/metrics":
                found: Iterable[bytes] = metrics(environ, start)
                return found
            case "/healthz":
                body: dict[str, Any] = {"status": "ok"}
            case "/readyz":
                problem = health.problem()
                body = {"status": "not ready", "problem": problem} if problem else {"status": "ready"}
                body["lag"] = {name: each._asdict() for name, each in health.lags.items()}
            case _:
                start("404 Not Found", [("Content-Type", "text/plain")])
                return [b"/metrics, /healthz or /readyz\n"]
        start("503 Service Unavailable" if problem else "200 OK", [("Content-Type", "application/json")])
        return [json.dumps(body).encode() + b"\n"]

    return serve


def start_health_server(address: str, port: int, health: HealthState) -> WSGIServer | None:
    """Start the health server in a thread; it serves until the process ends or its shutdown() is called.

    Returns the server, or None where `port` is 0, which means none. Raises OSError where the port cannot be bound.
    """
    if not port:
        return None
    server = make_server(address, port, health_app(health), ThreadingWSGIServer, handler_class=QuietRequestHandler)
    threading.Thread(target=server.serve_forever, name="health-server", daemon=True).start()
    return server
