"""stop: ask the guest to power off, and turn it off when it does not. StopGuest."""

from pydantic import Field

from domain.instance.action import InstanceAction, InstanceCommand
from domain.instance.state import VmState
from domain.jobs.guest import StartGuest, StopGuest
from domain.tasks.flow import Flow, Step, fields


class StopInstance(InstanceCommand):
    """Stop an instance; its guest is asked first, and turned off when it does not answer."""

    grace: float = Field(60.0, ge=0, le=600)
    """Seconds that the guest has to power off by itself."""


STOP = InstanceAction(
    name="stop",
    command=StopInstance,
    begins=frozenset({VmState.ACTIVE, VmState.ERROR}),
    already=frozenset({VmState.STOPPED}),
    ends=VmState.STOPPED,
    during="stopping",
    flow=Flow("stop", 1, (Step(StopGuest, undo=StartGuest, each=fields("grace")),)),
)
