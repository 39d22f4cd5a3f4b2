"""State of an instance, as a fold of its events.

`status` is derived, never stored: vm_state (what it is), the task (what is being done to it) and power (what the
hypervisor last said) are the three facts behind it.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from domain.core.fields import PERSONAL_OF_ACTOR
from domain.core.messages import Model
from domain.core.resources import Resources
from domain.guest_spec import AttachedVolume, GuestSpec, HostRef, ImageRef, Nic, Power
from domain.instance.migration import InstanceSize, Migration, MigrationStatus
from domain.instance.spec import InstanceSpec
from domain.tasks.job import Where
from domain.tasks.placed import PlacedSubject
from domain.tasks.task import Fault


class VmState(StrEnum):
    """Status of an instance while no task runs."""

    BUILDING = "building"
    ACTIVE = "active"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    STOPPED = "stopped"
    RESCUED = "rescued"
    RESIZED = "resized"
    SOFT_DELETED = "soft_deleted"
    DELETED = "deleted"
    SHELVED = "shelved"
    SHELVED_OFFLOADED = "shelved_offloaded"
    ERROR = "error"


UNDECIDED = frozenset({MigrationStatus.FINISHED, MigrationStatus.CONFIRMING, MigrationStatus.REVERTING})
"""Statuses of a migration that is done, and neither confirmed nor reverted."""


HAS_ITS_DISK = frozenset({VmState.ACTIVE, VmState.RESCUED, VmState.DELETED})
"""Statuses after a task in which the image of a shelved instance's root disk is needed no more: its guest runs from the
disk, or there is none. In any other the image may be the only copy."""


class OtherHost(Model):
    """The second host of an instance that moves: its destination, or its source until the move is confirmed."""

    host: HostRef
    claim: str
    """Id of the claim that reserves its resources there."""
    nics: tuple[Nic, ...] = ()
    """Network interfaces as they are there. Empty until known."""
    power: Power = Power.NONE
    """Power state that the hypervisor there last reported."""
    unsettled: bool = False
    """Whether that was seen while a task ran, as it is of the instance's own host."""
    size: InstanceSize | None = None
    """Size of the instance there; None: the same as on its own host."""


class Instance(InstanceSpec, PlacedSubject):
    """A virtual machine, as known from its events."""

    id: str
    project: str
    owner: Annotated[str, PERSONAL_OF_ACTOR]
    created: datetime
    updated: datetime

    vm_state: VmState = VmState.BUILDING
    power: Power = Power.NONE
    unsettled: bool = False
    """Whether the power was seen while a task ran, and what follows from it is not decided yet."""
    incoming: OtherHost | None = None
    """The second host, from the start of a move until it is confirmed or reverted."""
    volumes: tuple[AttachedVolume, ...] = ()
    """The volumes that are reserved for the instance, as its disks besides the root disk, in the order of attaching."""
    migration: Migration | None = None
    """The last migration, running or ended."""
    rescue_image: ImageRef | None = None
    """Image of the rescue disk, while the instance is rescued."""
    disk_image: ImageRef | None = None
    """Image of the instance's own root disk while it is shelved, or of the disk that it is a clone of, until it has its
    own. Its id is that of the task that put it into the image store; no image that is listed is it."""
    offload_at: datetime | None = None
    """When a shelved instance is offloaded automatically; None: never."""
    fault: Fault | None = None
    before_delete: VmState | None = None
    purge_at: datetime | None = None
    launched: datetime | None = None
    deleted: datetime | None = None

    @property
    def current_status(self) -> VmState:
        """Status while no task runs."""
        return self.vm_state

    @property
    def size(self) -> InstanceSize:
        """Size of the instance on its own host."""
        return InstanceSize(flavor=self.flavor, disk=self.disk)

    @property
    def kept_size(self) -> InstanceSize | None:
        """Size that the instance had on its host, and can go back to: it was resized there, and that is neither
        confirmed nor reverted. None: there is none."""
        now = self.migration
        stayed = now is not None and now.status in UNDECIDED and now.destination_id == now.source_id
        return now.old_size if now is not None and stayed else None

    def size_at(self, where: Where) -> InstanceSize:
        """Return the size of the instance on the host there, or the one that it is to have there."""
        size = None
        if where is Where.THERE:
            size = self.incoming.size if self.incoming else self._size_to_be
        return size or self.size

    @property
    def _size_to_be(self) -> InstanceSize | None:
        now = self.migration
        return now.new_size if now is not None and now.status is MigrationStatus.ACCEPTED else None

    def resources(self, where: Where = Where.HERE) -> Resources:
        """Return the resources that the instance needs of the host there."""
        size, kept = self.size_at(where), self.kept_size if where is Where.HERE else None
        return size.beside(kept) if kept else size.resources()

    @property
    def among(self) -> tuple[str, ...]:
        """Ids of the hosts that reach the volume that it boots from; none: any."""
        return self.root.reached_by if self.root else ()

    @property
    def arch(self) -> str:
        """Architecture of the instance's image."""
        return self.image.arch

    def held(self, where: Where) -> tuple[HostRef | None, str]:
        """Return the host there, and the id of the claim that reserves resources on it."""
        if where is Where.HERE:
            return self.host, self.claim
        return (self.incoming.host, self.incoming.claim) if self.incoming else (None, "")

    def placed(self, where: Where, host: HostRef | None, claim: str) -> "Instance":
        """Return the instance with that host there, or without one."""
        if where is Where.THERE:
            return self.but(incoming=self._second(host, claim) if host else None)
        return self.but(host=host, claim=claim, **({} if host else {"power": Power.NONE}))

    def _second(self, host: HostRef, claim: str) -> OtherHost:
        return OtherHost(host=host, claim=claim, nics=self.nics, size=self._size_to_be)

    def moved(self, power: Power, at: datetime) -> "Instance":
        """Return the instance with its two hosts exchanged; a host that it has no more is dropped."""
        other = self.incoming
        if other is None:
            return self
        left, size = None, other.size or self.size
        if self.host is not None:
            left = OtherHost(
                host=self.host,
                claim=self.claim,
                nics=self.nics,
                power=self.power,
                unsettled=self.unsettled,
                size=self.size if other.size else None,
            )
        return self.but(
            host=other.host,
            claim=other.claim,
            nics=other.nics,
            flavor=size.flavor,
            disk=size.disk,
            incoming=left,
            power=power,
            unsettled=other.unsettled,
            updated=at,
        )

    def power_at(self, where: Where) -> Power:
        """Return the power state that the hypervisor there last reported."""
        if where is Where.HERE:
            return self.power
        return self.incoming.power if self.incoming else Power.NONE

    def seen(self, power: Power, where: Where) -> "Instance":
        """Return the instance with the power state that the hypervisor there reported as a job's result."""
        return self.observed(power, where, unsettled=False)

    def observed(self, power: Power, where: Where, unsettled: bool) -> "Instance":
        """Return the instance with the power state that the hypervisor there reported."""
        if where is Where.HERE:
            return self.but(power=power, unsettled=unsettled)
        return self.but(incoming=self.incoming.but(power=power, unsettled=unsettled)) if self.incoming else self

    def renewed(self, host_id: str, epoch: int) -> "Instance":
        """Return the instance with the new epoch of a host that has registered again."""
        now = super().renewed(host_id, epoch)
        if now.incoming is not None and now.incoming.host.id == host_id:
            now = now.but(incoming=now.incoming.but(host=now.incoming.host.but(epoch=epoch)))
        return now

    def with_nic(self, index: int, nic: Nic) -> "Instance":
        """Return the instance with the network interface at this index replaced."""
        return self.but(nics=(*self.nics[:index], nic, *self.nics[index + 1 :]))

    def without_nic(self, port_id: str) -> "Instance":
        """Return the instance without the network interface of this port."""
        return self.but(nics=tuple(each for each in self.nics if each.port_id != port_id))

    def with_nic_there(self, index: int, nic: Nic) -> "Instance":
        """Return the instance with a network interface as it is on the second host."""
        other = self.incoming
        if other is None:
            return self
        nics = (*other.nics[:index], nic, *other.nics[index + 1 :])
        return self.but(incoming=other.but(nics=nics))

    def with_volume(self, volume: AttachedVolume) -> "Instance":
        """Return the instance with one more volume, the last; one that it has is replaced."""
        if all(each.id != volume.id for each in self.volumes):
            return self.but(volumes=(*self.volumes, volume))
        return self.but(volumes=tuple(volume if each.id == volume.id else each for each in self.volumes))

    def with_volume_size(self, volume_id: str, size: int) -> "Instance":
        """Return the instance with another size of one of its volumes."""
        return self.but(volumes=tuple(each.but(size=size) if each.id == volume_id else each for each in self.volumes))

    def with_disk_unpacked(self) -> "Instance":
        """Return the instance with its root disk on its host. A clone needs the image that it was made of no more; one
        that was shelved has it until its guest runs."""
        return self.but(disk_image=None) if self.vm_state is VmState.BUILDING else self

    def without_volume(self, volume_id: str) -> "Instance":
        """Return the instance without a volume."""
        return self.but(volumes=tuple(each for each in self.volumes if each.id != volume_id))

    @property
    def never_made(self) -> bool:
        """Whether, if it is in error, its boot failed: it never ran, although it was to."""
        return self.launched is None and not self.only_define

    def accepted(self, at: datetime) -> "Instance":
        """Return the instance after a command became a task."""
        return self.but(updated=at)

    def ended(self, status: str, at: datetime, fault: Fault | None, cancelled: bool) -> "Instance":
        """Return the instance after a task ended in this status; a cancelled task leaves no fault, unless the instance
        is in error now."""
        vm_state = VmState(status)
        return self.but(
            vm_state=vm_state,
            disk_image=None if vm_state in HAS_ITS_DISK or self.vm_state is VmState.BUILDING else self.disk_image,
            # One that failed is tried again when somebody asks for it: else it would fail for ever.
            offload_at=self.offload_at if fault is None else None,
            fault=None if cancelled and vm_state is not VmState.ERROR else fault,
            rescue_image=self.rescue_image if vm_state in (VmState.RESCUED, VmState.SOFT_DELETED) else None,
            purge_at=self.purge_at if vm_state is VmState.SOFT_DELETED else None,
            updated=at,
            launched=self.launched or (at if fault is None and vm_state is VmState.ACTIVE else None),
            deleted=at if vm_state is VmState.DELETED else self.deleted,
        )

    def guest_at(self, where: Where) -> GuestSpec:
        """Return the specification of the guest for the host there."""
        other = self.incoming if where is Where.THERE else None
        size = self.size_at(where)
        return GuestSpec(
            id=self.id,
            name=self.name,
            hostname=self.hostname,
            project=self.project,
            flavor=size.flavor,
            image=self.image,
            disk=size.disk,
            nics=other.nics if other else self.nics,
            metadata=self.metadata,
            key_name=self.key_name,
            public_key=self.public_key,
            config_drive=self.config_drive,
            launch_index=self.launch_index,
            password_ref=self.password_ref,
            user_data_ref=self.user_data_ref,
            volumes=self.volumes,
            root_volume_id=self.root.id if self.root else "",
            rescue_image=self.rescue_image,
        )

    @property
    def cells_before(self) -> int:
        """How many cells were tried before the current one."""
        return self.cells.index(self.cell) if self.cell in self.cells else 0

    @property
    def next_cell(self) -> str | None:
        """Name of the cell to try when this one has no suitable host; None where there is no other."""
        following = self.cells[self.cells_before + 1 :]
        return following[0] if following else None

    @property
    def due_at(self) -> datetime | None:
        """When a deadline passes, the purge or an offload is due, or a resize is to be confirmed; None: nothing is
        due."""
        return super().due_at or (None if self.task else self.purge_at or self.confirm_at or self.offload_due_at)

    @property
    def due_id(self) -> str:
        """Id of the dispatch, of the instance to be purged, of the resize to be confirmed, or of the image of the disk
        to be offloaded, that is due then."""
        if super().due_id or self.task:
            return super().due_id
        if self.purge_at:
            return self.id
        if self.migration and self.confirm_at:
            return self.migration.id
        return self.disk_image.id if self.disk_image and self.offload_due_at else ""

    @property
    def offload_due_at(self) -> datetime | None:
        """When a shelved instance that waits is offloaded automatically; None: none does."""
        return self.offload_at if self.vm_state is VmState.SHELVED and self.disk_image else None

    @property
    def confirm_at(self) -> datetime | None:
        """When a resize that waits is confirmed automatically; None: none does, or a person has to."""
        now = self.migration
        if now is None or self.vm_state is not VmState.RESIZED or now.status is not MigrationStatus.FINISHED:
            return None
        return now.confirm_at
