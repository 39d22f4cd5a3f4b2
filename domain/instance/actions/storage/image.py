"""create-instance-image: an image of the root disk, whatever else is done to the instance meanwhile.

UploadDisk · MakeImage. Undone in reverse: the image is deleted, and its bytes are taken out of the image store.
"""

from typing import Annotated

from pydantic import Field

from domain.core.fields import PERSONAL
from domain.instance.action import InstanceAction, InstanceCommand, must_have_local_root
from domain.instance.state import Instance, VmState
from domain.jobs.image import DiscardImage, DiscardUpload, MakeImage, UploadDisk
from domain.tasks.flow import Flow, Step, fields


class CreateInstanceImage(InstanceCommand):
    """Make an image of an instance's root disk, from which others can be booted; the instance goes on meanwhile."""

    name: Annotated[str, PERSONAL] = Field(min_length=1, max_length=255, description="the image's name")
    description: Annotated[str, PERSONAL] = Field("", max_length=1024)
    """The description of the image."""


def has_local_root(instance: Instance, command: CreateInstanceImage) -> None:
    """Raise RootIsVolume where the root disk is a volume."""
    must_have_local_root(instance, "create-instance-image", "Copy the volume instead, once no instance has it.")


CREATE_INSTANCE_IMAGE = InstanceAction(
    name="create-instance-image",
    command=CreateInstanceImage,
    begins=frozenset({VmState.ACTIVE, VmState.PAUSED, VmState.SUSPENDED, VmState.STOPPED}),
    ends=None,
    beside=True,
    check=has_local_root,
    flow=Flow(
        "create-instance-image",
        1,
        (
            Step(UploadDisk, undo=DiscardUpload),
            Step(MakeImage, undo=DiscardImage, each=fields("name", "description")),
        ),
    ),
)
