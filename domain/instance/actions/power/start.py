"""start: run a stopped instance. PlugPorts · TellGuest · StartGuest.

The networks are made again, since the host may have restarted, and the guest is told what its record says by now.
"""

from domain.instance.action import HARMLESS, InstanceAction, InstanceCommand
from domain.instance.state import VmState
from domain.jobs.guest import StartGuest, StopGuest, TellGuest
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
        2,
        (
            Step(PlugPorts, no_undo=HARMLESS),
            Step(TellGuest, no_undo="the record says what it is told"),
            Step(StartGuest, undo=StopGuest),
        ),
    ),
)
