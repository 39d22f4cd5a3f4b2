"""reboot: soft asks the guest; hard makes the guest anew from its definition and starts it."""

from domain.instance.action import HARMLESS, InstanceAction, InstanceCommand
from domain.instance.state import VmState
from domain.jobs.guest import DefineGuest, RebootGuest, StartGuest, UndefineGuest
from domain.jobs.network import PlugPorts
from domain.tasks.flow import Flow, Step


class RebootInstance(InstanceCommand):
    """Ask the guest to reboot, and reset it when it does not."""


class HardRebootInstance(InstanceCommand):
    """Turn the guest off at once, define it anew and start it."""


REBOOT = InstanceAction(
    name="reboot",
    command=RebootInstance,
    begins=frozenset({VmState.ACTIVE}),
    ends=VmState.ACTIVE,
    during="rebooting",
    flow=Flow("reboot", 1, (Step(RebootGuest, no_undo="a reboot cannot be taken back"),)),
)

HARD_REBOOT = InstanceAction(
    name="hard-reboot",
    command=HardRebootInstance,
    begins=frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.SUSPENDED, VmState.ERROR}),
    ends=VmState.ACTIVE,
    fails=VmState.ERROR,
    during="rebooting",
    flow=Flow(
        "hard-reboot",
        1,
        (
            Step(UndefineGuest, no_undo="the definition is made anew from the record"),
            Step(PlugPorts, no_undo=HARMLESS),
            Step(DefineGuest, no_undo="the record is its definition"),
            Step(StartGuest, no_undo="the last step"),
        ),
    ),
)
