"""Images on their way into the image store: pieces are appended to a file of the image's own until all are there.

What was received is on disk after each piece, so an upload goes on from there after a lost connection or the end of the
process. One request, or one worker, has the file at a time, also where several processes share the directory.
"""

import asyncio
import fcntl
import hashlib
import json
import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

from api.http.refusals import ImageBusy, TooLarge, WrongOffset
from api.writes.image_store import READABLE, Blob, ImageStore, ImageUnusable, inspect
from domain.image import Image
from infra.disks import qemu_img
from infra.disks.foreign import ForeignError, require_convertible
from infra.process import failpoints
from infra.process.limits import Limits

FLUSHED = 8 << 20
"""Bytes that are written until they are sent to the disk, so that not too much is lost, or waited for at the end."""
SUFFIXES = (".converted", ".part", ".verified")
"""Of an image's files here: the result of its conversion, its bytes, and what was found when they were verified."""
QEMU_NAMES = {"vhd": "vpc"}
"""Format -> the name that QEMU has for it, where that is another."""
SAID_AT_MOST = 200
"""Characters of qemu-img's complaint that are passed on."""


class ImageStaging:
    """The files of images that are not verified yet, in the directory `incoming` of the image store."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store

    async def received(self, image_id: str) -> int:
        """Return how many bytes of an image are there. Raises NotSupportedYet."""
        path = self.path(image_id)
        return await asyncio.to_thread(lambda: path.stat().st_size if path.exists() else 0)

    async def touched(self, image_id: str) -> float:
        """Return when bytes came last, in seconds of the machine's time; 0 where none did."""
        path = self.path(image_id)
        return await asyncio.to_thread(lambda: path.stat().st_mtime if path.exists() else 0.0)

    async def append(self, image_id: str, offset: int, total: int, chunks: AsyncIterator[bytes]) -> int:
        """Append a piece at its offset, and return how many bytes are there then; the file shall have `total`.

        What came is kept where the connection is lost. Raises WrongOffset where another offset is next, ImageBusy,
        TooLarge, NotSupportedYet, OSError.
        """
        if total > self._store.policy.max_size:
            raise TooLarge(most=self._store.policy.max_size)
        path = self.path(image_id)
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        with _alone(path, image_id) as handle:
            size = os.fstat(handle).st_size
            if offset != size:
                raise WrongOffset(offset=size, given=offset)
            os.lseek(handle, 0, os.SEEK_END)
            unflushed = 0
            try:
                async for chunk in chunks:
                    if size + len(chunk) > total:
                        raise TooLarge(most=total - offset)
                    await asyncio.to_thread(_write, handle, chunk)
                    size, unflushed = size + len(chunk), unflushed + len(chunk)
                    if unflushed >= FLUSHED:
                        await asyncio.to_thread(os.fdatasync, handle)
                        unflushed = 0
                    failpoints.point("image-piece")
            finally:
                await asyncio.to_thread(os.fdatasync, handle)
        return size

    async def restart(self, image_id: str) -> None:
        """Throw away what came of an image. Raises ImageBusy, NotSupportedYet."""
        path = self.path(image_id)
        if path.exists():
            with _alone(path, image_id) as handle:
                os.ftruncate(handle, 0)

    async def discard(self, image_id: str) -> None:
        """Delete all that came of an image. Raises NotSupportedYet."""
        path = self.path(image_id)
        for each in (path.with_suffix(suffix) for suffix in SUFFIXES):
            await asyncio.to_thread(each.unlink, missing_ok=True)

    async def verify(self, image: Image) -> Blob:
        """Compare an image's bytes with their checksum, look at them, convert them where asked to, and put them into
        the store. Done again after that, it finds them there.

        Raises ImageUnusable, ImageBusy, NotSupportedYet, OSError.
        """
        path = self.path(image.id)
        if not path.exists() and not path.with_suffix(".verified").exists():
            raise ImageUnusable("its bytes are gone")
        with _alone(path, image.id):
            return await asyncio.to_thread(self._verify, image, path)

    def _verify(self, image: Image, path: Path) -> Blob:
        note = path.with_suffix(".verified")
        if note.exists():
            blob = Blob(**json.loads(note.read_text()))
            if (self._store.directory() / blob.checksum).exists():
                return blob
        checksum = _digest(path)
        # Before anything reads them as a disk: bytes that are not the user's are none of the user's formats.
        if image.checksum and checksum != image.checksum:
            raise ImageUnusable(f"its SHA-256 is {checksum}, and not {image.checksum}")
        most = self._store.policy.max_virtual_size
        whole = path
        if image.convert_from:
            whole = path.with_suffix(".converted")
            self._convert(image, path, whole)
            checksum = _digest(whole)
        blob = inspect(whole, checksum, most, "" if image.convert_from else image.disk_format)
        with whole.open("rb") as file:
            os.fchmod(file.fileno(), READABLE)
            os.fsync(file.fileno())
        note.write_text(json.dumps(blob.document()))
        failpoints.point("image-verified")
        # What has the name of its checksum is never written to again: no request has this file open.
        whole.replace(self._store.directory() / checksum)
        return blob

    def _convert(self, image: Image, path: Path, converted: Path) -> None:
        policy, kind = self._store.policy, image.convert_from
        try:
            require_convertible(path, kind, policy.max_virtual_size)
        except ForeignError as wrong:
            raise ImageUnusable(str(wrong)) from wrong
        converted.unlink(missing_ok=True)
        limits = Limits(cpu=int(policy.convert_timeout), memory=qemu_img.MEMORY, file=policy.max_size)
        arguments = ("-O", "qcow2", str(path.absolute()), str(converted.absolute()))
        command = qemu_img.command("convert", QEMU_NAMES.get(kind, kind), *arguments, limits=limits)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=policy.convert_timeout)
        except subprocess.TimeoutExpired as late:
            raise ImageUnusable(f"its conversion took longer than {policy.convert_timeout:g} s") from late
        if done.returncode:
            said = done.stderr.strip().replace(str(path.absolute()), "the file")[-SAID_AT_MOST:]
            raise ImageUnusable(f"it cannot be converted from {kind}: {said or 'a limit was exceeded'}")

    async def waiting(self) -> list[str]:
        """Return the ids of the images that have files here. Raises NotSupportedYet."""
        directory = self._store.directory() / "incoming"
        return await asyncio.to_thread(lambda: sorted({each.stem for each in directory.glob("*.*")}))

    def path(self, image_id: str) -> Path:
        """Return the path of an image's file. Raises NotSupportedYet; ValueError for an id that is no UUID."""
        return self._store.directory() / "incoming" / f"{uuid.UUID(image_id)}.part"


@contextmanager
def _alone(path: Path, image_id: str) -> Iterator[int]:
    """Open a file that nobody else has open so. Raises ImageBusy, OSError."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            raise ImageBusy(id=image_id) from taken
        yield handle
    finally:
        os.close(handle)


def _write(handle: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(handle, view) :]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
