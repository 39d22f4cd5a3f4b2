"""State of a volume, as a fold of its events: a disk that outlives instances, on one host or in a pool.

`status` is derived, never stored: what became of the volume, and the instance that it is reserved for, are the facts
behind it.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from domain.copied_disk import CopiedDisk, CopyEvent, evolve_copies
from domain.core.cells import DEFAULT_CELL
from domain.core.fields import PERSONAL
from domain.core.messages import Event
from domain.disk_source import VolumeSource
from domain.guest_spec import ImageRef
from domain.tasks.events import TaskEvent
from domain.tasks.messages import Reply
from domain.tasks.subject import evolve_task
from domain.tasks.task import Fault


class VolumeStatus(StrEnum):
    """Status of a volume while no task runs."""

    CREATING = "creating"
    AVAILABLE = "available"
    IN_USE = "in_use"
    """The volume is attached to an instance, or reserved for one."""
    DELETED = "deleted"
    ERROR = "error"


class Volume(CopiedDisk):
    """A disk that outlives instances, on its host's own disk or in a pool that several hosts reach."""

    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    source: VolumeSource | None = None
    """The thing that its data was copied from; None: it began empty."""
    became: VolumeStatus = VolumeStatus.CREATING
    """Status regardless of the instance that uses it: never IN_USE."""
    instance_id: str = ""
    """Id of the instance that it is attached to or reserved for; empty: none."""
    answer_to: Reply | None = None
    """Where to say how its creation ended, until that has; None: nobody waits for it."""
    snapshots: tuple[str, ...] = ()
    """Ids of its snapshots, in the order in which they were begun."""
    fault: Fault | None = None
    created: datetime
    updated: datetime
    deleted: datetime | None = None

    @property
    def current_status(self) -> VolumeStatus:
        """Status while no task runs."""
        used = self.became is VolumeStatus.AVAILABLE and self.instance_id
        return VolumeStatus.IN_USE if used else self.became

    @property
    def never_made(self) -> bool:
        """Whether it has no place on a host, since its creation failed."""
        return self.became is VolumeStatus.ERROR and self.host is None

    def ended(self, status: str, at: datetime, fault: Fault | None, cancelled: bool) -> "Volume":
        """Return the volume after a task ended in this status; a cancelled task leaves no fault, unless the volume is
        in error now."""
        became = VolumeStatus.AVAILABLE if status == VolumeStatus.IN_USE else VolumeStatus(status)
        return self.but(
            became=became,
            answer_to=None,
            fault=None if cancelled and became is not VolumeStatus.ERROR else fault,
            updated=at,
            deleted=at if became is VolumeStatus.DELETED else self.deleted,
        )


class VolumeEvent(Event):
    """A fact about a volume, besides its tasks' events."""

    abstract: ClassVar[bool] = True
    kind = "volume"


class VolumeCreated(VolumeEvent):
    """The volume exists from now on; it has no file yet."""

    revision = 3

    project: str
    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    size: int
    """Size of the volume, in bytes."""
    cell: str = DEFAULT_CELL
    wanted_host: str = ""
    """Id of the one host that will do; empty: any."""
    pool_id: str = ""
    """Id of the pool that it is to be in; empty: its host's own disk."""
    source: VolumeSource | None = None
    """The thing that its data is to be copied from; None: it is to be empty."""
    image: ImageRef | None = None
    """The image that its data begins as; None: it is to be empty."""
    instance_id: str = ""
    """Id of the instance that it is made for, and reserved for from the beginning; empty: none."""
    answer_to: Reply | None = None
    """Where to say how the creation ended; None: nobody waits for it."""
    created: datetime


class VolumeUpdated(VolumeEvent):
    """The volume's name or description changed; a field that is None stays as it was."""

    name: Annotated[str | None, PERSONAL] = None
    description: Annotated[str | None, PERSONAL] = None
    at: datetime


class VolumeExtended(VolumeEvent):
    """The volume has this size from now on."""

    size: int
    """Size of the volume, in bytes."""
    at: datetime


class VolumeReserved(VolumeEvent):
    """The volume is reserved for one instance, which has it or is about to."""

    instance_id: str
    at: datetime


class VolumeReleased(VolumeEvent):
    """The instance has the volume no more."""

    instance_id: str
    at: datetime


class VolumeSnapshotAdded(VolumeEvent):
    """The volume has one more snapshot, which is about to be made."""

    snapshot_id: str
    at: datetime


class VolumeSnapshotRemoved(VolumeEvent):
    """The volume has the snapshot no more."""

    snapshot_id: str
    at: datetime


class VolumeHostRenewed(VolumeEvent):
    """The volume's host has registered again, and has a new epoch."""

    host_id: str
    epoch: int


def evolve(now: Volume | None, event: Event, subject_id: str) -> Volume:
    """Return the volume after this event. Raises TypeError for an event of another kind."""
    if isinstance(event, VolumeCreated):
        return Volume(id=subject_id, updated=event.created, **{name: getattr(event, name) for name in _CREATED})
    if now is None:
        raise TypeError(f"{event.type_name} cannot be the first event of volume {subject_id}")
    match event:
        case VolumeUpdated():
            changed = {name: value for name in ("name", "description") if (value := getattr(event, name)) is not None}
            return now.but(updated=event.at, **changed)
        case VolumeExtended():
            return now.but(size=event.size, updated=event.at)
        case VolumeReserved():
            return now.but(instance_id=event.instance_id, updated=event.at)
        case VolumeReleased():
            return now.but(instance_id="", updated=event.at)
        case VolumeSnapshotAdded():
            return now.but(snapshots=(*now.snapshots, event.snapshot_id), updated=event.at)
        case VolumeSnapshotRemoved():
            left = tuple(each for each in now.snapshots if each != event.snapshot_id)
            return now.but(snapshots=left, updated=event.at)
        case VolumeHostRenewed():
            return now.renewed(event.host_id, event.epoch)
        case CopyEvent():
            copied: Volume = evolve_copies(now, event)
            return copied
        case TaskEvent():
            volume: Volume = evolve_task(now, event)
            return volume
        case _:
            raise TypeError(f"{event.type_name} is no event of a volume")


_CREATED = list(VolumeCreated.model_fields)
