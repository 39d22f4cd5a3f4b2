"""Commands for a volume's snapshot, and its verbs that are tasks.

create: ReserveSource · AddSnapshot · ClaimPoolSpace where the volume is in a pool · Place, on a host that reaches it ·
CopyToVolume · ReleaseSource. Undone in reverse; a snapshot that could not be made stays, in error, and says why.
delete: DeleteVolumeFile · Release · ReleasePoolSpace · RemoveSnapshot. Refused while a volume is copied from it.
Nothing is undone: a delete that fails leaves it in error, and can be asked for again.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from domain.core.cells import DEFAULT_CELL
from domain.core.fields import OPERATORS_ONLY, PERSONAL, Refers
from domain.core.messages import Command
from domain.disk_source import DiskRef
from domain.jobs.copy import CopyToVolume, ReleaseSource, ReserveSource
from domain.jobs.pool import ClaimPoolSpace, ReleasePoolSpace
from domain.jobs.scheduling import Place, Release
from domain.jobs.volume import AddSnapshot, DeleteVolumeFile, RemoveSnapshot
from domain.tasks.action import Action
from domain.tasks.flow import Flow, Step
from domain.volume.disk_steps import copied_file, file_if_hosted, source_to_hold, space, space_held
from domain.volume_snapshot.state import SnapshotStatus, VolumeSnapshot


class VolumeSnapshotCommand(Command):
    """A command for a volume's snapshot."""

    abstract: ClassVar[bool] = True
    kind = "volume-snapshot"


class CreateVolumeSnapshot(VolumeSnapshotCommand):
    """Keep a volume's data as it is now, in a file of its own, of which volumes can be made; no instance has the volume
    meanwhile."""

    name: Annotated[str, PERSONAL]
    volume: Annotated[DiskRef, Refers("volume")]
    """The volume to make a snapshot of, which no instance has."""
    description: Annotated[str, PERSONAL] = ""
    cell: Annotated[str, OPERATORS_ONLY] = DEFAULT_CELL
    """Cell whose scheduler chooses the host that makes it: the volume's."""


class UpdateVolumeSnapshot(VolumeSnapshotCommand):
    """Change a snapshot's name or description; fields that are left out stay as they are."""

    name: Annotated[str | None, PERSONAL] = None
    description: Annotated[str | None, PERSONAL] = None


class DeleteVolumeSnapshot(VolumeSnapshotCommand):
    """Delete a snapshot with its data; volumes that were made of it stay."""

    relieves: ClassVar[bool] = True


def of_volume(snapshot: VolumeSnapshot, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with the volume's id."""
    yield {"volume_id": snapshot.volume_id}


def source_if_failed(snapshot: VolumeSnapshot, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with the volume where the snapshot failed, and may still hold it."""
    if snapshot.became is SnapshotStatus.ERROR:
        yield from source_to_hold(snapshot, command)


CREATE = Action[VolumeSnapshot](
    name="create",
    command=CreateVolumeSnapshot,
    begins=frozenset(),
    ends=SnapshotStatus.AVAILABLE,
    fails=SnapshotStatus.ERROR,
    during="creating",
    needs_host=False,
    creates=True,
    flow=Flow(
        "create-volume-snapshot",
        1,
        (
            Step(ReserveSource, undo=ReleaseSource, each=source_to_hold),
            Step(AddSnapshot, undo=RemoveSnapshot, each=of_volume),
            Step(ClaimPoolSpace, undo=ReleasePoolSpace, each=space),
            Step(Place, undo=Release),
            Step(CopyToVolume, undo=DeleteVolumeFile, each=copied_file),
            Step(ReleaseSource, no_undo="the copy is made", each=source_to_hold),
        ),
    ),
)

DELETE = Action[VolumeSnapshot](
    name="delete",
    command=DeleteVolumeSnapshot,
    begins=frozenset({SnapshotStatus.AVAILABLE, SnapshotStatus.ERROR}),
    ends=SnapshotStatus.DELETED,
    fails=SnapshotStatus.ERROR,
    during="deleting",
    needs_host=False,
    passes=True,
    cancellable=False,
    flow=Flow(
        "delete-volume-snapshot",
        1,
        (
            Step(ReleaseSource, no_undo="what is deleted is gone", each=source_if_failed),
            Step(DeleteVolumeFile, no_undo="what is deleted is gone", each=file_if_hosted),
            Step(Release, no_undo="what is deleted is gone"),
            Step(ReleasePoolSpace, no_undo="what is deleted is gone", each=space_held),
            Step(RemoveSnapshot, no_undo="the last step", each=of_volume),
        ),
    ),
)

ACTIONS: dict[str, Action[VolumeSnapshot]] = {action.name: action for action in (CREATE, DELETE)}
