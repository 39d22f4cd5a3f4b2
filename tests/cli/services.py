"""The services that the command line is tested against: all of GoStack in memory, or on servers of its own."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from infra.process.http_server import EmbeddedServer, embedded_server
from tests.api.api import Api, serving
from tests.harness.world import World
from tests.real.cluster import running

PATIENCE = 30.0
FLOATING = "192.0.2.8/29"
SLOW = {
    "GOSTACK_AGENT__LATENCY": "0.3",
    "GOSTACK_WEBHOOKS__ALLOW_PRIVATE": "true",
    "GOSTACK_NETWORKS__FLOATING": FLOATING,
}


@dataclass(frozen=True)
class Running:
    """A service that answers."""

    url: str
    busy: Callable[[str], AbstractContextManager[None]]
    """Takes the name of a part that is to take long: scheduler or agents."""
    halts: bool
    """It does nothing at all then; else it is only slow."""


class Thread:
    """The world, and its API on a port, in an event loop of their own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._ready = threading.Event()
        self._problem: BaseException | None = None
        self._server: EmbeddedServer | None = None
        self._thread = threading.Thread(target=self._run)
        self.api: Api | None = None
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def start(self) -> None:
        """Until it is ready. Raises what went wrong."""
        self._thread.start()
        if not self._ready.wait(PATIENCE) or self._problem:
            raise RuntimeError("the service did not start") from self._problem

    def stop(self) -> None:
        """Raises what went wrong in it."""
        if self._server:
            self._server.should_exit = True
        self._thread.join(PATIENCE)
        self._socket.close()
        if self._problem:
            raise RuntimeError("the service failed") from self._problem

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as problem:
            self._problem = problem
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        async with serving(self._directory) as self.api:
            self.api.floating(FLOATING)
            for name in ("h1", "h2"):
                await self.api.world.host(name)
            self._server = embedded_server(self.api.app)
            self._ready.set()
            await self._server.serve([self._socket])


@contextmanager
def in_memory(directory: Path) -> Iterator[Running]:
    """Everything in this process."""
    thread = Thread(directory)
    thread.start()
    try:
        assert thread.api
        world = thread.api.world
        yield Running(thread.url, lambda part: _without(world, part), halts=True)
    finally:
        thread.stop()


@contextmanager
def _without(world: World, part: str) -> Iterator[None]:
    world.stopped.add(part)
    try:
        yield
    finally:
        world.stopped.discard(part)


@contextmanager
def on_servers() -> Iterator[Running]:
    """Every process, with Kafka and PostgreSQL; hosts are slow enough to be busy for a while."""
    with running(2, SLOW) as cluster:
        yield Running(cluster.url, lambda part: nullcontext(), halts=False)
