"""stop: ask the guest to power off, and turn it off when it does not. StopGuest."""

from domain.instance.action import Action, InstanceCommand, if_hosted
from domain.instance.state import VmState
from domain.tasks.flow import Flow, Step
from domain.tasks.jobs import StartGuest, StopGuest


class StopInstance(InstanceCommand):
    """Stop an instance; its guest is asked first, and turned off when it does not answer."""


STOP = Action(
    name="stop",
    command=StopInstance,
    begins=frozenset({VmState.ACTIVE, VmState.ERROR}),
    already=frozenset({VmState.STOPPED}),
    ends=VmState.STOPPED,
    during="stopping",
    flow=Flow("stop", 1, (Step(StopGuest, undo=StartGuest, each=if_hosted),)),
)
