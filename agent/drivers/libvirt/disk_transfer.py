"""Root disks that move from host to host: the overlay alone, since the image below it is on every host that wants it.

Why a disk is received beside and renamed: a disk that is there is complete, whenever the process ends.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TypeVar

from agent.drivers import host_command
from agent.drivers.driver import DiskContent, DriverError, DriverFault, Secrets
from agent.drivers.libvirt import guest_metadata
from agent.drivers.libvirt.disks import LibvirtDisks, told_by
from agent.drivers.libvirt.power import OFF, LibvirtPower
from domain.guest_spec import GuestSpec
from infra.disks import qemu_img
from infra.process import failpoints

CHUNK = 1 << 20

T = TypeVar("T")


class LibvirtDiskTransfer(LibvirtDisks, LibvirtPower):
    """Adds the moving of root disks to a host."""

    async def read_disk(self, instance_id: str) -> DiskContent:
        """Open the overlay's file, of a guest that is off."""
        if await self.power(instance_id) not in OFF:
            raise DriverError(DriverFault.GUEST_ON, f"guest {instance_id} uses its disk")
        path = self._files.instance(instance_id).disk
        try:
            size = await self._copying(lambda: path.stat().st_size)
        except FileNotFoundError as missing:
            raise DriverError(DriverFault.DISK_MISSING, f"instance {instance_id} has no disk here") from missing
        told = await self._copying(lambda: told_by(self._files.instance(instance_id)))
        return DiskContent(size, self._file(path), told or Secrets())

    async def receive_disk(self, guest: GuestSpec, content: DiskContent) -> None:
        """Write the file beside, put it on this host's image, and rename it."""
        files = self._files.instance(guest.id)
        cached = self._images.path(guest.image)
        part = files.disk.with_suffix(".part")

        def finish() -> None:
            if not cached.exists():
                raise DriverError(DriverFault.IMAGE_UNAVAILABLE, f"image {guest.image.name!r} is not on this host")
            # The path of the image below is the other host's.
            rebase = ("-u", "-F", guest.image.format, "-b", str(cached), str(part))
            host_command.run(*qemu_img.command("rebase", "qcow2", *rebase))
            guest_metadata.keep_secrets(files.told, content.told)
            failpoints.point("libvirt-disk-received")
            part.replace(files.disk)

        await self._copying(files.make)
        try:
            await self._write(part, content)
            await self._copying(finish)
        finally:
            part.unlink(missing_ok=True)
            with suppress(OSError):
                # It holds something else where this is not the first try, or the disk that came.
                files.directory.rmdir()

    async def _write(self, part: Path, content: DiskContent) -> None:
        async with aclosing(content.chunks) as chunks:
            size = await self._written(part, chunks, content.size)
        if size != content.size:
            raise DriverError(DriverFault.DISK_DAMAGED, f"of {content.size} bytes of a disk {size} came")

    async def _written(self, part: Path, chunks: AsyncGenerator[bytes, None], most: int) -> int:
        """The bytes that came, where there are no more than `most`."""
        size = 0
        with part.open("wb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > most:
                    break
                await self._copying(lambda chunk=chunk: file.write(chunk))  # type: ignore[misc]
            await self._copying(file.flush)
            await self._copying(lambda: os.fsync(file.fileno()))
        return size

    async def _file(self, path: Path) -> AsyncGenerator[bytes, None]:
        with path.open("rb") as file:
            while chunk := await self._copying(lambda: file.read(CHUNK)):
                yield chunk

    async def _copying(self, work: Callable[[], T]) -> T:
        """Return the result of `work`, which waits for a disk, from a thread that no call to libvirt needs."""
        return await asyncio.get_running_loop().run_in_executor(self._copiers, work)
