"""What an instance is, as a fold of its events.

`status` is derived, never stored: vm_state (what it is), the task (what is being done to it) and power (what the
hypervisor last said) are the three facts behind it.
"""

from datetime import datetime
from enum import StrEnum

from domain.core.cells import DEFAULT_CELL
from domain.instance.spec import InstanceSpec
from domain.tasks.flow import Fault, Task
from domain.tasks.jobs import GuestSpec, HostRef, Power


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


class Instance(InstanceSpec):
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
    task: Task | None = None
    queued: Task | None = None
    fault: Fault | None = None
    before_delete: VmState | None = None
    purge_at: datetime | None = None
    launched: datetime | None = None
    deleted: datetime | None = None

    def guest(self) -> GuestSpec:
        """What a host needs to know of it."""
        return GuestSpec(
            id=self.id,
            name=self.name,
            hostname=self.hostname,
            project=self.project,
            flavor=self.flavor,
            image=self.image,
            disk=self.disk,
            nics=self.nics,
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
        if self.task:
            return self.task.dispatch.deadline if self.task.dispatch else None
        return self.purge_at

    @property
    def due_id(self) -> str:
        """What is due then."""
        if self.task:
            return self.task.dispatch.id if self.task.dispatch else ""
        return self.id if self.purge_at else ""
