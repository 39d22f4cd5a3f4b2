"""rescue: the guest boots from a disk of an image, and has its own root disk second; unrescue: from its own again.

Rescue: PrepareImage · CreateRescueDisk · StopGuest · RescueGuest · PlugPorts · StartGuest.
Unrescue: StopGuest · UnrescueGuest · PlugPorts · StartGuest · DeleteRescueDisk; once the guest runs from its own disk,
it only goes forward.
"""

from datetime import datetime
from typing import Annotated

from domain.core.fields import Refers
from domain.guest_spec import ImageRef
from domain.instance.action import HARMLESS, InstanceAction, InstanceCommand, if_not_on, if_on, image_or_own
from domain.instance.events import InstanceRescued
from domain.instance.image_needs import must_have_memory
from domain.instance.state import Instance, VmState
from domain.jobs.disk import CreateRescueDisk, DeleteRescueDisk, PrepareImage
from domain.jobs.guest import DefineGuest, RescueGuest, StartGuest, StopGuest, UnrescueGuest
from domain.jobs.network import PlugPorts
from domain.tasks.draft import Draft
from domain.tasks.flow import Flow, Step
from domain.tasks.task import Task

OFF_BEFORE = "it was off, as far as was known"


class RescueInstance(InstanceCommand):
    """Boot an instance from a rescue disk, with its own root disk as the second one."""

    image: Annotated[ImageRef | None, Refers("image")] = None
    """The image to boot from; none: the instance's own."""


class UnrescueInstance(InstanceCommand):
    """Boot a rescued instance from its own root disk again; the rescue disk is removed."""


def note_image(draft: Draft[Instance], task: Task, at: datetime) -> None:
    """Emit the image of the rescue disk, since the host is sent it with each later job."""
    command = RescueInstance.model_validate(task.params)
    draft.emit(InstanceRescued(image=command.image or draft.now.image, at=at))


def image_fits(instance: Instance, command: RescueInstance) -> None:
    """Raise Invalid for an image that the instance's memory cannot take."""
    must_have_memory(command.image or instance.image, instance.flavor)


RESCUE = InstanceAction(
    name="rescue",
    command=RescueInstance,
    begins=frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.ERROR}),
    ends=VmState.RESCUED,
    during="rescuing",
    check=image_fits,
    finished=note_image,
    flow=Flow(
        "rescue",
        1,
        (
            Step(PrepareImage, no_undo="the host's image cache is shared, and cleans itself", each=image_or_own),
            Step(CreateRescueDisk, undo=DeleteRescueDisk, each=image_or_own),
            Step(StopGuest, undo=StartGuest, each=if_on),
            Step(StopGuest, no_undo=OFF_BEFORE, each=if_not_on),
            Step(RescueGuest, undo=DefineGuest, each=image_or_own),
            Step(PlugPorts, no_undo=HARMLESS),
            Step(StartGuest, undo=StopGuest),
        ),
    ),
)

UNRESCUE = InstanceAction(
    name="unrescue",
    command=UnrescueInstance,
    begins=frozenset({VmState.RESCUED}),
    ends=VmState.ACTIVE,
    during="unrescuing",
    flow=Flow(
        "unrescue",
        1,
        (
            Step(StopGuest, undo=StartGuest, each=if_on),
            Step(StopGuest, no_undo=OFF_BEFORE, each=if_not_on),
            Step(UnrescueGuest, undo=DefineGuest),
            Step(PlugPorts, no_undo=HARMLESS),
            Step(StartGuest, undo=StopGuest, pivot=True),
            Step(DeleteRescueDisk, no_undo="nothing on it is the instance's"),
        ),
    ),
)
