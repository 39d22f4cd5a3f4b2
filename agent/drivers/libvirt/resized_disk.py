"""Root disks that get larger, and are kept as they were until that is confirmed.

Why the file itself is put aside and its copy grows: what is put back is what it was, to the byte. The copy is made
beside and renamed last, so that a root disk that is there is complete whenever the process ends.
"""

import asyncio
from contextlib import suppress
from pathlib import Path

from agent.drivers import whole_file
from agent.drivers.driver import DriverError, DriverFault, Progress
from agent.drivers.libvirt.disk_transfer import LibvirtDiskTransfer
from agent.drivers.libvirt.power import OFF
from agent.drivers.storage import disk_size
from infra.process import failpoints

LOOK = 0.2
"""Seconds between looks at a copy that is being made."""


class LibvirtResizedDisks(LibvirtDiskTransfer):
    """Adds the growth of root disks to a host."""

    async def keep_disk(self, instance_id: str, progress: Progress) -> None:
        """Copy the disk beside itself, then rename both."""
        files = self._files.instance(instance_id)
        copy = files.copied_disk
        if not files.old_disk.exists():
            disk = await self._disk_of_guest_off(instance_id)
            try:
                await _copy(disk, copy, progress)
                await self._copying(lambda: whole_file.sync(copy))
                failpoints.point("libvirt-disk-copied")
                disk.rename(files.old_disk)
            except BaseException:
                copy.unlink(missing_ok=True)
                raise
            failpoints.point("libvirt-disk-aside")
        if not files.disk.exists():
            copy.rename(files.disk)

    async def grow_disk(self, instance_id: str, size: int) -> None:
        """Have qemu-img resize the overlay."""
        disk = await self._disk_of_guest_off(instance_id)
        await self._connection.run(lambda: disk_size.grow(disk, size))
        failpoints.point("libvirt-disk-grown")

    async def _disk_of_guest_off(self, instance_id: str) -> Path:
        if await self.power(instance_id) not in OFF:
            raise DriverError(DriverFault.GUEST_ON, f"guest {instance_id} uses its disk")
        disk = self._files.instance(instance_id).disk
        if not disk.exists():
            raise DriverError(DriverFault.DISK_MISSING, f"instance {instance_id} has no disk here")
        return disk


async def _copy(disk: Path, copy: Path, progress: Progress) -> None:
    """Copy a file, by sharing its blocks where the file system can. Raises DriverError "host-command-failed"."""
    size = max(1, _size(disk))
    # A file of its own: what a process before this one has begun may still write to the one that it made.
    _remove(copy)
    process = await asyncio.create_subprocess_exec(
        "cp", "--reflink=auto", "--", str(disk), str(copy), stderr=asyncio.subprocess.PIPE
    )
    ended = asyncio.create_task(process.communicate())
    try:
        while not (await asyncio.wait({ended}, timeout=LOOK))[0]:
            progress(min(_size(copy), size), size)
        said = ended.result()[1].decode(errors="replace").strip()[:500]
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await asyncio.wait({ended})
    if process.returncode:
        message = "the root disk could not be copied; the log of the host's agent says why"
        raise DriverError(DriverFault.HOST_COMMAND_FAILED, message, said)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)
