"""How a host gets a disk from another: over HTTP from its agent, and within a process that carries both."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

import aiohttp
import pytest

from agent.drivers.driver import DiskContent, DriverError, Secrets
from agent.drivers.simulated.driver import SimulatedDriver
from agent.host.endpoint import endpoint
from agent.outside.disk_stream import HttpOtherHosts, sealed, unsealed
from agent.outside.other_hosts import OtherHosts, OtherHostsInMemory
from domain.guest_spec import GuestSpec, ImageRef
from infra.process.http_server import embedded_server
from tests.agent.samples import a_guest

IMAGE = ImageRef(id="i-1", name="tiny", checksum="ab" * 32, format="qcow2", size=1, virtual_size=1)
TOKEN = "shared"
HOST = "h-1"
BIG = bytes(range(256)) * (40 << 10)
"""Of more than one piece on any way."""


class Stored(SimulatedDriver):
    """A host whose disks are large, and may break while they are read."""

    breaks = False
    told_there = Secrets()

    async def read_disk(self, instance_id: str) -> DiskContent:
        await super().read_disk(instance_id)
        return DiskContent(len(BIG), self._big(), self.told_there)

    async def _big(self) -> AsyncGenerator[bytes, None]:
        for start in range(0, len(BIG), 1 << 16):
            if self.breaks and start > len(BIG) // 2:
                raise OSError("the disk does not answer")
            yield BIG[start : start + (1 << 16)]


@dataclass
class Subject:
    others: OtherHosts
    driver: Stored
    guest: GuestSpec
    at: str
    told: Secrets | None = None

    async def fetch(self, host_id: str = HOST, instance_id: str = "") -> tuple[int, bytes]:
        """The disk's size, and all of it."""
        async with (
            self.others.disk(self.at, host_id, instance_id or self.guest.id) as content,
            aclosing(content.chunks) as chunks,
        ):
            self.told = content.told
            return content.size, b"".join([chunk async for chunk in chunks])


@pytest.fixture(params=["memory", "http"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    driver = Stored()
    guest = a_guest(IMAGE)
    await driver.prepare_image(IMAGE)
    await driver.create_disk(guest)
    await driver.define(guest)
    if request.param == "memory":
        yield Subject(OtherHostsInMemory({HOST: driver}), driver, guest, "")
        return
    server = embedded_server(endpoint({HOST: driver}, TOKEN, lambda _: {}))
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    serving = asyncio.create_task(server.serve([listener]))
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        yield Subject(HttpOtherHosts(session), driver, guest, f"http://127.0.0.1:{port}/")
    server.should_exit = True
    await serving


@pytest.mark.parametrize(
    "secrets",
    [Secrets(), Secrets("päßword: x", "#!/bin/sh\necho grüezi\n".encode() * 5000), Secrets("", b"\x1f\x8b\0\xff")],
)
async def test_a_disk_comes_whole(subject: Subject, secrets: Secrets) -> None:
    subject.driver.told_there = secrets
    assert await subject.fetch() == (len(BIG), BIG)
    assert subject.told == secrets


@pytest.mark.parametrize("wrong", ["guest-on", "disk-missing", "host-unknown"])
async def test_what_the_other_host_cannot_give_is_said_with_its_code(subject: Subject, wrong: str) -> None:
    host = "h-9" if wrong == "host-unknown" else HOST
    if wrong == "guest-on":
        await subject.driver.start(subject.guest.id)
    elif wrong == "disk-missing":
        await subject.driver.delete_disk(subject.guest.id)
    with pytest.raises(DriverError) as caught:
        await subject.fetch(host)
    assert caught.value.code == wrong


async def test_a_disk_that_breaks_off_is_not_taken_for_whole(subject: Subject) -> None:
    subject.driver.breaks = True
    with pytest.raises((DriverError, OSError)):
        await subject.fetch()


async def test_an_agent_that_does_not_answer_is_told_apart() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(DriverError) as caught:
            async with HttpOtherHosts(session).disk("http://127.0.0.1:1", HOST, "x"):
                pass
    assert caught.value.code == "host-unreachable"


async def pieces(content: bytes, size: int = 7) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


@pytest.mark.parametrize("size", [1, 5, 7, 40, 1000])
async def test_the_digest_comes_behind_the_bytes(size: int) -> None:
    content = BIG[:100]
    sent = b"".join([chunk async for chunk in sealed(pieces(content))])
    assert sent == content + hashlib.sha256(content).digest()
    assert b"".join([chunk async for chunk in unsealed(pieces(sent, size), len(content))]) == content


@pytest.mark.parametrize("change", [lambda sent: b"x" + sent[1:], lambda sent: sent[:-1], lambda sent: sent + b"x"])
async def test_other_bytes_than_were_sent_are_found_out(change) -> None:  # type: ignore[no-untyped-def]
    content = BIG[:100]
    sent = change(b"".join([chunk async for chunk in sealed(pieces(content))]))
    with pytest.raises(DriverError) as caught:
        async for _ in unsealed(pieces(sent), len(content)):
            pass
    assert caught.value.code == "disk-damaged"
