"""An HTTP endpoint in the test's own process, on a real socket, that answers as a test says and keeps what it got."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from standardwebhooks.webhooks import Webhook

TAKEN, REFUSED, SILENT = "204 No Content", "500 Internal Server Error", ""


@dataclass(frozen=True)
class Message:
    """What came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """Its webhook-id."""
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        """The CloudEvent."""
        event: dict[str, Any] = orjson.loads(self.body)
        return event


@dataclass
class Receiver:
    """Takes everything, unless told otherwise."""

    url: str = ""
    got: list[Message] = field(default_factory=list)
    answer: Callable[[Message], str] = lambda message: TAKEN
    """Status line's end, and header lines after it; nothing: it never answers."""
    body: bytes = b""
    came: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    """Ends the connections on which it never answers."""

    @property
    def taken(self) -> list[Message]:
        """What it said that it took."""
        return [each for each in self.got if self.answer(each) == TAKEN]

    async def wait(self, count: int) -> None:
        """Until so many messages came."""
        async with asyncio.timeout(20):
            while len(self.got) < count:
                await self.came.wait()
                self.came.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().strip().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                message = Message(first.split()[1], headers, body)
                self.got.append(message)
                self.came.set()
                answer = self.answer(message)
                if not answer:
                    await self.let_go.wait()
                    return
                length = f"Content-Length: {len(self.body)}\r\n" if not answer.startswith("204") else ""
                writer.write(f"HTTP/1.1 {answer}\r\n{length}\r\n".encode() + self.body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """One that listens on loopback for the time of the block."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield receiver
    finally:
        receiver.let_go.set()
        server.close()


def is_signed(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether one of its signatures is this secret's. The time that is signed is not looked at: a world has its own."""
    said = {name.lower(): value for name, value in headers.items()}
    time = datetime.fromtimestamp(int(said["webhook-timestamp"]), UTC)
    return Webhook(secret).sign(said["webhook-id"], time, body.decode()) in said["webhook-signature"].split(" ")
