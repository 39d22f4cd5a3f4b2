"""State of a volume's snapshot, as a fold of its events: the volume's data as it was at one moment.

Why a full copy, in a file of its own: the volume goes on without a chain of files behind it, and nothing that is done
to it, or to the snapshot, touches the other. Space is held for it as for a volume, on the volume's host or in its pool.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from domain.copied_disk import CopiedDisk, CopyEvent, evolve_copies
from domain.core.cells import DEFAULT_CELL
from domain.core.fields import PERSONAL
from domain.core.messages import Event
from domain.disk_source import SourceKind, VolumeSource
from domain.guest_spec import ImageRef
from domain.tasks.events import TaskEvent
from domain.tasks.subject import evolve_task
from domain.tasks.task import Fault


class SnapshotStatus(StrEnum):
    """Status of a snapshot while no task runs."""

    CREATING = "creating"
    AVAILABLE = "available"
    DELETED = "deleted"
    ERROR = "error"


class VolumeSnapshot(CopiedDisk):
    """A volume's data as it was at one moment."""

    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    volume_id: str
    """Id of the volume that it is of."""
    volume_name: Annotated[str, PERSONAL]
    """Name that the volume had then."""
    became: SnapshotStatus = SnapshotStatus.CREATING
    fault: Fault | None = None
    created: datetime
    updated: datetime
    deleted: datetime | None = None

    @property
    def current_status(self) -> SnapshotStatus:
        """Status while no task runs."""
        return self.became

    @property
    def never_made(self) -> bool:
        """Whether it has no place on a host, since its creation failed."""
        return self.became is SnapshotStatus.ERROR and self.host is None

    @property
    def source(self) -> VolumeSource:
        """The volume that it is of, as what is copied."""
        return VolumeSource(
            kind=SourceKind.VOLUME, id=self.volume_id, name=self.volume_name, size=self.size, pool_id=self.pool_id
        )

    def ended(self, status: str, at: datetime, fault: Fault | None, cancelled: bool) -> "VolumeSnapshot":
        """Return the snapshot after a task ended in this status; a cancelled task leaves no fault, unless the snapshot
        is in error now."""
        became = SnapshotStatus(status)
        return self.but(
            became=became,
            fault=None if cancelled and became is not SnapshotStatus.ERROR else fault,
            updated=at,
            deleted=at if became is SnapshotStatus.DELETED else self.deleted,
        )


class VolumeSnapshotEvent(Event):
    """A fact about a volume's snapshot, besides its tasks' events."""

    abstract: ClassVar[bool] = True
    kind = "volume-snapshot"


class VolumeSnapshotCreated(VolumeSnapshotEvent):
    """The snapshot exists from now on; it has no file yet."""

    project: str
    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    size: int
    """Size of the volume, in bytes."""
    volume_id: str
    volume_name: Annotated[str, PERSONAL]
    cell: str = DEFAULT_CELL
    pool_id: str = ""
    """Id of the volume's pool, which it is to be in, too; empty: its host's own disk."""
    image: ImageRef | None = None
    """The image that the volume's data began as; None: it began empty."""
    created: datetime


class VolumeSnapshotUpdated(VolumeSnapshotEvent):
    """The snapshot's name or description changed; a field that is None stays as it was."""

    name: Annotated[str | None, PERSONAL] = None
    description: Annotated[str | None, PERSONAL] = None
    at: datetime


class VolumeSnapshotHostRenewed(VolumeSnapshotEvent):
    """The snapshot's host has registered again, and has a new epoch."""

    host_id: str
    epoch: int


def evolve(now: VolumeSnapshot | None, event: Event, subject_id: str) -> VolumeSnapshot:
    """Return the snapshot after this event. Raises TypeError for an event of another kind."""
    if isinstance(event, VolumeSnapshotCreated):
        return VolumeSnapshot(id=subject_id, updated=event.created, **{name: getattr(event, name) for name in _CREATED})
    if now is None:
        raise TypeError(f"{event.type_name} cannot be the first event of volume-snapshot {subject_id}")
    match event:
        case VolumeSnapshotUpdated():
            changed = {name: value for name in ("name", "description") if (value := getattr(event, name)) is not None}
            return now.but(updated=event.at, **changed)
        case VolumeSnapshotHostRenewed():
            return now.renewed(event.host_id, event.epoch)
        case CopyEvent():
            copied: VolumeSnapshot = evolve_copies(now, event)
            return copied
        case TaskEvent():
            snapshot: VolumeSnapshot = evolve_task(now, event)
            return snapshot
        case _:
            raise TypeError(f"{event.type_name} is no event of a volume's snapshot")


_CREATED = list(VolumeSnapshotCreated.model_fields)
