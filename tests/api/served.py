"""An application on a real socket, served as every process serves its own."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from infra.process.http_server import embedded_server


@asynccontextmanager
async def on_a_socket(app: ASGIApp) -> AsyncIterator[str]:
    """Serve it for the time of the block, and give its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = embedded_server(app, grace=1)
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving
