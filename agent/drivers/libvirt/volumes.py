"""Volumes: files on the host's disk that guests have as disks besides their root disk.

Why qcow2: a file takes what was written and no more, and can hold what snapshots and incremental backups need. Files
are root's, and libvirt gives one to the user that runs a guest for as long as the guest has it.
"""

import asyncio
import logging
import time

import libvirt

from agent.drivers import host_command
from agent.drivers.driver import DriverError, DriverFault
from agent.drivers.libvirt import xml
from agent.drivers.libvirt.host import LibvirtHost, unknown
from agent.drivers.libvirt.qcow2 import read_header
from domain.guest_spec import AttachedVolume, serial_of
from infra.process import failpoints

RELEASE = 30.0
"""Seconds that a guest has to let go of a disk."""
POLL = 0.1
"""Seconds between looks at a guest that was asked to."""
LIVE, CONFIG = libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG

logger = logging.getLogger(__name__)


class LibvirtVolumes(LibvirtHost):
    """Adds volumes to a host."""

    async def create_volume(self, volume_id: str, size: int) -> None:
        """Make the file beside its place, and put it there when it is whole."""
        file = self._files.volume(volume_id)

        def work() -> None:
            if file.exists():
                header = read_header(file)
                if header is None or header.virtual_size != size:
                    raise DriverError(DriverFault.VOLUME_DIFFERS, f"{file} is there already, of another size")
                return
            file.parent.mkdir(mode=0o711, exist_ok=True)
            fresh = file.with_suffix(".new")
            host_command.run("qemu-img", "create", "-q", "-f", "qcow2", str(fresh), str(size))
            failpoints.point("libvirt-volume-made")
            fresh.replace(file)

        await self._connection.run(work)

    async def delete_volume(self, volume_id: str) -> None:
        """Remove the file, and what a crash left of making it."""
        file = self._files.volume(volume_id)

        def work() -> None:
            file.with_suffix(".new").unlink(missing_ok=True)
            file.unlink(missing_ok=True)

        await self._connection.run(work)

    async def attach_volume(self, instance_id: str, volume: AttachedVolume) -> None:
        """Give the disk to the guest that runs, and write it into the definition, each unless it is there."""
        file = self._files.volume(volume.id)

        def work(domain: libvirt.virDomain) -> bool:
            if not file.exists():
                raise DriverError(DriverFault.VOLUME_UNKNOWN, f"volume {volume.id} is not on this host")
            wanted = {CONFIG: domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)}
            if domain.isActive():
                wanted = {LIVE: domain.XMLDesc(), **wanted}
            disk = xml.volume_xml(volume, file, self._machine(), *wanted.values())
            for where, definition in wanted.items():
                if xml.disk_of(definition, volume.serial) is None:
                    domain.attachDeviceFlags(disk, where)
                    failpoints.point("libvirt-volume-attached")
            return True

        if not await self._with(instance_id, work):
            raise unknown(instance_id)

    async def detach_volume(self, instance_id: str, volume_id: str) -> None:
        """Ask the guest until it has let go of the disk, and only then take that out of the definition."""
        serial = serial_of(volume_id)

        def work(domain: libvirt.virDomain) -> None:
            disk = xml.disk_of(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), serial)
            if disk is not None:
                domain.detachDeviceFlags(disk, CONFIG)

        until = time.monotonic() + RELEASE
        while await self._with(instance_id, lambda domain: _still_has(domain, serial)):
            if time.monotonic() >= until:
                raise DriverError(
                    DriverFault.VOLUME_NOT_RELEASED,
                    f"guest {instance_id} did not let go of volume {volume_id} within {RELEASE:g} s",
                )
            await asyncio.sleep(POLL)
        failpoints.point("libvirt-volume-released")
        await self._with(instance_id, work)


def _still_has(domain: libvirt.virDomain, serial: str) -> bool:
    """Ask a guest that runs to let go of the disk; whether it has it even so."""
    disk = xml.disk_of(domain.XMLDesc(), serial) if domain.isActive() else None
    if disk is None:
        return False
    try:
        # It waits for some seconds, and says nothing when that was not enough.
        domain.detachDeviceFlags(disk, LIVE)
    except libvirt.libvirtError as problem:
        if not domain.isActive():
            return False
        logger.info("the guest could not be asked to let go of a disk: %s", problem)
    return domain.isActive() and xml.disk_of(domain.XMLDesc(), serial) is not None
