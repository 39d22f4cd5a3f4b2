"""clone: new instances whose root disks have the bytes of this one's at one moment, whatever else is done to it
meanwhile.

UploadDisk · BootClone (each of them; the pivot). A clone's boot is a task of its own: it makes its disk of what was
uploaded, and has an id, a name, addresses and MAC addresses of its own. The last that has its disk takes the upload out
of the image store.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from domain.core.errors import Invalid
from domain.core.fields import OPERATORS_ONLY, PERSONAL
from domain.core.messages import Model
from domain.core.text import in_units
from domain.instance.action import InstanceAction, InstanceCommand, must_have_local_root
from domain.instance.image_needs import must_have_memory
from domain.instance.spec import InstanceSpec
from domain.instance.state import Instance, VmState
from domain.jobs.clone import BootClone
from domain.jobs.image import DiscardUpload, UploadDisk
from domain.tasks.flow import Flow, Step


class Clone(Model):
    """The fields in which a clone differs from the others of its task."""

    id: str
    name: Annotated[str, PERSONAL]
    hostname: Annotated[str, PERSONAL]
    password_ref: str = ""
    user_data_ref: str = ""


class CloneInstance(InstanceCommand):
    """Make new instances that have a copy of an instance's root disk; the instance itself goes on meanwhile."""

    spec: Annotated[InstanceSpec, OPERATORS_ONLY]
    """Specification of each clone; image, and disk where it is smaller, are those of the instance."""
    security_groups: Annotated[tuple[str, ...], OPERATORS_ONLY] = ()
    """Ids of the groups of ports that are made for them; none: the default group of the project."""
    clones: Annotated[tuple[Clone, ...], OPERATORS_ONLY]


def each_clone(instance: Instance, command: CloneInstance) -> Iterator[dict[str, Any]]:
    """Yield a step for each clone."""
    for number in range(len(command.clones)):
        yield {"number": number}


def can_be_cloned(instance: Instance, command: CloneInstance) -> None:
    """Raise RootIsVolume where the instance has no root disk of its own, Invalid for a flavor that its image cannot run
    with, or a root disk that is smaller."""
    must_have_local_root(instance, "clone", "Copy the volume, and boot from the copy.")
    must_have_memory(instance.image, command.spec.flavor)
    if command.spec.disk and command.spec.disk < instance.disk:
        has = f"the root disk of {instance.name} has {in_units(instance.disk)}, and a clone's has that at least"
        raise Invalid(field="volume_size", value=in_units(command.spec.disk), allowed=has)


CLONE = InstanceAction(
    name="clone",
    command=CloneInstance,
    begins=frozenset({VmState.ACTIVE, VmState.PAUSED, VmState.SUSPENDED, VmState.STOPPED, VmState.SHELVED}),
    ends=None,
    beside=True,
    own_request=True,
    check=can_be_cloned,
    flow=Flow(
        "clone",
        1,
        (
            Step(UploadDisk, undo=DiscardUpload),
            Step(BootClone, no_undo="a clone is an instance of its own", each=each_clone, pivot=True),
        ),
    ),
)
