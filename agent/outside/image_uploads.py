"""The image store as a host sees it: files are uploaded for a task, and can be deleted again."""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

import aiohttp

from agent.drivers.driver import DiskContent, DriverError, DriverFault
from infra.process.error_text import named

UNAVAILABLE = "image-store-unavailable"
"""Code of a DriverError: the image store does not answer, or does not take it."""
TOO_LARGE = "image-too-large"
"""Code of a DriverError: an image may not have so many bytes."""
SILENCE = 60.0
"""Seconds the image store may take to answer, or to take something more."""


@dataclass(frozen=True)
class Uploaded:
    """A file in the image store; sizes are in bytes."""

    checksum: str
    """SHA-256 of the file, in lower-case hexadecimal digits."""
    format: str
    size: int
    virtual_size: int


class ImageUploads(Protocol):
    """Uploads of hosts to the image store."""

    async def put(self, task_id: str, content: DiskContent) -> Uploaded:
        """Upload a file for a task, in place of an earlier one. The caller closes the content's chunks.

        Raises DriverError "image-too-large", "image-store-unavailable", "disk-damaged", and what the chunks raise.
        """

    async def discard(self, task_id: str, instance_id: str = "") -> None:
        """Delete the file that was uploaded for a task, unless an image has it, or an instance besides this one.

        Raises DriverError.
        """


class NoImageUploads:
    """A substitute for a host without an image store: every call fails."""

    async def put(self, task_id: str, content: DiskContent) -> Uploaded:
        """Raise DriverError "image-store-unavailable" in any case."""
        raise DriverError(UNAVAILABLE, "there is no way to the image store")

    async def discard(self, task_id: str, instance_id: str = "") -> None:
        """Raise DriverError "image-store-unavailable" in any case."""
        raise DriverError(UNAVAILABLE, "there is no way to the image store")


class ImageUploadsInMemory:
    """An image store that keeps what it is given as bytes."""

    def __init__(self, most: int = 1 << 20) -> None:
        self._most = most
        self.kept: dict[str, bytes] = {}
        """The uploaded files by task id."""

    async def put(self, task_id: str, content: DiskContent) -> Uploaded:
        """Keep the bytes once all of them were received. Raises DriverError "image-too-large"."""
        came = b"".join([chunk async for chunk in content.chunks])
        if len(came) > self._most:
            raise DriverError(TOO_LARGE, f"an image may have {self._most} bytes")
        self.kept[task_id] = came
        return Uploaded(hashlib.sha256(came).hexdigest(), "raw", len(came), len(came))

    async def discard(self, task_id: str, instance_id: str = "") -> None:
        """Delete the file of a task, if there is one."""
        self.kept.pop(task_id, None)


class HttpImageUploads:
    """The image store behind the API."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        """`session`: of requests to the API, with the agents' token."""
        self._session = session

    async def put(self, task_id: str, content: DiskContent) -> Uploaded:
        """Send it, and compare what came there with what was sent."""
        digest = hashlib.sha256()
        broke: list[Exception] = []

        async def sent() -> AsyncGenerator[bytes, None]:
            try:
                async for chunk in content.chunks:
                    digest.update(chunk)
                    yield chunk
            except Exception as problem:
                broke.append(problem)
                raise

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE)
        headers = {"Content-Length": str(content.size), "Content-Type": "application/octet-stream"}
        try:
            async with (
                aclosing(sent()) as body,
                self._session.put(_path(task_id), data=body, headers=headers, timeout=timeout) as answer,
            ):
                await _must_be_well(answer)
                uploaded = Uploaded(**await answer.json())
        except (aiohttp.ClientError, TimeoutError, ValueError, TypeError) as problem:
            if broke:
                raise broke[0] from problem
            raise DriverError(UNAVAILABLE, "the image store does not answer", named(problem)) from problem
        if uploaded.checksum != digest.hexdigest():
            raise DriverError(DriverFault.DISK_DAMAGED, "the image store has other bytes than were sent")
        return uploaded

    async def discard(self, task_id: str, instance_id: str = "") -> None:
        """Have it taken out."""
        timeout = aiohttp.ClientTimeout(total=SILENCE)
        try:
            needless = {"instance_id": instance_id} if instance_id else {}
            async with self._session.delete(_path(task_id), params=needless, timeout=timeout) as answer:
                await _must_be_well(answer)
        except (aiohttp.ClientError, TimeoutError) as problem:
            raise DriverError(UNAVAILABLE, "the image store does not answer", named(problem)) from problem


def _path(task_id: str) -> str:
    return f"/internal/v1/images/uploads/{task_id}"


async def _must_be_well(answer: aiohttp.ClientResponse) -> None:
    if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        raise DriverError(TOO_LARGE, (await answer.text())[:500])
    if not answer.ok:
        raise DriverError(UNAVAILABLE, f"the image store answered {answer.status}: {(await answer.text())[:500]}")
