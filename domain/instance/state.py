"""What an instance is, as a fold of its events.

`status` is derived, never stored: vm_state (what it is), the task (what is being done to it) and power (what the
hypervisor last said) are the three facts behind it.
"""

from datetime import datetime
from enum import StrEnum

from domain.core.cells import DEFAULT_CELL
from domain.core.messages import Model
from domain.core.resources import Resources
from domain.guest_spec import GuestSpec, HostRef, Nic, Power
from domain.instance.migration import Migration
from domain.instance.spec import InstanceSpec
from domain.tasks.job import Where
from domain.tasks.subject import TaskSubject
from domain.tasks.task import Fault


class VmState(StrEnum):
    """What an instance is when nothing is being done to it."""

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


class OtherHost(Model):
    """The second host of an instance that moves: where it is to be, or where it was until the move is confirmed."""

    host: HostRef
    claim: str
    """Under which its resources are held there."""
    nics: tuple[Nic, ...] = ()
    """Its interfaces as they are there: the host's own address in a network differs. Empty until they are known."""
    power: Power = Power.NONE
    """What the hypervisor there said last of its guest."""


class Instance(InstanceSpec, TaskSubject):
    """An instance."""

    id: str
    project: str
    owner: str
    created: datetime
    updated: datetime

    vm_state: VmState = VmState.BUILDING
    power: Power = Power.NONE
    cell: str = DEFAULT_CELL
    """Where it has its place, or is asked for one."""
    host: HostRef | None = None
    claim: str = ""
    """Under which its resources are held on its host; empty where an earlier release placed it: then, its id."""
    incoming: OtherHost | None = None
    """Its other host, while it moves and until the move is confirmed or reverted."""
    migration: Migration | None = None
    """The last one."""
    fault: Fault | None = None
    before_delete: VmState | None = None
    purge_at: datetime | None = None
    launched: datetime | None = None
    deleted: datetime | None = None

    @property
    def current_status(self) -> VmState:
        """What it is when nothing is being done to it."""
        return self.vm_state

    def resources(self) -> Resources:
        """What it needs of a host."""
        return Resources(vcpus=self.flavor.core, memory=self.flavor.memory, disk=self.disk)

    def held(self, where: Where) -> tuple[HostRef | None, str]:
        """The host that it has there, and the claim under which its resources are held."""
        if where is Where.HERE:
            return self.host, self.claim
        return (self.incoming.host, self.incoming.claim) if self.incoming else (None, "")

    def host_at(self, where: Where) -> HostRef | None:
        """The host that it has there."""
        return self.held(where)[0]

    def placed(self, where: Where, host: HostRef | None, claim: str) -> "Instance":
        """This with that host there, or none."""
        if where is Where.THERE:
            return self.but(incoming=OtherHost(host=host, claim=claim, nics=self.nics) if host else None)
        return self.but(host=host, claim=claim, **({} if host else {"power": Power.NONE}))

    def moved(self, power: Power, at: datetime) -> "Instance":
        """This when its two hosts have changed places; one that it has no more is forgotten."""
        other = self.incoming
        if other is None:
            return self
        left = OtherHost(host=self.host, claim=self.claim, nics=self.nics, power=self.power) if self.host else None
        return self.but(host=other.host, claim=other.claim, nics=other.nics, incoming=left, power=power, updated=at)

    def renewed(self, host_id: str, epoch: int) -> "Instance":
        """This, when one of its hosts has registered anew."""
        now = self
        if now.host is not None and now.host.id == host_id:
            now = now.but(host=now.host.but(epoch=epoch))
        if now.incoming is not None and now.incoming.host.id == host_id:
            now = now.but(incoming=now.incoming.but(host=now.incoming.host.but(epoch=epoch)))
        return now

    def with_power(self, where: Where, power: Power) -> "Instance":
        """This, with what the hypervisor there says of its guest."""
        if where is Where.HERE:
            return self.but(power=power)
        return self.but(incoming=self.incoming.but(power=power)) if self.incoming else self

    def with_nic(self, index: int, nic: Nic) -> "Instance":
        """This with another interface in place of one."""
        return self.but(nics=(*self.nics[:index], nic, *self.nics[index + 1 :]))

    def with_nic_there(self, index: int, nic: Nic) -> "Instance":
        """This with an interface as it is on the other host."""
        other = self.incoming
        if other is None:
            return self
        nics = (*other.nics[:index], nic, *other.nics[index + 1 :])
        return self.but(incoming=other.but(nics=nics))

    def accepted(self, at: datetime) -> "Instance":
        """This when a command became a task."""
        return self.but(updated=at)

    def ended(self, status: str, at: datetime, fault: Fault | None, cancelled: bool) -> "Instance":
        """This when a task ended in this status; a cancelled one leaves no fault, unless something is wrong now."""
        vm_state = VmState(status)
        return self.but(
            vm_state=vm_state,
            fault=None if cancelled and vm_state is not VmState.ERROR else fault,
            purge_at=self.purge_at if vm_state is VmState.SOFT_DELETED else None,
            updated=at,
            launched=self.launched or (at if fault is None and vm_state is VmState.ACTIVE else None),
            deleted=at if vm_state is VmState.DELETED else self.deleted,
        )

    def guest_at(self, where: Where) -> GuestSpec:
        """What the host there needs to know of it."""
        other = self.incoming if where is Where.THERE else None
        return GuestSpec(
            id=self.id,
            name=self.name,
            hostname=self.hostname,
            project=self.project,
            flavor=self.flavor,
            image=self.image,
            disk=self.disk,
            nics=other.nics if other else self.nics,
            metadata=self.metadata,
            key_name=self.key_name,
            public_key=self.public_key,
            config_drive=self.config_drive,
            password_ref=self.password_ref,
            user_data_ref=self.user_data_ref,
        )

    @property
    def cells_before(self) -> int:
        """How many cells had no host for it before the one that is asked now."""
        return self.cells.index(self.cell) if self.cell in self.cells else 0

    @property
    def next_cell(self) -> str | None:
        """Where to ask when this cell has no host for it; None where there is no other."""
        following = self.cells[self.cells_before + 1 :]
        return following[0] if following else None

    @property
    def due_at(self) -> datetime | None:
        """When something must have happened, or is to happen, if nothing else does first."""
        return super().due_at or (None if self.task else self.purge_at)

    @property
    def due_id(self) -> str:
        """What is due then."""
        return super().due_id or ("" if self.task or not self.purge_at else self.id)
