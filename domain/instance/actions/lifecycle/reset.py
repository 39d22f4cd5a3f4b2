"""reset: an operator declares the instance well. No steps: if it is not, the next report of its host says so."""

from typing import ClassVar

from domain.core.errors import DiskInStore, NotSupportedYet
from domain.instance.action import ANY_BUT_DELETED, InstanceAction, InstanceCommand
from domain.instance.state import Instance, VmState
from domain.tasks.flow import Flow


class ResetInstance(InstanceCommand):
    """Set an instance's status to active."""

    relieves: ClassVar[bool] = True
    root_device_id: str = ""
    """Volume that becomes the root disk."""


NOT_RESET = frozenset(
    {
        VmState.SOFT_DELETED,
        VmState.ACTIVE,
        VmState.BUILDING,
        VmState.RESCUED,
        VmState.SHELVED,
        VmState.SHELVED_OFFLOADED,
    }
)


def root_disk_as_it_is(instance: Instance, command: ResetInstance) -> None:
    """Raise NotSupportedYet where another root disk is named: root disks are local; DiskInStore where the instance's
    own may be in the image store alone."""
    if instance.disk_image is not None:
        raise DiskInStore(id=instance.id)
    if command.root_device_id:
        raise NotSupportedYet(field="root_device_id", reason="root disks are local, there are no volumes")


RESET = InstanceAction(
    name="reset",
    command=ResetInstance,
    begins=ANY_BUT_DELETED - NOT_RESET,
    already=frozenset({VmState.ACTIVE}),
    ends=VmState.ACTIVE,
    check=root_disk_as_it_is,
    flow=Flow("reset", 1, ()),
)
