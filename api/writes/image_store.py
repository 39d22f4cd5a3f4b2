"""The image store: images' bytes under their own SHA-256, so that the same bytes are kept once and can be checked.

A file has its final name only when all of it is on disk, so a name that is there can be trusted.
"""

import asyncio
import hashlib
import os
import re
import struct
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from api.http.refusals import TooLarge
from domain.core.errors import Invalid, NotFound, NotSupportedYet
from domain.image import Format

MAGIC = b"QFI\xfb"
_FIXED = struct.Struct(">4sIQIIQ")
"""Header of qcow2: magic, version, backing file offset and length, cluster bits, virtual size in bytes
(QEMU's docs/interop/qcow2.txt)."""
_FEATURES = struct.Struct(">Q")
_FEATURES_AT = 72
_EXTERNAL_DATA = 1 << 2
LARGEST = (1 << 63) - 1
"""Bytes of the largest disk that QEMU can address."""
NOTES_KEPT = 7 * 86400.0
"""Seconds for which the checksum of a file is recorded by its task: longer than any job of the task is kept."""
READABLE = 0o644
"""Mode of image files: hypervisors of the hosts read them as users of their own."""


@dataclass(frozen=True)
class Blob:
    """A file in the image store; sizes are in bytes."""

    checksum: str
    size: int
    format: Format
    virtual_size: int

    def document(self) -> dict[str, Any]:
        """Return the fields as a JSON object."""
        return asdict(self)


class ImageStore:
    """A directory of image files, each named by its SHA-256."""

    def __init__(self, store: str, max_size: int) -> None:
        """Set the directory and the greatest size of a file in bytes. If `store` is a URL, images are stored elsewhere,
        and uploads are refused."""
        self._store = store
        self._max_size = max_size

    def _directory(self) -> Path:
        if self._store.startswith(("http://", "https://")):
            raise NotSupportedYet(field="an upload", reason=f"the image store is at {self._store}")
        return Path(self._store)

    def path(self, checksum: str) -> Path:
        """Return the path of a file. Raises NotFound, Invalid, NotSupportedYet."""
        if not re.fullmatch(r"[0-9a-f]{64}", checksum):
            raise Invalid(field="checksum", value=checksum[:80], allowed="64 lower-case hexadecimal digits are needed")
        path = self._directory() / checksum
        if not path.is_file():
            raise NotFound(kind="image blob", id=checksum)
        return path

    async def describe(self, checksum: str) -> Blob:
        """Return the format and the sizes of a file. Raises NotFound, Invalid, NotSupportedYet."""
        return await asyncio.to_thread(lambda: inspect(self.path(checksum), checksum))

    async def receive_for(self, task_id: str, chunks: AsyncIterator[bytes]) -> Blob:
        """Store a stream under its checksum, and record the checksum by its task.

        Raises TooLarge, Invalid, NotSupportedYet, OSError.
        """
        blob = await self.receive(chunks)
        note = self._note(task_id)

        def keep() -> None:
            note.parent.mkdir(exist_ok=True)
            for old in note.parent.glob("*.task"):
                if time.time() - old.stat().st_mtime > NOTES_KEPT:
                    old.unlink(missing_ok=True)
            fresh = note.with_suffix(".part")
            fresh.write_text(blob.checksum)
            fresh.replace(note)

        await asyncio.to_thread(keep)
        return blob

    async def noted(self, task_id: str) -> str:
        """Return the checksum of the file that was stored for a task; empty if there is none.

        Raises Invalid, NotSupportedYet.
        """
        note = self._note(task_id)
        return await asyncio.to_thread(lambda: note.read_text() if note.exists() else "")

    async def forget(self, task_id: str, *, also_bytes: bool) -> None:
        """Delete the record of a task's file; with `also_bytes`, delete the file unless it was stored again since.

        Raises Invalid, NotSupportedYet.
        """
        note = self._note(task_id)

        def forget() -> None:
            if not note.exists():
                return
            checksum, noted = note.read_text(), note.stat().st_mtime
            others = [each for each in note.parent.glob("*.task") if each != note and each.read_text() == checksum]
            blob = self._directory() / checksum
            if also_bytes and not others and blob.exists() and blob.stat().st_mtime <= noted:
                blob.unlink()
            note.unlink(missing_ok=True)

        await asyncio.to_thread(forget)

    def _note(self, task_id: str) -> Path:
        try:
            ident = uuid.UUID(task_id)
        except ValueError as wrong:
            raise Invalid(field="task", value=task_id[:80], allowed="the id of a task is needed") from wrong
        return self._directory() / "uploads" / f"{ident}.task"

    async def receive(self, chunks: AsyncIterator[bytes]) -> Blob:
        """Store a stream under its checksum. Raises TooLarge, Invalid, NotSupportedYet, OSError."""
        directory = self._directory()
        directory.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(suffix=".part", dir=directory)
        part = Path(name)
        digest = hashlib.sha256()
        size = 0

        def write(chunk: bytes) -> None:
            digest.update(chunk)
            file.write(chunk)

        def finish() -> Blob:
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), READABLE)
            blob = inspect(part, digest.hexdigest())
            part.replace(directory / blob.checksum)
            return blob

        try:
            with os.fdopen(handle, "wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self._max_size:
                        raise TooLarge(most=self._max_size)
                    await asyncio.to_thread(write, chunk)
                if not size:
                    raise Invalid(field="body", value="empty", allowed="an image is needed")
                return await asyncio.to_thread(finish)
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)


def inspect(path: Path, checksum: str) -> Blob:
    """Return the format and the sizes of a file.

    Raises OSError, and Invalid for a qcow2 file that refers to other files, which the guest could then read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_FEATURES_AT + _FEATURES.size)
    if not head.startswith(MAGIC):
        return Blob(checksum, size, "raw", size)
    if len(head) < _FEATURES_AT:
        raise Invalid(field="body", value="a qcow2 image", allowed="its header must be whole")
    _, version, backing, _, _, virtual_size = _FIXED.unpack_from(head)
    features = 0
    if version >= 3 and len(head) >= _FEATURES_AT + _FEATURES.size:
        features = _FEATURES.unpack_from(head, _FEATURES_AT)[0]
    if not 0 < virtual_size <= LARGEST:
        raise Invalid(field="body", value=f"a disk of {virtual_size} bytes", allowed=f"1 to {LARGEST} bytes")
    if backing or features & _EXTERNAL_DATA:
        raise Invalid(field="body", value="a qcow2 image that refers to another file", allowed="it must stand alone")
    return Blob(checksum, size, "qcow2", virtual_size)
