"""Volumes of a host that is not there: numbers by their ids, and who has them."""

import sqlite3
from collections.abc import Sequence

from agent.drivers.driver import DriverError, DriverFault, Progress
from agent.drivers.simulated.guest import SimulatedGuest
from domain.disk_source import VolumeSource
from domain.guest_spec import AttachedVolume, ImageRef, Power
from domain.host.local_disks import LocalDisk
from domain.jobs.pool import PoolOnHost, PoolPlace, PoolSight

SPACIOUS = 64 << 40
"""Bytes of every pool that a simulated host reaches."""
OFF = {Power.NONE, Power.SHUTDOWN, Power.CRASHED}


class SimulatedVolumes:
    """The part of a simulated host that has its volumes, and tells of its root disks."""

    clinging: set[str]
    _volumes: dict[str, int]
    _shared: dict[str, int]
    """Sizes of the volumes in pools, which hosts of one process have in common."""
    _guests: dict[str, SimulatedGuest]
    _kept: sqlite3.Connection | None

    async def _pass(self, job: str) -> None:
        raise NotImplementedError

    def _require_image(self, image: ImageRef) -> None:
        raise NotImplementedError

    def _known(self, instance_id: str) -> SimulatedGuest:
        raise NotImplementedError

    def _keep(self, instance_id: str) -> None:
        raise NotImplementedError

    def _has_disk(self, instance_id: str) -> SimulatedGuest:
        """Return a guest that has a disk."""
        had = self._guests.get(instance_id)
        if had is None or not had.disk:
            raise DriverError(DriverFault.DISK_MISSING, f"instance {instance_id} has no disk here")
        return had

    async def local_disks(self, instance_id: str) -> Sequence[LocalDisk]:
        """The disk that was noted, as a file that is not there."""
        return (self._has_disk(instance_id).local_disk(instance_id),)

    async def know_pools(self, places: Sequence[PoolPlace]) -> Sequence[PoolOnHost]:
        """Reach every pool: there is nothing that could be away."""
        return [
            PoolOnHost(id=each.id, sight=PoolSight.REACHED, capacity=SPACIOUS, available=SPACIOUS) for each in places
        ]

    async def pool_volumes(self, pool_id: str) -> Sequence[str]:
        """Tell the volumes of all pools: which is in which is not kept."""
        return sorted(self._shared)

    def _place(self, pool_id: str) -> dict[str, int]:
        return self._shared if pool_id else self._volumes

    async def create_volume(self, volume_id: str, size: int, pool_id: str = "") -> None:
        """Note that the volume is here."""
        await self._pass("CreateVolumeFile")
        self._made(volume_id, size, pool_id)

    async def copy_volume(
        self, volume_id: str, size: int, pool_id: str, source: ImageRef | VolumeSource, progress: Progress
    ) -> None:
        """Note that the volume is here, where what it is to be a copy of is here."""
        await self._pass("CopyToVolume")
        if isinstance(source, ImageRef):
            self._require_image(source)
            least = source.virtual_size
        else:
            least = self._size_of(source.id, source.pool_id)
        if size < least:
            raise DriverError(DriverFault.DISK_TOO_SMALL, f"{source.name!r} needs {least} bytes, the volume has {size}")
        progress(size, size)
        self._made(volume_id, size, pool_id)

    def _made(self, volume_id: str, size: int, pool_id: str) -> None:
        if self._place(pool_id).setdefault(volume_id, size) != size:
            raise DriverError(DriverFault.VOLUME_DIFFERS, f"volume {volume_id} is here already, of another size")
        if self._kept is not None and not pool_id:
            self._kept.execute("insert or ignore into volumes values (?, ?)", (volume_id, size))

    async def extend_volume(self, volume_id: str, size: int, instance_id: str, pool_id: str = "") -> None:
        """Note the volume's size."""
        await self._pass("ExtendVolumeFile")
        has = self._size_of(volume_id, pool_id)
        if has > size:
            raise DriverError(DriverFault.VOLUME_DIFFERS, f"volume {volume_id} has {has} bytes already")
        self._place(pool_id)[volume_id] = size
        if self._kept is not None:
            self._kept.execute("update volumes set size = ? where id = ?", (size, volume_id))

    def _size_of(self, volume_id: str, pool_id: str) -> int:
        has = self._place(pool_id).get(volume_id)
        if has is None:
            raise DriverError(DriverFault.VOLUME_UNKNOWN, f"volume {volume_id} is not on this host")
        return has

    async def delete_volume(self, volume_id: str, pool_id: str = "") -> None:
        """Forget that there is such a volume."""
        await self._pass("DeleteVolumeFile")
        self._place(pool_id).pop(volume_id, None)
        if self._kept is not None:
            self._kept.execute("delete from volumes where id = ?", (volume_id,))

    async def attach_volume(self, instance_id: str, volume: AttachedVolume) -> None:
        """Note that the guest has the volume."""
        await self._pass("AttachVolume")
        guest = self._known(instance_id)
        if volume.id not in self._place(volume.pool_id):
            raise DriverError(DriverFault.VOLUME_UNKNOWN, f"volume {volume.id} is not on this host")
        if volume.id not in guest.volumes:
            guest.volumes = (*guest.volumes, volume.id)
            self._keep(instance_id)

    async def detach_volume(self, instance_id: str, volume_id: str) -> None:
        """Note that the guest does not have the volume: simulated guests let go at once, but for those that cling."""
        await self._pass("DetachVolume")
        guest = self._guests.get(instance_id)
        if guest is None or volume_id not in guest.volumes:
            return
        if instance_id in self.clinging and guest.power not in OFF:
            raise DriverError(
                DriverFault.VOLUME_NOT_RELEASED, f"guest {instance_id} did not let go of volume {volume_id}"
            )
        guest.volumes = tuple(each for each in guest.volumes if each != volume_id)
        self._keep(instance_id)
