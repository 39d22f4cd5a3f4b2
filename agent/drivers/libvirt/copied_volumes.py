"""Volumes that are copies: of an image of the cache, or of another volume that no guest has."""

import asyncio
import uuid
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import TypeVar

from agent.drivers.driver import DriverError, DriverFault, Progress
from agent.drivers.libvirt import root_disk
from agent.drivers.libvirt.convert import converting
from agent.drivers.libvirt.volumes import LibvirtVolumes
from agent.drivers.storage.files import FileVolumes
from agent.drivers.storage.store import QemuDisk, VolumeStore
from domain.disk_source import VolumeSource
from domain.guest_spec import ImageRef

T = TypeVar("T")


class LibvirtCopiedVolumes(LibvirtVolumes):
    """Adds volumes that are copies to a host."""

    async def copy_volume(
        self, volume_id: str, size: int, pool_id: str, source: ImageRef | VolumeSource, progress: Progress
    ) -> None:
        """Have qemu-img write a copy beside the volume's place, and put it there when it is whole."""
        copy = await self._beside(pool_id, lambda store: store.begin_copy(volume_id, size))
        if copy is None:
            return
        copied = await self._read_from(source)
        if size < copied.size:
            message = f"{source.name!r} needs {copied.size} bytes, the volume has {size}"
            raise DriverError(DriverFault.DISK_TOO_SMALL, message)
        whole = False
        try:
            async with aclosing(converting(copied.format, "-O", copy.format, copied.name, copy.name)) as looks:
                async for done in looks:
                    progress(int(copied.size * done), copied.size)
            await self._beside(pool_id, lambda store: store.finish_copy(volume_id, size))
            whole = True
        finally:
            if not whole:
                # In a Ceph cluster the copy is held for a while by whoever was killed: the volume's delete removes it.
                with suppress(DriverError):
                    await asyncio.shield(self._beside(pool_id, lambda store: store.drop_copy(volume_id)))

    async def _read_from(self, source: ImageRef | VolumeSource) -> QemuDisk:
        """Return what is to be copied."""
        if isinstance(source, ImageRef):
            cached = self._images.path(source)
            if not cached.exists():
                raise DriverError(DriverFault.IMAGE_UNAVAILABLE, f"image {source.name!r} is not on this host")
            return QemuDisk(str(cached), source.format, root_disk.virtual_size(source, cached))
        content = await self._beside(source.pool_id, lambda store: store.content(str(uuid.UUID(source.id))))
        if content is None:
            raise DriverError(DriverFault.VOLUME_UNKNOWN, f"{source.kind} {source.id} is not on this host")
        return content

    async def _beside(self, pool_id: str, work: Callable[[VolumeStore], T]) -> T:
        """Return the result of `work`, which waits for a disk, from a thread that no call to libvirt needs."""
        if pool_id:
            return await self._on_volumes(pool_id, work)
        own = FileVolumes(self._files.volumes)
        return await asyncio.get_running_loop().run_in_executor(self._copiers, work, own)
