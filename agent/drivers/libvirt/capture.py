"""Copies of root disks that are in use: by a backup job of QEMU's while the guest runs, by qemu-img while it is off.

Why two ways, and more than one try: QEMU alone can copy a disk that it writes to, and is not there for a guest that is
off. A guest that goes off ends the backup; one that is started while qemu-img reads changes what is being read. Either
way what was copied is thrown away, and the copy begins anew in the other way.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import libvirt

from agent.drivers.driver import DiskContent, DriverError, DriverFault, Progress
from agent.drivers.libvirt.convert import LOOK, converting
from agent.drivers.libvirt.disk_transfer import LibvirtDiskTransfer
from agent.drivers.libvirt.power import OFF
from domain.guest_spec import Power
from infra.disks.qcow2 import read_header
from infra.process import failpoints

TRIES = 6
COMPRESSED = ("-c", "-o", "compression_type=zstd")
"""Options of a compressed copy: zlib, the format's first, takes eight times as long for no less bytes."""
ABORT_TRIES = 50
"""Looks whether a backup that was told to end has ended."""
GOING_TRIES = 300
"""Looks whether a guest that ends is off."""


class LibvirtCapture(LibvirtDiskTransfer):
    """Adds copies of disks in use to a host."""

    @asynccontextmanager
    async def capture_disk(
        self, instance_id: str, progress: Progress, compress: bool = False
    ) -> AsyncIterator[DiskContent]:
        """Make the copy beside the disk, and remove it in the end."""
        files = self._files.instance(instance_id)
        if not files.disk.exists():
            raise DriverError(DriverFault.DISK_MISSING, f"instance {instance_id} has no disk here")
        copy = files.directory / "disk.capture"
        try:
            for _ in range(TRIES):
                await self._end_backup(instance_id)
                copy.unlink(missing_ok=True)
                if await self.power(instance_id) in OFF | {Power.SUSPENDED}:
                    made = await self._convert(instance_id, files.disk, copy, progress, compress)
                else:
                    made = await self._back_up(instance_id, files.disk, copy, progress)
                if made:
                    break
            else:
                raise DriverError(DriverFault.DISK_BUSY, f"guest {instance_id} went on or off at every try")
            failpoints.point("capture-made")
            async with aclosing(self._file(copy)) as chunks:
                yield DiskContent(copy.stat().st_size, chunks)
        finally:
            copy.unlink(missing_ok=True)

    async def _back_up(self, instance_id: str, disk: Path, copy: Path, progress: Progress) -> bool:
        """Whether QEMU made the copy; not where the guest went off."""
        try:
            if not await self._with(instance_id, lambda domain: _begin(domain, disk, copy)):
                return False
            while (told := await self._with(instance_id, _told)) is not None and told[1]:
                progress(*told)
                await asyncio.sleep(LOOK)
            return bool(await self._with(instance_id, _succeeded))
        except DriverError as problem:
            if problem.code != DriverFault.HYPERVISOR_REFUSED or not await self._goes_off(instance_id):
                raise
            return False
        except asyncio.CancelledError:
            await self._end_backup(instance_id)
            raise

    async def _goes_off(self, instance_id: str) -> bool:
        """Whether the guest is off, or on its way there: a guest that ends is refused to us before it is seen off."""
        for _ in range(GOING_TRIES):
            if await self.power(instance_id) in OFF | {Power.SUSPENDED}:
                return True
            await asyncio.sleep(LOOK)
        return False

    async def _end_backup(self, instance_id: str) -> None:
        """End what a process before this one, or this one, has begun."""
        for _ in range(ABORT_TRIES):
            try:
                if not await self._with(instance_id, _abort):
                    return
            except DriverError as problem:
                if problem.code != DriverFault.HYPERVISOR_REFUSED:
                    raise
            await asyncio.sleep(LOOK)

    async def _convert(self, instance_id: str, disk: Path, copy: Path, progress: Progress, compress: bool) -> bool:
        """Whether qemu-img made the copy of one state of the disk; not where the guest was started meanwhile."""
        before = _mark(disk)
        header = read_header(disk)
        size = header.virtual_size if header else 0
        # Without -U the guest could not be started meanwhile.
        options = ("-U", "-O", "qcow2", *(COMPRESSED if compress else ()))
        async with aclosing(converting("qcow2", *options, str(disk), str(copy))) as looks:
            async for done in looks:
                progress(int(size * done), size)
                if await self.power(instance_id) not in OFF | {Power.SUSPENDED}:
                    return False
        return await self.power(instance_id) in OFF | {Power.SUSPENDED} and _mark(disk) == before


def _mark(disk: Path) -> tuple[int, int]:
    """Return the time of the last change and the size of a disk's file, which differ after a write."""
    found = os.stat(disk)
    return found.st_mtime_ns, found.st_size


def _begin(domain: libvirt.virDomain, root: Path, copy: Path) -> bool:
    """Have QEMU begin to copy; False where the guest is off."""
    if not domain.isActive():
        return False
    backup = ET.Element("domainbackup", {"mode": "push"})
    disks = ET.SubElement(backup, "disks")
    for each in ET.fromstring(domain.XMLDesc()).findall("devices/disk"):
        target, source = each.find("target"), each.find("source")
        assert target is not None
        name = target.get("dev", "")
        if source is None or source.get("file") != str(root):
            ET.SubElement(disks, "disk", {"name": name, "backup": "no"})
            continue
        disk = ET.SubElement(disks, "disk", {"name": name, "backup": "yes", "type": "file"})
        ET.SubElement(disk, "driver", {"type": "qcow2"})
        ET.SubElement(disk, "target", {"file": str(copy)})
    domain.backupBegin(ET.tostring(backup, encoding="unicode"), None, 0)
    return True


def _told(domain: libvirt.virDomain) -> tuple[int, int] | None:
    """Bytes done, and of how many; 0 where no copy is being made, None where there is no guest that could."""
    if not domain.isActive():
        return None
    stats = domain.jobStats(0)
    if stats.get("type", 0) == libvirt.VIR_DOMAIN_JOB_NONE:
        return 0, 0
    return stats.get("disk_processed", 0), max(1, stats.get("disk_total", 0))


def _succeeded(domain: libvirt.virDomain) -> bool:
    """Whether the copy that has ended is whole."""
    if not domain.isActive():
        return False
    stats = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    return stats.get("operation") == libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP and bool(stats.get("success"))


def _abort(domain: libvirt.virDomain) -> bool:
    """Whether a copy was being made, which is told to end."""
    if not domain.isActive():
        return False
    stats = domain.jobStats(0)
    if stats.get("operation") != libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP or not stats.get("type", 0):
        return False
    domain.abortJob()
    return True
