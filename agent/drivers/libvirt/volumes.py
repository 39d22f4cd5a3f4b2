"""Volumes: disks on the host's own disk, or in a pool, that guests have besides their root disk."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import libvirt

from agent.drivers.driver import DriverError, DriverFault
from agent.drivers.libvirt import secrets, xml
from agent.drivers.libvirt.devices import LibvirtDevices
from agent.drivers.storage.rbd import secret_id
from domain.guest_spec import AttachedVolume, serial_of
from domain.jobs.pool import PoolOnHost, PoolPlace
from infra.process import failpoints


class LibvirtVolumes(LibvirtDevices):
    """Adds volumes to a host."""

    async def know_pools(self, places: Sequence[PoolPlace]) -> Sequence[PoolOnHost]:
        """Look at each pool; one that hangs holds up none of the others."""
        before = self._pools.ids
        found = await asyncio.to_thread(self._pools.know, places)
        for gone in before - self._pools.ids:
            # Only Ceph's pools have one; a hypervisor that is away keeps it, and nobody uses it any more.
            with suppress(DriverError):
                await self._connection.call(partial(secrets.forget, secret_id(gone)))
        return found

    async def pool_volumes(self, pool_id: str) -> Sequence[str]:
        """List the files or images that there are."""
        return await self._on_volumes(pool_id, lambda store: store.volumes())

    async def create_volume(self, volume_id: str, size: int, pool_id: str = "") -> None:
        """Make the file or image, so that it is there whole or not at all."""
        await self._on_volumes(pool_id, lambda store: store.create(volume_id, size))

    async def extend_volume(self, volume_id: str, size: int, instance_id: str, pool_id: str = "") -> None:
        """Have QEMU resize the disk of a guest that runs with it, else its place."""

        def resize(domain: libvirt.virDomain) -> bool:
            name = xml.device_of(domain.XMLDesc(), serial_of(volume_id)) if domain.isActive() else ""
            if name:
                # It would shrink one that is larger without a question.
                domain.blockResize(name, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
                failpoints.point("libvirt-volume-extended")
            return bool(name)

        before = await self._size(volume_id, pool_id)
        if before > size:
            raise DriverError(DriverFault.VOLUME_DIFFERS, f"volume {volume_id} has {before} bytes already")
        if before < size and not (instance_id != "" and await self._with(instance_id, resize)):
            await self._on_volumes(pool_id, lambda store: store.extend(volume_id, size))
            failpoints.point("libvirt-volume-extended")

    async def delete_volume(self, volume_id: str, pool_id: str = "") -> None:
        """Remove the file or image, and what a crash left of making it."""
        await self._on_volumes(pool_id, lambda store: store.delete(volume_id))

    async def attach_volume(self, instance_id: str, volume: AttachedVolume) -> None:
        """Give the guest the file or image as a disk."""
        await self._size(volume.id, volume.pool_id)
        source = (await self._sources([volume]))[volume.id]

        def disk(*definitions: str) -> str:
            return xml.volume_xml(volume, source, self._machine(), *definitions)

        await self._attach(instance_id, partial(xml.disk_of, serial=volume.serial), disk)

    async def detach_volume(self, instance_id: str, volume_id: str) -> None:
        """Take the disk from the guest."""
        if await self._with(instance_id, libvirt.virDomain.isActive):
            await self._expect_storage(instance_id)
        find = partial(xml.disk_of, serial=serial_of(volume_id))
        await self._detach(instance_id, find, f"volume {volume_id}", DriverFault.VOLUME_NOT_RELEASED)

    async def _size(self, volume_id: str, pool_id: str) -> int:
        """Return the size of a volume in bytes. Raises DriverError "volume-unknown", "pool-not-reached"."""
        size = await self._on_volumes(pool_id, lambda store: store.size(volume_id))
        if size is None:
            raise DriverError(DriverFault.VOLUME_UNKNOWN, f"volume {volume_id} is not on this host")
        return size
