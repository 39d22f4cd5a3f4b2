"""Every HTTP server of every process: one part of a process among others, held to the limits of the section `http`.

Why: a server of uvicorn's takes the signals of its process for itself, and the other parts would not end; and it has
no limit on what a client may send, or for how long it may send nothing.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from infra.process.http_limits import ConnectionWatch, LimitedConfig, LimitedProtocol
from infra.process.settings import Http

HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
"""Header fields of every answer, for browsers: it is no page of somebody else's, and nobody keeps a copy."""
LOOK_TICKS = 10
"""Ticks of uvicorn's, of a tenth of a second, between two looks at the connections."""
LONGEST_LOOK = 2.0
"""Most seconds that a look counts: where this process itself stood still, its clients are not to blame."""


class EmbeddedServer(uvicorn.Server):
    """A server that leaves signals to the process around it: `infra.process.run` handles them."""

    def __init__(self, config: LimitedConfig) -> None:
        super().__init__(config)
        self._looked = time.monotonic()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the handlers of signals as they are."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Look at the connections once a second; return whether the server is to end."""
        if counter % LOOK_TICKS == 0:
            now = time.monotonic()
            seconds, self._looked = min(now - self._looked, LONGEST_LOOK), now
            for connection in list(self.server_state.connections):
                if isinstance(connection, LimitedProtocol):
                    connection.look(seconds)
        return await super().on_tick(counter)


def embedded_server(
    app: ASGIApp,
    host: str = "127.0.0.1",
    port: int = 0,
    grace: int | None = None,
    *,
    name: str = "http",
    limits: Http | None = None,
) -> EmbeddedServer:
    """Make a server of `app` that logs no requests, and holds its connections to `limits`, or else to the defaults.

    `host` and `port` are unused where serve() is given sockets. `grace` is how many seconds requests have to end in
    once `should_exit` is set; None waits for as long as they take. `name` names the server in metrics and in the log.
    """
    config = LimitedConfig(
        ConnectionWatch(name, limits or Http()),
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        headers=list(HEADERS),
        # Whose request it is, is never what the request says.
        proxy_headers=False,
        lifespan="off",
        timeout_graceful_shutdown=grace,
    )
    return EmbeddedServer(config)
