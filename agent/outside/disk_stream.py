"""A disk on its way over HTTP: what its guest is told, the disk's bytes, and the SHA-256 of both.

Why the digest comes last: it is known when the last byte was read, so the file is read once and not twice.
"""

import asyncio
import hashlib
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from http import HTTPStatus

import aiohttp

from agent.drivers.driver import DiskContent, DriverError, DriverFault, Secrets
from agent.outside.other_hosts import SILENT, UNREACHABLE
from infra.process import failpoints
from infra.process.error_text import named

CHUNK = 1 << 20
SILENCE = 30.0
"""Seconds the other agent may send nothing."""
DIGEST = hashlib.sha256().digest_size
TOLD = "Gostack-User-Data-Length"
"""Header: how many bytes of user data stand before the disk's."""
PASSWORD = "Gostack-Admin-Password"
"""Header: the password that the guest was told, in base64. An agent of an earlier release does not read it."""


def headers(content: DiskContent) -> dict[str, str]:
    """Of an answer that is this disk."""
    told = len(_told(content))
    length = str(told + content.size + DIGEST)
    return {"Content-Length": length, TOLD: str(told), PASSWORD: b64encode(content.told.password.encode()).decode()}


def body(content: DiskContent) -> AsyncGenerator[bytes, None]:
    """The body of that answer."""
    return sealed(content.chunks, _told(content))


def _told(content: DiskContent) -> bytes:
    return content.told.user_data


async def sealed(chunks: AsyncGenerator[bytes, None], before: bytes = b"") -> AsyncGenerator[bytes, None]:
    """Some bytes `before`, these, and the digest of all behind them."""
    digest = hashlib.sha256(before)
    if before:
        yield before
    async with aclosing(chunks):
        async for chunk in chunks:
            digest.update(chunk)
            yield chunk
            failpoints.point("disk-half-sent")
    yield digest.digest()


async def unsealed(chunks: AsyncIterator[bytes], size: int, before: bytes = b"") -> AsyncGenerator[bytes, None]:
    """The `size` bytes before the digest, which is of what was taken `before` too. Raises DriverError "disk-damaged"
    where that is another's, or not there."""
    digest = hashlib.sha256(before)
    left, seal = size, b""
    async for chunk in chunks:
        disk, rest = chunk[:left], chunk[left:]
        left -= len(disk)
        seal += rest
        if disk:
            digest.update(disk)
            yield disk
    if left or seal != digest.digest():
        raise DriverError(DriverFault.DISK_DAMAGED, f"of a disk of {size} bytes something else came than was sent")


class HttpOtherHosts:
    """Agents that are asked at their own endpoints."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        """`session`: its requests carry the agents' token."""
        self._session = session

    @asynccontextmanager
    async def disk(self, endpoint: str, host_id: str, instance_id: str) -> AsyncIterator[DiskContent]:
        """Fetch it, and verify what came."""
        url = f"{endpoint.rstrip('/')}/v1/hosts/{host_id}/instances/{instance_id}/disk"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE)
        with _reaching(url):
            answer = await self._session.get(url, timeout=timeout)
        async with answer:
            if answer.status != HTTPStatus.OK or answer.content_length is None:
                raise await _refused(answer)
            told = int(answer.headers.get(TOLD, 0))
            size = answer.content_length - told - DIGEST
            with _reaching(url):
                before = await answer.content.readexactly(told)
            secrets = Secrets(b64decode(answer.headers.get(PASSWORD, "")).decode(), before)
            async with aclosing(unsealed(_body(answer), size, before)) as chunks:
                yield DiskContent(size, chunks, secrets)


@contextmanager
def _reaching(url: object) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as problem:
        raise DriverError(UNREACHABLE, SILENT, f"{url}: {named(problem)}") from problem


async def _body(answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    with _reaching(answer.url):
        async for chunk in answer.content.iter_chunked(CHUNK):
            yield chunk


async def _refused(answer: aiohttp.ClientResponse) -> DriverError:
    """Return the error that an answer without a disk describes."""
    try:
        said = await answer.json(content_type=None)
        return DriverError(said["code"], said["detail"])
    except (aiohttp.ClientError, ValueError, KeyError, TypeError):
        return DriverError(UNREACHABLE, SILENT, f"{answer.url}: {answer.status}")
