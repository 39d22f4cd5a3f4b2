"""The limits of every HTTP server, on real sockets: what is too large, too slow or too many ends, and nothing else."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from infra.local.server import free_port
from infra.process import metrics
from infra.process.health_server import HealthState, start_health_server
from infra.process.http_limits import source_of
from infra.process.http_server import HEADERS, EmbeddedServer, embedded_server
from infra.process.settings import Http
from tests.harness.waiting import PATIENCE, until

QUICK = 0.4
"""Seconds of the limits that a test waits for."""
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
Edit = Callable[..., Http]


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let servers look at their connections ten times a second."""
    monkeypatch.setattr("infra.process.http_server.LOOK_TICKS", 1)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer in the way that the path asks for; else how many bytes the body had, and the header's names after it."""
    path = scope["path"]
    answer = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
    if path == "/at-once":
        await send({**answer, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})
        return
    if path == "/feed":
        await send(answer)
        for _ in range(8):
            await send({"type": "http.response.body", "body": b"tick\n", "more_body": True})
            await asyncio.sleep(QUICK / 2)
        await send({"type": "http.response.body"})
        return
    if path == "/flood":
        await send(answer)
        with suppress(asyncio.CancelledError):
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
                await asyncio.sleep(0)
        return
    if path == "/thinks":
        await asyncio.sleep(QUICK * 4)
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        more = message["more_body"]
    told = json.dumps({"size": size, "headers": [name.decode() for name, _ in scope["headers"]]}).encode()
    await send(answer)
    await send({"type": "http.response.body", "body": told})


class Wire:
    """A connection as bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *parts: bytes, pause: float = 0.0) -> None:
        """Send these parts one by one; the server may be gone meanwhile."""
        with suppress(ConnectionError):
            for part in parts:
                self.writer.write(part)
                await self.writer.drain()
                await asyncio.sleep(pause)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read one answer: status, header fields, body."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
            if "content-length" in fields:
                body = await self.reader.readexactly(int(fields["content-length"]))
            else:
                body = b""
                while size := int(await self.reader.readline(), 16):
                    body += await self.reader.readexactly(size)
                    await self.reader.readline()
                await self.reader.readline()
        return int(head[0].split()[1]), fields, body

    async def refusal(self) -> tuple[int, str]:
        """Read an answer that ends the connection: status and code."""
        status, fields, body = await self.answer()
        assert fields["content-type"] == "application/problem+json"
        assert fields["connection"] == "close"
        assert await self.ended() == b""
        problem = json.loads(body)
        assert problem["status"] == status
        assert problem["detail"]
        return status, problem["code"]

    async def ended(self) -> bytes:
        """Read until the server closes the connection."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


class Served:
    """A server on a port of its own."""

    def __init__(self, server: EmbeddedServer, port: int) -> None:
        self.server, self.port = server, port
        self._writers: list[asyncio.StreamWriter] = []

    async def wire(self) -> Wire:
        """Open a connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return Wire(reader, writer)

    async def refused(self, *parts: bytes, pause: float = 0.0) -> tuple[int, str]:
        """Send these parts on a connection of their own, and return status and code of the refusal."""
        wire = await self.wire()
        sending = asyncio.create_task(wire.send(*parts, pause=pause))
        found = await wire.refusal()
        sending.cancel()
        return found

    async def ask(self, *parts: bytes, pause: float = 0.0) -> dict[str, Any]:
        """Send a request on a connection of its own, and return what the application answers."""
        wire = await self.wire()
        await wire.send(*parts, pause=pause)
        status, _, body = await wire.answer()
        assert status == 200
        told: dict[str, Any] = json.loads(body)
        return told

    async def alone(self) -> None:
        """Wait until the server has no connection."""
        await until(lambda: not self.server.server_state.connections)

    def close(self) -> None:
        """Close all connections that were opened."""
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = embedded_server(app, grace=1, name="test", limits=Http(**limits))
        running = asyncio.create_task(server.serve([listener]))
        served = Served(server, listener.getsockname()[1])
        await until(lambda: server.started)
        try:
            yield served
        finally:
            served.close()
            server.should_exit = True
            await running


def refusals(why: str) -> float:
    return metrics.REGISTRY.get_sample_value("gostack_http_refused_total", {"server": "test", "why": why}) or 0.0


async def test_a_header_section_above_the_limit_is_refused_however_it_comes() -> None:
    async with serving(header_bytes=8192) as served:
        one = GET + b"X-Large: " + b"x" * 9000
        many = GET + b"".join(b"X-%d: y\r\n" % number for number in range(1000))
        for request in (one, many, one + b"\r\n\r\n", many + b"\r\n", b"GET /" + b"x" * 9000):
            assert await served.refused(request) == (431, "header-too-large")
            pieces = [request[at : at + 500] for at in range(0, len(request), 500)]
            assert await served.refused(*pieces) == (431, "header-too-large")
        endless = [b"x" * 100_000] * 100
        assert await served.refused(GET + b"X-Large: ", *endless) == (431, "header-too-large")
        assert (await served.ask(GET + b"X-Large: " + b"x" * 8000 + b"\r\n\r\n"))["size"] == 0


async def test_a_body_is_no_header_section() -> None:
    async with serving(header_bytes=4096) as served:
        assert (await served.ask(POST + b"Content-Length: 300000\r\n\r\n" + b"x" * 300_000))["size"] == 300_000
        wire = await served.wire()
        for _ in range(3):
            await wire.send(POST + b"Content-Length: 9000\r\n\r\n" + b"x" * 9000)
            assert (await wire.answer())[0] == 200


async def test_what_follows_a_chunked_body_is_bounded_and_becomes_no_header() -> None:
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
    async with serving(header_bytes=4096) as served:
        told = await served.ask(chunked + b"X-GoStack-Actor: mallory\r\n\r\n")
        assert told == {"size": 5, "headers": ["host", "transfer-encoding"]}
        trailers = [b"X-%d: %s\r\n" % (number, b"y" * 500) for number in range(1000)]
        assert await served.refused(chunked, *trailers) == (431, "header-too-large")


async def test_a_request_that_does_not_come_is_not_waited_for() -> None:
    async with serving(header_timeout=QUICK) as served:
        silent = await served.wire()
        assert await silent.ended() == b"", "there is nothing to answer"
        assert await served.refused(GET) == (408, "header-too-slow")
        assert await served.refused(*[b"%c" % byte for byte in GET * 3], pause=0.1) == (408, "header-too-slow")
        assert await served.refused(*[b"\r\n"] * 100, pause=0.1) == (408, "header-too-slow")
        again = await served.wire()
        await again.send(GET + b"\r\n")
        assert (await again.answer())[0] == 200
        await again.send(GET)
        assert await again.refusal() == (408, "header-too-slow")
        await served.alone()


async def test_three_hundred_half_requests_are_gone_and_others_answered_meanwhile() -> None:
    async with serving(header_timeout=QUICK, body_timeout=QUICK) as served:
        halves = (b"", GET, POST + b"Content-Length: 10\r\n\r\nhalf")
        wires = [await served.wire() for _ in range(300)]
        for number, wire in enumerate(wires):
            await wire.send(halves[number % 3])
        assert (await served.ask(GET + b"\r\n"))["size"] == 0
        await served.alone()
        for number, wire in enumerate(wires):
            assert (await wire.ended())[:12] in (b"", b"HTTP/1.1 408"), number


async def test_a_body_that_stands_still_is_refused_and_one_that_lives_is_taken() -> None:
    async with serving(header_timeout=QUICK, body_timeout=QUICK * 2, body_rate=1) as served:
        slow = POST + b"Content-Length: 12\r\n\r\n"
        assert await served.refused(slow + b"half") == (408, "body-too-slow")
        pieces = [slow, *[b"x"] * 12]
        assert (await served.ask(*pieces, pause=QUICK / 2))["size"] == 12
        chunks = POST + b"Transfer-Encoding: chunked\r\n\r\n1;"
        assert await served.refused(chunks, *[b"x"] * 100, pause=0.1) == (408, "body-too-slow")


async def test_a_body_that_only_drips_is_refused_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.process.http_limits.RATE_SECONDS", QUICK * 2)
    async with serving(body_timeout=QUICK * 2, body_rate=100) as served:
        slow = POST + b"Content-Length: 1000\r\n\r\n"
        assert await served.refused(slow, *[b"x"] * 100, pause=0.1) == (408, "body-too-slow")
        assert (await served.ask(slow, *[b"x" * 50] * 20, pause=0.1))["size"] == 1000


async def test_an_application_may_take_its_time() -> None:
    async with serving(header_timeout=QUICK, body_timeout=QUICK, send_timeout=QUICK) as served:
        size = 1 << 20
        request = b"POST /thinks HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
        wire = await served.wire()
        sending = asyncio.create_task(wire.send(request + b"x" * size))
        assert json.loads((await wire.answer())[2])["size"] == size
        await sending
        feed = await served.wire()
        await feed.send(b"GET /feed HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await feed.answer())[2] == b"tick\n" * 8


async def test_an_answer_that_nobody_reads_is_given_up() -> None:
    async with serving(send_timeout=QUICK) as served:
        before = refusals("answer-not-read")
        wire = await served.wire()
        await wire.send(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
        await served.alone()
        assert refusals("answer-not-read") == before + 1


async def test_the_rest_of_a_body_is_not_read_for_ever_after_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.process.http_limits.LINGER_SECONDS", QUICK)
    async with serving() as served:
        wire = await served.wire()
        await wire.send(b"POST /at-once HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        assert (await wire.answer())[0] == 200
        sending = asyncio.create_task(wire.send(*[b"x"] * 1000, pause=0.1))
        await served.alone()
        sending.cancel()


async def test_one_address_has_only_so_many_connections() -> None:
    async with serving(connections=3) as served:
        wires = [await served.wire() for _ in range(3)]
        for wire in wires:
            await wire.send(GET + b"\r\n")
            assert (await wire.answer())[0] == 200
        fourth = await served.wire()
        await fourth.send(GET + b"\r\n")
        status, fields, body = await fourth.answer()
        assert (status, json.loads(body)["code"], fields["retry-after"]) == (429, "too-many-connections", "1")
        wires[0].writer.close()
        await until(lambda: len(served.server.server_state.connections) < 3)
        assert (await served.ask(GET + b"\r\n"))["size"] == 0


async def test_requests_that_wait_for_earlier_ones_are_bounded() -> None:
    async with serving() as served:
        wire = await served.wire()
        await wire.send(b"GET /thinks HTTP/1.1\r\nHost: x\r\n\r\n" + (GET + b"\r\n") * 10)
        for _ in range(11):
            assert (await wire.answer())[0] == 200
        await wire.send(b"GET /thinks HTTP/1.1\r\nHost: x\r\n\r\n" + (GET + b"\r\n") * 1000)
        assert (await wire.ended()).count(b"200 OK") == 0


async def test_no_other_protocol_is_spoken() -> None:
    async with serving() as served:
        wire = await served.wire()
        await wire.send(GET + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        status, fields, _ = await wire.answer()
        assert (status, fields["connection"]) == (200, "close")
        assert await wire.ended() == b""


async def test_a_limit_that_bites_is_counted_each_time_and_logged_once_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as served:
        before = refusals("malformed")
        with caplog.at_level(logging.WARNING):
            for _ in range(5):
                assert await served.refused(b"nonsense\r\n\r\n") == (400, "malformed")
        assert refusals("malformed") == before + 5
        (line,) = [each.getMessage() for each in caplog.records if "malformed" in each.getMessage()]
        assert line == "test closed a connection from 127.0.0.1: malformed"


async def test_every_answer_tells_browsers_to_keep_away() -> None:
    async with serving() as served:
        for request in (GET + b"\r\n", b"nonsense\r\n\r\n"):
            wire = await served.wire()
            await wire.send(request)
            _, fields, _ = await wire.answer()
            assert {name: fields[name.lower()] for name, _ in HEADERS} == dict(HEADERS)


async def test_the_health_server_has_the_same_limits() -> None:
    port = free_port()
    server = start_health_server("127.0.0.1", port, HealthState(5.0), Http(header_timeout=QUICK))
    assert server is not None
    served = Served(server, port)
    try:
        assert await served.refused(GET + b"X: " + b"x" * 70_000) == (431, "header-too-large")
        assert await served.refused(GET) == (408, "header-too-slow")
    finally:
        served.close()
        server.should_exit = True


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::/64"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_whose_connections_are_counted_together(address: str, source: str) -> None:
    assert source_of(address) == source
