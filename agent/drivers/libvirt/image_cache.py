"""Images on this host, each verified once and then shared by all instances that start from it.

Why content-addressed: a file under its own SHA-256 can be trusted for as long as it is there, so nothing has to be
asked again, and a half-copied one never has that name.
"""

import asyncio
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path

import httpx

from agent.drivers.driver import DriverError, DriverFault
from domain.guest_spec import ImageRef
from infra.disks.formats import RUN_AS_RAW, format_of
from infra.disks.qcow2 import Qcow2Error, require_standalone
from infra.process.error_text import text_of

CHUNK = 1 << 20
ANSWER_TIMEOUT = 30.0
"""Seconds the store may be silent. How long all may take is the job's deadline."""
LARGEST = (1 << 63) - 1
"""Bytes of the largest disk that QEMU can address; what is allowed was decided when the image was uploaded."""
FORMATS = ("qcow2", "raw")
CHECKSUM = re.compile(r"[0-9a-f]{64}")
OTHERS_READ = stat.S_IROTH


class ImageCache:
    """The images that this host has, and where it gets others."""

    def __init__(self, directory: Path, store: str, token: str, executor: Executor) -> None:
        """`store` is a directory or an http(s) URL; `token` is sent to the latter as a bearer token."""
        self._directory = directory
        self._store = store
        self._token = token
        self._executor = executor
        self._fetching: dict[str, asyncio.Future[None]] = {}

    def at(self, directory: Path) -> "ImageCache":
        """Return a cache of the same store in another directory."""
        return ImageCache(directory, self._store, self._token, self._executor)

    def clean(self) -> None:
        """Remove what an interrupted copy has left."""
        for path in self._directory.glob("*.part"):
            path.unlink(missing_ok=True)

    def path(self, image: ImageRef) -> Path:
        """Where the image is once it is here. Raises DriverError "image-unavailable" for what is no checksum."""
        if not CHECKSUM.fullmatch(image.checksum):
            raise DriverError(
                DriverFault.IMAGE_UNAVAILABLE, f"image {image.name!r} has no SHA-256 but {image.checksum!r}"
            )
        return self._directory / image.checksum

    async def have(self, image: ImageRef) -> None:
        """Get the image unless it is here; who asks while it is on its way waits for the same copy.

        Raises DriverError "image-unavailable", "checksum-mismatch", "image-unsafe".
        """
        if self.path(image).exists():
            return
        fetching = self._fetching.get(image.checksum)
        if fetching is None:
            fetching = asyncio.get_running_loop().run_in_executor(self._executor, self._fetch, image)
            self._fetching[image.checksum] = fetching
            fetching.add_done_callback(lambda _: self._fetching.pop(image.checksum, None))
        # Shielded: one whose job is cancelled must not take the copy from the others.
        await asyncio.shield(fetching)

    def checksums(self) -> list[str]:
        """List the images that are here. Raises OSError."""
        return sorted(path.name for path in self._directory.iterdir() if CHECKSUM.fullmatch(path.name))

    def drop(self, checksum: str) -> bool:
        """Remove an image, and return whether it was here. Raises OSError."""
        if not CHECKSUM.fullmatch(checksum) or not (path := self._directory / checksum).exists():
            return False
        path.unlink()
        return True

    def _fetch(self, image: ImageRef) -> None:
        linked = self._link(image)
        part = linked or self._fresh()
        try:
            digest = _digest(part) if linked else self._copy(image, part)
            if digest != image.checksum:
                raise DriverError(
                    DriverFault.CHECKSUM_MISMATCH,
                    f"image {image.name!r}: the store gave {digest} for {image.checksum}",
                )
            _require_safe(image, part)
            part.replace(self.path(image))
        finally:
            part.unlink(missing_ok=True)

    def _fresh(self) -> Path:
        handle, name = tempfile.mkstemp(suffix=".part", dir=self._directory)
        os.fchmod(handle, 0o644)
        os.close(handle)
        return Path(name)

    def _link(self, image: ImageRef) -> Path | None:
        """The image's file itself under a second name, where store and cache share a file system."""
        if self._remote:
            return None
        source = Path(self._store) / image.checksum
        part = self._directory / f"{image.checksum}.link.part"
        try:
            # The hypervisor's user has to be able to read it, and the store's own permissions are not ours to change.
            if not source.stat().st_mode & OTHERS_READ:
                return None
            part.unlink(missing_ok=True)
            os.link(source, part)
        except OSError:
            return None
        return part

    def _copy(self, image: ImageRef, part: Path) -> str:
        digest = hashlib.sha256()
        try:
            with part.open("wb") as target:
                for chunk in self._download(image) if self._remote else self._read(image):
                    digest.update(chunk)
                    target.write(chunk)
                target.flush()
                os.fsync(target.fileno())
        except (OSError, httpx.HTTPError, httpx.InvalidURL) as problem:
            message = f"image {image.name!r} ({image.checksum}) could not be fetched from the image store"
            raise DriverError(DriverFault.IMAGE_UNAVAILABLE, message, text_of(problem)) from problem
        return digest.hexdigest()

    @property
    def _remote(self) -> bool:
        return self._store.startswith(("http://", "https://"))

    def _read(self, image: ImageRef) -> Iterator[bytes]:
        with (Path(self._store) / image.checksum).open("rb") as source:
            while chunk := source.read(CHUNK):
                yield chunk

    def _download(self, image: ImageRef) -> Iterator[bytes]:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        url = f"{self._store.rstrip('/')}/{image.checksum}"
        with httpx.stream("GET", url, headers=headers, timeout=ANSWER_TIMEOUT) as answer:
            answer.raise_for_status()
            yield from answer.iter_bytes(CHUNK)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_safe(image: ImageRef, path: Path) -> None:
    if image.format not in FORMATS:
        raise DriverError(
            DriverFault.IMAGE_UNSAFE, f"image {image.name!r} is {image.format}; {' and '.join(FORMATS)} can be run"
        )
    if image.format == "raw":
        if (found := format_of(path)) not in RUN_AS_RAW:
            raise DriverError(DriverFault.IMAGE_UNSAFE, f"image {image.name!r} is said to be raw, and it is {found}")
        return
    try:
        require_standalone(path, LARGEST)
    except Qcow2Error as wrong:
        raise DriverError(DriverFault.IMAGE_UNSAFE, f"image {image.name!r} is said to be qcow2: {wrong}") from wrong
