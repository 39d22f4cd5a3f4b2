"""Volumes: files on the host's own disk, or in a pool, that guests have as disks besides their root disk.

Why qcow2: a file takes what was written and no more, and can hold what snapshots and incremental backups need. Files
are root's, and libvirt gives one to the user that runs a guest for as long as the guest has it.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

import libvirt

from agent.drivers import host_command
from agent.drivers.driver import DriverError, DriverFault
from agent.drivers.libvirt import xml
from agent.drivers.libvirt.devices import LibvirtDevices
from agent.drivers.libvirt.disk_size import grow
from domain.guest_spec import AttachedVolume, serial_of
from domain.jobs.pool import PoolOnHost, PoolPlace
from infra.disks import qemu_img
from infra.disks.qcow2 import read_header
from infra.process import failpoints


class LibvirtVolumes(LibvirtDevices):
    """Adds volumes to a host."""

    async def know_pools(self, places: Sequence[PoolPlace]) -> Sequence[PoolOnHost]:
        """Look at each pool's directory; one that hangs holds up none of the others."""
        return await asyncio.to_thread(self._pools.know, places)

    async def create_volume(self, volume_id: str, size: int, pool_id: str = "") -> None:
        """Make the file beside its place, and put it there when it is whole."""

        def work() -> None:
            file = self._volume_file(volume_id, pool_id)
            if file.exists():
                header = read_header(file)
                if header is None or header.virtual_size != size:
                    raise DriverError(
                        DriverFault.VOLUME_DIFFERS, f"volume {volume_id} is here already, of another size"
                    )
                return
            fresh = file.with_suffix(".new")
            host_command.run(*qemu_img.command("create", "qcow2", "-q", str(fresh), str(size)))
            failpoints.point("libvirt-volume-made")
            fresh.replace(file)

        await self._connection.run(work)

    async def extend_volume(self, volume_id: str, size: int, instance_id: str, pool_id: str = "") -> None:
        """Have QEMU resize the disk of a guest that runs with it, else qemu-img its file."""

        def resize(domain: libvirt.virDomain) -> bool:
            name = xml.device_of(domain.XMLDesc(), serial_of(volume_id)) if domain.isActive() else ""
            if name:
                # It would shrink one that is larger without a question.
                domain.blockResize(name, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
                failpoints.point("libvirt-volume-extended")
            return bool(name)

        def has() -> int:
            file = self._volume_file(volume_id, pool_id)
            header = read_header(file) if file.exists() else None
            if header is None:
                raise DriverError(DriverFault.VOLUME_UNKNOWN, f"volume {volume_id} is not on this host")
            return header.virtual_size

        def work() -> None:
            grow(self._volume_file(volume_id, pool_id), size)
            failpoints.point("libvirt-volume-extended")

        before = await self._connection.run(has)
        if before > size:
            raise DriverError(DriverFault.VOLUME_DIFFERS, f"volume {volume_id} has {before} bytes already")
        if before < size and not (instance_id != "" and await self._with(instance_id, resize)):
            await self._connection.run(work)

    async def delete_volume(self, volume_id: str, pool_id: str = "") -> None:
        """Remove the file, and what a crash left of making it."""

        def work() -> None:
            file = self._volume_file(volume_id, pool_id)
            file.with_suffix(".new").unlink(missing_ok=True)
            file.unlink(missing_ok=True)

        await self._connection.run(work)

    async def attach_volume(self, instance_id: str, volume: AttachedVolume) -> None:
        """Give the guest the file as a disk."""

        def disk(*definitions: str) -> str:
            file = self._volume_file(volume.id, volume.pool_id)
            if not file.exists():
                raise DriverError(DriverFault.VOLUME_UNKNOWN, f"volume {volume.id} is not on this host")
            return xml.volume_xml(volume, file, self._machine(), *definitions)

        await self._attach(instance_id, partial(xml.disk_of, serial=volume.serial), disk)

    async def detach_volume(self, instance_id: str, volume_id: str) -> None:
        """Take the disk from the guest."""
        find = partial(xml.disk_of, serial=serial_of(volume_id))
        await self._detach(instance_id, find, f"volume {volume_id}", DriverFault.VOLUME_NOT_RELEASED)
