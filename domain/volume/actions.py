"""What can be asked of a volume, and the verbs of it that are tasks.

create: Place · CreateVolumeFile. Undone in reverse; a volume that could not be made stays, in error, and says why.
delete: DeleteVolumeFile · Release. Refused while an instance has the volume. Nothing is undone: a delete that fails
leaves the volume in error, and can be asked for again.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import Field

from domain.core.cells import DEFAULT_CELL
from domain.core.errors import InUse
from domain.core.fields import BYTES, OPERATORS_ONLY, PERSONAL, Refers
from domain.core.messages import Command
from domain.jobs.scheduling import Place, Release
from domain.jobs.volume import CreateVolumeFile, DeleteVolumeFile
from domain.tasks.action import Action
from domain.tasks.flow import Flow, Step
from domain.volume.state import Volume, VolumeStatus

SMALLEST, LARGEST = 1 << 20, 1 << 46
"""Bytes: 1 MiB to 64 TiB."""


class VolumeCommand(Command):
    """Something that is asked of a volume."""

    abstract: ClassVar[bool] = True
    kind = "volume"


class CreateVolume(VolumeCommand):
    """Create a volume on a host's disk: an empty disk that instances of that host can have."""

    name: Annotated[str, PERSONAL]
    size: Annotated[int, BYTES, Field(ge=SMALLEST, le=LARGEST, multiple_of=512)]
    """How large it is, in bytes."""
    description: Annotated[str, PERSONAL] = ""
    host: Annotated[str, Refers("host")] = ""
    """The host to have it; none: the scheduler chooses."""
    instance: Annotated[str, Refers("instance")] = ""
    """The instance that it is for: the volume is made on the host that this is on."""
    cell: Annotated[str, OPERATORS_ONLY] = DEFAULT_CELL
    """Whose scheduler is asked for a host."""


class UpdateVolume(VolumeCommand):
    """Change a volume's name or description; what is not given stays."""

    name: Annotated[str | None, PERSONAL] = None
    description: Annotated[str | None, PERSONAL] = None


class DeleteVolume(VolumeCommand):
    """Delete a volume that no instance has, with all that is on it."""

    relieves: ClassVar[bool] = True


def new_file(volume: Volume, command: Any) -> Iterator[dict[str, Any]]:
    """The file is as large as the volume."""
    yield {"volume_id": volume.id, "size": volume.size}


def file_if_hosted(volume: Volume, command: Any) -> Iterator[dict[str, Any]]:
    """There may be a file where the volume has a host."""
    if volume.host is not None:
        yield {"volume_id": volume.id}


def not_in_use(volume: Volume, command: Any) -> None:
    """No instance has the volume, or is about to."""
    if volume.instance_id:
        raise InUse(kind="Volume", id=volume.id, user=f"instance {volume.instance_id}")


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
        1,
        (Step(Place, undo=Release), Step(CreateVolumeFile, undo=DeleteVolumeFile, each=new_file)),
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
    check=not_in_use,
    flow=Flow(
        "delete-volume",
        1,
        (
            Step(DeleteVolumeFile, no_undo="what is deleted is gone", each=file_if_hosted),
            Step(Release, no_undo="the last step"),
        ),
    ),
)

ACTIONS: dict[str, Action[Volume]] = {action.name: action for action in (CREATE, DELETE)}
