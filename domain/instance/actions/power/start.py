"""start: run a stopped instance. PlugPorts · StartGuest. The networks are made again: the host may have restarted."""

from domain.instance.action import InstanceAction, InstanceCommand
from domain.instance.state import VmState
from domain.jobs.guest import StartGuest, StopGuest
from domain.jobs.network import PlugPorts
from domain.tasks.flow import Flow, Step


class StartInstance(InstanceCommand):
    """Start a stopped instance."""


START = InstanceAction(
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
