"""reset: an operator's word that the instance is well. No steps: if that is wrong, the next report says so."""

from domain.flow import Flow
from domain.instance.action import ANY_BUT_DELETED, Action, InstanceCommand
from domain.instance.state import VmState


class ResetInstance(InstanceCommand):
    """Set an instance's status to active."""


RESET = Action(
    name="reset",
    command=ResetInstance,
    begins=ANY_BUT_DELETED - {VmState.SOFT_DELETED, VmState.ACTIVE, VmState.BUILDING},
    already=frozenset({VmState.ACTIVE}),
    ends=VmState.ACTIVE,
    flow=Flow("reset", 1, ()),
)
