"""start: run a stopped instance. PlugPorts · StartGuest. The networks are made again: the host may have restarted."""

from domain.instance.action import Action, InstanceCommand
from domain.instance.state import VmState
from domain.tasks.flow import Flow, Step
from domain.tasks.jobs import PlugPorts, StartGuest, StopGuest


class StartInstance(InstanceCommand):
    """Start a stopped instance."""


START = Action(
    name="start",
    command=StartInstance,
    begins=frozenset({VmState.STOPPED}),
    already=frozenset({VmState.ACTIVE}),
    ends=VmState.ACTIVE,
    during="starting",
    flow=Flow(
        "start",
        1,
        (
            Step(PlugPorts, no_undo="networks without a running guest do no harm"),
            Step(StartGuest, undo=StopGuest),
        ),
    ),
)
