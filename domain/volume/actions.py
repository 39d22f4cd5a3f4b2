"""Commands for a volume, and its verbs that are tasks.

create: ClaimPoolSpace where it is to be in a pool · Place · CreateVolumeFile. Undone in reverse; a volume that could
not be made stays, in error, and says why. In a pool, the host that is placed makes the file, and holds none of its
space.
delete: DeleteVolumeFile · Release · ReleasePoolSpace. Refused while an instance has the volume. Nothing is undone: a
delete that fails leaves the volume in error, and can be asked for again.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import Field

from domain.core.cells import DEFAULT_CELL
from domain.core.fields import BYTES, OPERATORS_ONLY, PERSONAL, Refers
from domain.core.messages import Command
from domain.jobs.pool import ClaimPoolSpace, ReleasePoolSpace
from domain.jobs.scheduling import Place, Release
from domain.jobs.volume import CreateVolumeFile, DeleteVolumeFile
from domain.tasks.action import Action
from domain.tasks.flow import Flow, Step
from domain.volume.state import Volume, VolumeStatus

SMALLEST, LARGEST = 1 << 20, 1 << 46
"""Limits on a volume's size in bytes: 1 MiB to 64 TiB."""


class VolumeCommand(Command):
    """A command for a volume."""

    abstract: ClassVar[bool] = True
    kind = "volume"


class CreateVolume(VolumeCommand):
    """Create an empty volume, in a pool or on a host's own disk, to be attached to instances that reach it."""

    name: Annotated[str, PERSONAL]
    size: Annotated[int, BYTES, Field(ge=SMALLEST, le=LARGEST, multiple_of=512)]
    """Size of the volume, in bytes."""
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


class DeleteVolume(VolumeCommand):
    """Delete a volume that is attached to no instance, with its data."""

    relieves: ClassVar[bool] = True


def new_file(volume: Volume, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with the volume's id, size and pool."""
    yield {"volume_id": volume.id, "size": volume.size, "pool_id": volume.pool_id}


def space(volume: Volume, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with the volume's pool and size, where it is in one."""
    if volume.pool_id:
        yield {"pool_id": volume.pool_id, "size": volume.size}


def space_held(volume: Volume, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with the volume's pool, where it is in one."""
    if volume.pool_id:
        yield {"pool_id": volume.pool_id}


def file_if_hosted(volume: Volume, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with the volume's id where the volume has a host, and so may have a file."""
    if volume.host is not None:
        yield {"volume_id": volume.id, "pool_id": volume.pool_id}


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
        2,
        (
            Step(ClaimPoolSpace, undo=ReleasePoolSpace, each=space),
            Step(Place, undo=Release),
            Step(CreateVolumeFile, undo=DeleteVolumeFile, each=new_file),
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
        2,
        (
            Step(DeleteVolumeFile, no_undo="what is deleted is gone", each=file_if_hosted),
            Step(Release, no_undo="what is deleted is gone"),
            Step(ReleasePoolSpace, no_undo="the last step", each=space_held),
        ),
    ),
)

ACTIONS: dict[str, Action[Volume]] = {action.name: action for action in (CREATE, DELETE)}
