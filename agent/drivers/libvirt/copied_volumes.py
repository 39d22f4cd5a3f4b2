"""Volumes that are copies: of an image of the cache, or of another volume that no guest has.

Why made beside and renamed: a volume that is there is complete, whenever the process ends.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar

from agent.drivers.driver import DriverError, DriverFault, Progress
from agent.drivers.libvirt import root_disk
from agent.drivers.libvirt.convert import converting
from agent.drivers.libvirt.volumes import LibvirtVolumes
from agent.drivers.storage import disk_size
from agent.drivers.storage.store import of_another_size
from domain.disk_source import VolumeSource
from domain.guest_spec import ImageRef
from infra.process import failpoints

T = TypeVar("T")


class LibvirtCopiedVolumes(LibvirtVolumes):
    """Adds volumes that are copies to a host."""

    async def copy_volume(
        self, volume_id: str, size: int, pool_id: str, source: ImageRef | VolumeSource, progress: Progress
    ) -> None:
        """Have qemu-img write a file beside, grow it, and put it in its place."""
        has = await self._on_volumes(pool_id, lambda store: store.size(volume_id))
        if has == size:
            return
        if has is not None:
            raise of_another_size(volume_id)
        file = await self._file_of(volume_id, pool_id)
        copied, read_as, least = await self._read_from(source)
        if size < least:
            raise DriverError(DriverFault.DISK_TOO_SMALL, f"{source.name!r} needs {least} bytes, the volume has {size}")
        # A file of its own: what a process before this one has begun may still write to the one that it made.
        fresh = file.with_suffix(".new")

        def finish() -> None:
            disk_size.grow(fresh, size)
            _sync(fresh)
            failpoints.point("libvirt-volume-copied")
            fresh.replace(file)

        try:
            await self._beside(lambda: fresh.unlink(missing_ok=True))
            async with aclosing(converting(read_as, "-O", "qcow2", str(copied), str(fresh))) as looks:
                async for done in looks:
                    progress(int(least * done), least)
            await self._beside(finish)
        finally:
            fresh.unlink(missing_ok=True)

    async def _read_from(self, source: ImageRef | VolumeSource) -> tuple[Path, str, int]:
        """Return the file to copy, its format, and the bytes of its disk."""
        if isinstance(source, ImageRef):
            cached = self._images.path(source)
            if not cached.exists():
                raise DriverError(DriverFault.IMAGE_UNAVAILABLE, f"image {source.name!r} is not on this host")
            return cached, source.format, root_disk.virtual_size(source, cached)
        size = await self._on_volumes(source.pool_id, lambda store: store.size(source.id))
        if size is None:
            raise DriverError(DriverFault.VOLUME_UNKNOWN, f"{source.kind} {source.id} is not on this host")
        return await self._file_of(source.id, source.pool_id), "qcow2", size

    async def _file_of(self, volume_id: str, pool_id: str) -> Path:
        """Return the file of a volume. Raises DriverError "copy-not-supported" where it is in no place with files."""
        disk = await self._on_volumes(pool_id, lambda store: store.disk(volume_id))
        if disk.type != "file":
            message = "volumes in pools on Ceph are neither copied nor made as copies yet"
            raise DriverError(DriverFault.COPY_NOT_SUPPORTED, message)
        return Path(disk.source.get("file", ""))

    async def _beside(self, work: Callable[[], T]) -> T:
        """Return the result of `work`, which waits for a disk, from a thread that no call to libvirt needs."""
        return await asyncio.get_running_loop().run_in_executor(self._copiers, work)


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
