"""reset: an operator's word that the instance is well. No steps: if that is wrong, the next report says so."""

from typing import ClassVar

from domain.core.errors import NotSupportedYet
from domain.instance.action import ANY_BUT_DELETED, InstanceAction, InstanceCommand
from domain.instance.state import Instance, VmState
from domain.tasks.flow import Flow


class ResetInstance(InstanceCommand):
    """Set an instance's status to active."""

    relieves: ClassVar[bool] = True
    root_device_id: str = ""
    """The volume that is to be its root disk from now on."""


def root_disk_as_it_is(instance: Instance, command: ResetInstance) -> None:
    """Root disks are local, so there is no other one to name."""
    if command.root_device_id:
        raise NotSupportedYet(field="root_device_id", reason="root disks are local, there are no volumes")


RESET = InstanceAction(
    name="reset",
    command=ResetInstance,
    begins=ANY_BUT_DELETED - {VmState.SOFT_DELETED, VmState.ACTIVE, VmState.BUILDING, VmState.RESCUED},
    already=frozenset({VmState.ACTIVE}),
    ends=VmState.ACTIVE,
    needs_host=False,
    check=root_disk_as_it_is,
    flow=Flow("reset", 1, ()),
)
