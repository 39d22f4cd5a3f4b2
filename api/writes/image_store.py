"""The image store: images' bytes under their own SHA-256, so that the same bytes are kept once and can be checked.

A file has its final name only when all of it is on disk, so a name that is there can be trusted.
"""

import asyncio
import hashlib
import os
import re
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
from infra.disks.formats import RUN_AS_RAW, format_of
from infra.disks.qcow2 import Qcow2Error, require_standalone
from infra.process.settings import Images

NOTES_KEPT = 7 * 86400.0
"""Seconds for which the checksum of a file is recorded by its task: longer than any job of the task is kept."""
_CONVERT = ": ask for a conversion (convert_from)"
HINTS = {
    **dict.fromkeys(("vmdk", "vdi", "vhd", "vhdx"), _CONVERT),
    **dict.fromkeys(("gzip", "xz", "zstd", "bzip2", "lz4", "zip", "7z", "rar"), ", which has to be unpacked first"),
    **dict.fromkeys(("html", "text"), ", and no disk"),
    "iso": ": say so (disk_format iso), and it is run as a raw disk",
}
"""Format -> what may be done about a file that has it."""
READABLE = 0o644
"""Mode of image files: hypervisors of the hosts read them as users of their own."""


class ImageUnusable(Exception):
    """The bytes are no image that instances can be made of; the text is a clause that says why."""


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

    def __init__(self, policy: Images) -> None:
        """Use the directory of the settings; if they name a URL, images are stored elsewhere, and uploads are
        refused."""
        self._store = policy.store
        self.policy = policy

    def directory(self) -> Path:
        """Return the directory of the files. Raises NotSupportedYet where images are stored elsewhere."""
        if self._store.startswith(("http://", "https://")):
            raise NotSupportedYet(field="an upload", reason=f"the image store is at {self._store}")
        return Path(self._store)

    def path(self, checksum: str) -> Path:
        """Return the path of a file. Raises NotFound, Invalid, NotSupportedYet."""
        if not re.fullmatch(r"[0-9a-f]{64}", checksum):
            raise Invalid(field="checksum", value=checksum[:80], allowed="64 lower-case hexadecimal digits are needed")
        path = self.directory() / checksum
        if not path.is_file():
            raise NotFound(kind="image blob", id=checksum)
        return path

    async def receive_for(self, task_id: str, chunks: AsyncIterator[bytes]) -> Blob:
        """Store a stream under its checksum, and record the checksum by its task.

        Raises TooLarge, Invalid, NotSupportedYet, OSError.
        """
        blob = await self._receive(chunks)
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
            blob = self.directory() / checksum
            if also_bytes and not others and blob.exists() and blob.stat().st_mtime <= noted:
                blob.unlink()
            note.unlink(missing_ok=True)

        await asyncio.to_thread(forget)

    def _note(self, task_id: str) -> Path:
        try:
            ident = uuid.UUID(task_id)
        except ValueError as wrong:
            raise Invalid(field="task", value=task_id[:80], allowed="the id of a task is needed") from wrong
        return self.directory() / "uploads" / f"{ident}.task"

    async def _receive(self, chunks: AsyncIterator[bytes]) -> Blob:
        """Store a stream under its checksum. Raises TooLarge, Invalid, NotSupportedYet, OSError."""
        directory = self.directory()
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
            try:
                blob = inspect(part, digest.hexdigest(), self.policy.max_virtual_size)
            except ImageUnusable as wrong:
                raise Invalid(field="body", value="an image", allowed=str(wrong)) from wrong
            part.replace(directory / blob.checksum)
            return blob

        try:
            with os.fdopen(handle, "wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self.policy.max_size:
                        raise TooLarge(most=self.policy.max_size)
                    await asyncio.to_thread(write, chunk)
                if not size:
                    raise Invalid(field="body", value="empty", allowed="an image is needed")
                return await asyncio.to_thread(finish)
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)


def inspect(path: Path, checksum: str, most: int, disk_format: str = "") -> Blob:
    """Return the format and the sizes of a file, which has to be what `disk_format` says (DiskFormat), and a disk of
    at most `most` bytes.

    Raises ImageUnusable, OSError.
    """
    found, size = format_of(path), path.stat().st_size
    if not size:
        raise ImageUnusable("it is empty")
    said = f"it is said to be {disk_format}, and " if disk_format and disk_format != found else ""
    if found == "qcow2" and not said:
        try:
            header = require_standalone(path, most)
        except Qcow2Error as wrong:
            raise ImageUnusable(f"it is a qcow2 image, and {wrong}") from wrong
        return Blob(checksum, size, "qcow2", header.virtual_size)
    if found not in RUN_AS_RAW or (found == "iso" and disk_format != "iso") or said:
        raise ImageUnusable(f"{said}it is {found}{HINTS.get(found, '')}")
    if size > most:
        raise ImageUnusable(f"it is a disk of {size} bytes, and {most} are allowed")
    return Blob(checksum, size, "raw", size)
