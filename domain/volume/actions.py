"""Commands for a volume, and its verbs that are tasks.

create: ClaimPoolSpace where it is to be in a pool · Place · CreateVolumeFile. Undone in reverse; a volume that could
not be made stays, in error, and says why. In a pool, the host that is placed makes the file, and holds none of its
space. One that is to be a copy has CopyToVolume instead, on a host that reaches what is copied: of an image FetchImage
is before it, of a volume or a snapshot ReserveSource before all, and ReleaseSource at the end.
extend: ResizeClaim, or ResizePoolClaim in a pool · ExtendVolumeFile (the pivot) · TellVolumeSize, where an instance has
the volume. A file never shrinks, so that only the claim is undone: where its host gave no answer, the file may be as
large as was asked for. In a pool, one that an instance has is not extended: its guest may be on another host.
delete: DeleteVolumeFile · Release · ReleasePoolSpace. Refused while an instance has the volume, or something is copied
from it. Nothing is undone: a delete that fails leaves the volume in error, and can be asked for again. Of a copy that
failed ReleaseSource is before all.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import Field

from domain.core.cells import DEFAULT_CELL
from domain.core.errors import InUse, Invalid
from domain.core.fields import BYTES, OPERATORS_ONLY, PERSONAL, Refers
from domain.core.messages import Command
from domain.core.resources import Resources
from domain.core.text import in_units
from domain.disk_source import DiskRef, SourceKind, VolumeSource
from domain.guest_spec import LARGEST_DISK, SMALLEST_DISK, ImageRef
from domain.jobs.copy import CopyToVolume, FetchImage, ReleaseSource, ReserveSource
from domain.jobs.pool import ClaimPoolSpace, ReleasePoolSpace, ResizePoolClaim, RestorePoolClaim
from domain.jobs.scheduling import Place, Release, ResizeClaim, RestoreClaim
from domain.jobs.volume import CreateVolumeFile, DeleteVolumeFile, ExtendVolumeFile, TellVolumeSize
from domain.tasks.action import Action
from domain.tasks.draft import Draft
from domain.tasks.flow import Flow, Step
from domain.tasks.task import Task
from domain.volume.disk_steps import copied_file, file_if_hosted, source_to_hold, space, space_held
from domain.volume.state import Volume, VolumeExtended, VolumeStatus


class VolumeCommand(Command):
    """A command for a volume."""

    abstract: ClassVar[bool] = True
    kind = "volume"


class CreateVolume(VolumeCommand):
    """Create a volume, in a pool or on a host's own disk, to be attached to instances that reach it: an empty one, or a
    copy of an image, of another volume or of a snapshot."""

    name: Annotated[str, PERSONAL]
    size: Annotated[int | None, BYTES, Field(ge=SMALLEST_DISK, le=LARGEST_DISK, multiple_of=512)] = None
    """Size of the volume, in bytes, not less than what it is a copy of; none: as large as that."""
    image: Annotated[ImageRef | None, Refers("image")] = None
    """The image to copy: instances can boot from the volume."""
    volume: Annotated[DiskRef | None, Refers("volume")] = None
    """The volume to copy, which no instance has."""
    snapshot: Annotated[DiskRef | None, Refers("volume-snapshot")] = None
    """The snapshot of a volume to copy."""
    description: Annotated[str, PERSONAL] = ""
    host: Annotated[str, Refers("host")] = ""
    """The host to create it on; none: the scheduler chooses."""
    pool: Annotated[str, Refers("pool")] = ""
    """The pool to create it in, for instances of every host that reaches that; none: a host's own disk."""
    instance: Annotated[str, Refers("instance")] = ""
    """The instance that it is for: the volume is created on the instance's host."""
    cell: Annotated[str, OPERATORS_ONLY] = DEFAULT_CELL
    """Cell whose scheduler chooses the host."""


class UpdateVolume(VolumeCommand):
    """Change a volume's name or description; fields that are left out stay as they are."""

    name: Annotated[str | None, PERSONAL] = None
    description: Annotated[str | None, PERSONAL] = None


class ExtendVolume(VolumeCommand):
    """Make a volume larger; a guest that has it sees that at once, and makes its file system larger itself."""

    size: Annotated[int, BYTES, Field(ge=SMALLEST_DISK, le=LARGEST_DISK, multiple_of=512)]
    """Size that the volume is to have, in bytes; not less than it has."""


class DeleteVolume(VolumeCommand):
    """Delete a volume that is attached to no instance and has no snapshots, with its data."""

    relieves: ClassVar[bool] = True


def sources(command: CreateVolume) -> dict[str, VolumeSource]:
    """Return what the volume is to be a copy of, by the field that says so; there should be one at most."""
    found: dict[str, VolumeSource] = {}
    if command.image is not None:
        found["image"] = VolumeSource.of_image(command.image)
    if command.volume is not None:
        found["volume"] = VolumeSource.of_disk(SourceKind.VOLUME, command.volume)
    if command.snapshot is not None:
        found["snapshot"] = VolumeSource.of_disk(SourceKind.SNAPSHOT, command.snapshot)
    return found


def image_of(command: CreateVolume) -> ImageRef | None:
    """Return the image that the volume's data begins as; None for one that is empty, or not known to be of any."""
    copied = command.volume or command.snapshot
    return command.image or (copied.image if copied is not None else None)


def empty_file(volume: Volume, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with the volume's id, size and pool, for one that begins empty."""
    if volume.source is None:
        yield {"volume_id": volume.id, "size": volume.size, "pool_id": volume.pool_id}


def image_to_fetch(volume: Volume, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with the image that the volume is a copy of, where it is one of an image."""
    if volume.source is not None and volume.source.kind is SourceKind.IMAGE:
        yield {"image": volume.image}


def source_if_failed(volume: Volume, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with what the volume was to be a copy of, where that failed, and it may still be held."""
    if volume.became is VolumeStatus.ERROR:
        yield from source_to_hold(volume, command)


def claim_of_size(volume: Volume, command: ExtendVolume) -> Iterator[dict[str, Any]]:
    """Yield a step with what the volume needs of its host now, and extended; none where it is in a pool."""
    if not volume.pool_id:
        yield {"before": volume.resources(), "after": Resources(disk=command.size)}


def pool_claim_of_size(volume: Volume, command: ExtendVolume) -> Iterator[dict[str, Any]]:
    """Yield a step with what the volume holds of its pool now, and extended, where it is in one."""
    if volume.pool_id:
        yield {"pool_id": volume.pool_id, "before": volume.size, "after": command.size}


def larger_file(volume: Volume, command: ExtendVolume) -> Iterator[dict[str, Any]]:
    """Yield a step with the volume's id and pool, the size that it is to have, and the instance that has it."""
    yield {
        "volume_id": volume.id,
        "size": command.size,
        "instance_id": volume.instance_id,
        "pool_id": volume.pool_id,
    }


def tell_if_used(volume: Volume, command: ExtendVolume) -> Iterator[dict[str, Any]]:
    """Yield a step for a volume that an instance has."""
    if volume.instance_id:
        yield from larger_file(volume, command)


def not_smaller(volume: Volume, command: ExtendVolume) -> None:
    """Raise Invalid for a size below the present one, InUse for a volume in a pool that an instance has."""
    if volume.pool_id and volume.instance_id:
        hint = "In a pool, a volume is extended while no instance has it: detach it first."
        raise InUse(kind="Volume", id=volume.id, user=f"instance {volume.instance_id}", hint=hint)
    if command.size < volume.size:
        raise Invalid(
            field="size", value=in_units(command.size), allowed=f"it has {in_units(volume.size)}, and never shrinks"
        )


def note_size(draft: Draft[Volume], task: Task, at: datetime) -> None:
    """Emit the size that the volume has now."""
    draft.emit(VolumeExtended(size=ExtendVolume.model_validate(task.params).size, at=at))


CREATE = Action[Volume](
    name="create",
    command=CreateVolume,
    begins=frozenset(),
    ends=VolumeStatus.AVAILABLE,
    fails=VolumeStatus.ERROR,
    during="creating",
    needs_host=False,
    creates=True,
    flow=Flow(
        "create-volume",
        3,
        (
            Step(ReserveSource, undo=ReleaseSource, each=source_to_hold),
            Step(ClaimPoolSpace, undo=ReleasePoolSpace, each=space),
            Step(Place, undo=Release),
            Step(CreateVolumeFile, undo=DeleteVolumeFile, each=empty_file),
            Step(FetchImage, no_undo="the host's image cache is shared, and cleans itself", each=image_to_fetch),
            Step(CopyToVolume, undo=DeleteVolumeFile, each=copied_file),
            Step(ReleaseSource, no_undo="the copy is made", each=source_to_hold),
        ),
    ),
)

EXTEND = Action[Volume](
    name="extend",
    command=ExtendVolume,
    begins=frozenset({VolumeStatus.AVAILABLE, VolumeStatus.IN_USE}),
    ends=None,
    during="extending",
    check=not_smaller,
    finished=note_size,
    flow=Flow(
        "extend-volume",
        1,
        (
            Step(ResizeClaim, undo=RestoreClaim, each=claim_of_size),
            Step(ResizePoolClaim, undo=RestorePoolClaim, each=pool_claim_of_size),
            Step(ExtendVolumeFile, no_undo="a file never shrinks", each=larger_file, pivot=True),
            Step(TellVolumeSize, no_undo="the volume is as large as it says", each=tell_if_used),
        ),
    ),
)

DELETE = Action[Volume](
    name="delete",
    command=DeleteVolume,
    begins=frozenset({VolumeStatus.AVAILABLE, VolumeStatus.ERROR}),
    ends=VolumeStatus.DELETED,
    fails=VolumeStatus.ERROR,
    during="deleting",
    needs_host=False,
    passes=True,
    cancellable=False,
    flow=Flow(
        "delete-volume",
        3,
        (
            Step(ReleaseSource, no_undo="what is deleted is gone", each=source_if_failed),
            Step(DeleteVolumeFile, no_undo="what is deleted is gone", each=file_if_hosted),
            Step(Release, no_undo="what is deleted is gone"),
            Step(ReleasePoolSpace, no_undo="the last step", each=space_held),
        ),
    ),
)

ACTIONS: dict[str, Action[Volume]] = {action.name: action for action in (CREATE, EXTEND, DELETE)}
