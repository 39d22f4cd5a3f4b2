"""rebuild: a new root disk of an image; id, name, addresses and volumes stay.

PrepareImage · StopGuest · DropOldDisk · ReplaceDisk · RebuildGuest · PlugPorts · StartGuest · DropOldDisk.
The old disk is kept beside the new one until the guest runs from that (or, of an instance that was off, is defined with
it): so far it is put back when something fails, and after that there is no way back.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

from domain.core.errors import Invalid
from domain.core.fields import Refers
from domain.guest_spec import ImageRef
from domain.instance.action import (
    HARMLESS,
    InstanceAction,
    InstanceCommand,
    if_not_on,
    if_on,
    image_or_own,
    must_have_local_root,
)
from domain.instance.events import InstanceRebuilt
from domain.instance.image_needs import must_have_disk, must_have_memory
from domain.instance.state import Instance, VmState
from domain.jobs.disk import DropOldDisk, PrepareImage, ReplaceDisk, RestoreDisk
from domain.jobs.guest import DefineGuest, RebuildGuest, StartGuest, StopGuest
from domain.jobs.network import PlugPorts
from domain.tasks.draft import Draft
from domain.tasks.flow import Flow, Step, when
from domain.tasks.task import Task


class RebuildInstance(InstanceCommand):
    """Replace an instance's root disk by a new one made from an image; the old disk's data is lost, id and addresses
    stay."""

    image: Annotated[ImageRef | None, Refers("image")] = None
    """Image to make the new root disk from; none: the image of the old one."""


def image_fits(instance: Instance, command: RebuildInstance) -> None:
    """Raise Invalid for an image that the instance's disk, its memory, or its processors, cannot take, and RootIsVolume
    where it has no disk of its own."""
    must_have_local_root(instance, "rebuild", "Boot another instance from a volume of that image.")
    image = command.image or instance.image
    if image.arch != instance.image.arch:
        raise Invalid(field="image", value=image.name, allowed=f"it must be for {instance.image.arch}")
    must_have_disk(image, instance.disk, "image", image.name)
    must_have_memory(image, instance.flavor)


def runs_afterwards(instance: Instance, command: Any) -> bool:
    """Return whether the guest is started: unless the instance was stopped."""
    return instance.vm_state is not VmState.STOPPED


def as_before(instance: Instance, command: Any) -> VmState:
    """Return stopped where the instance was stopped, else active."""
    return VmState.ACTIVE if runs_afterwards(instance, command) else VmState.STOPPED


def image_if_it_runs(instance: Instance, command: RebuildInstance) -> Iterator[dict[str, Any]]:
    """Yield a step with the image, for an instance whose guest is started."""
    if runs_afterwards(instance, command):
        yield from image_or_own(instance, command)


def image_if_it_stays_off(instance: Instance, command: RebuildInstance) -> Iterator[dict[str, Any]]:
    """Yield a step with the image, for an instance whose guest is not started."""
    if not runs_afterwards(instance, command):
        yield from image_or_own(instance, command)


def note_image(draft: Draft[Instance], task: Task, at: datetime) -> None:
    """Emit the image of the new root disk."""
    command = RebuildInstance.model_validate(task.params)
    draft.emit(InstanceRebuilt(image=command.image or draft.now.image, at=at))


REBUILD = InstanceAction(
    name="rebuild",
    command=RebuildInstance,
    begins=frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.ERROR}),
    ends=None,
    ends_as=as_before,
    during="rebuilding",
    check=image_fits,
    finished=note_image,
    flow=Flow(
        "rebuild",
        1,
        (
            Step(PrepareImage, no_undo="the host's image cache is shared, and cleans itself", each=image_or_own),
            Step(StopGuest, undo=StartGuest, each=if_on),
            Step(StopGuest, no_undo="it was off, as far as was known", each=if_not_on),
            Step(DropOldDisk, no_undo="what a rebuild that failed has left is no disk of the instance"),
            Step(ReplaceDisk, undo=RestoreDisk, each=image_or_own),
            Step(RebuildGuest, undo=DefineGuest, each=image_if_it_stays_off, pivot=True),
            Step(RebuildGuest, undo=DefineGuest, each=image_if_it_runs),
            Step(PlugPorts, no_undo=HARMLESS, each=when(runs_afterwards)),
            Step(StartGuest, undo=StopGuest, each=when(runs_afterwards), pivot=True),
            Step(DropOldDisk, no_undo="the new one is in its place"),
        ),
    ),
)
