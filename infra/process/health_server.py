"""The health server of a process: /metrics, /healthz and /readyz for monitoring, over HTTP on a port of its own.

Why a thread: a process whose event loop hangs still answers /metrics, and its /readyz says that it hangs. The thread
touches nothing that the process works with: it reads the HealthState, which the event loop has written.
"""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from prometheus_client import make_asgi_app
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from infra.process.error_text import text_of
from infra.process.http_server import EmbeddedServer, embedded_server
from infra.process.loops import every
from infra.process.metrics import REGISTRY
from infra.process.settings import Http

if TYPE_CHECKING:
    from infra.log.lag import Lags

SLACK = 4
"""A process is no longer ready when its last successful measurement is older than so many periods."""


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
            health.failed(text_of(error))
            raise

    await every(health.every, run, name="health", failures=away)


def health_app(health: HealthState) -> ASGIApp:
    """Make the ASGI application that answers /metrics, /healthz and /readyz.

    /readyz answers 503 with the problem where the process is not ready. /healthz answers 200 as long as it answers."""
    metrics: ASGIApp = make_asgi_app(REGISTRY)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        problem = ""
        match scope["path"]:
            case "/metrics":
                await metrics(scope, receive, send)
                return
            case "/healthz":
                body: dict[str, Any] = {"status": "ok"}
            case "/readyz":
                problem = health.problem()
                body = {"status": "not ready", "problem": problem} if problem else {"status": "ready"}
                body["lag"] = {name: each._asdict() for name, each in health.lags.items()}
            case _:
                await PlainTextResponse("/metrics, /healthz or /readyz\n", 404)(scope, receive, send)
                return
        answer = Response(json.dumps(body) + "\n", 503 if problem else 200, media_type="application/json")
        await answer(scope, receive, send)

    return serve


def start_health_server(
    address: str, port: int, health: HealthState, limits: Http | None = None
) -> EmbeddedServer | None:
    """Start the health server in a thread with an event loop of its own; it serves until the process ends or its
    `should_exit` is set. `limits` are those of its connections; None is the defaults.

    Returns the server, or None where `port` is 0, which means none. Raises OSError where the port cannot be bound.
    """
    if not port:
        return None
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family)
    server = embedded_server(health_app(health), name="health", limits=limits)
    threading.Thread(target=lambda: asyncio.run(server.serve([listener])), name="health-server", daemon=True).start()
    return server
