"""An HTTP server that is one part of a process among others.

Why: a server of uvicorn's takes the signals of its process for itself, and the other parts would not end.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI


class EmbeddedServer(uvicorn.Server):
    """A server that leaves signals to the process around it: `infra.process.run` handles them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the handlers of signals as they are."""
        yield


def embedded_server(app: FastAPI, host: str = "127.0.0.1", port: int = 0, grace: int | None = None) -> EmbeddedServer:
    """Make a server of `app` that logs nothing itself.

    `host` and `port` are unused where serve() is given sockets. `grace` is how many seconds requests have to end in
    once `should_exit` is set; None waits for as long as they take.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=grace,
    )
    return EmbeddedServer(config)
