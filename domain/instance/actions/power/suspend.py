"""suspend: the guest's memory is saved on its host's disk and the guest ends; resume: it goes on where it was.
SuspendGuest; PlugPorts · ResumeGuest.

Saved memory that cannot be used (its file is damaged) fails a resume, and the instance stays suspended: a hard reboot
starts it without, and only whoever asks for that can know whether the memory may be lost.
"""

from domain.instance.action import HARMLESS, InstanceAction, InstanceCommand
from domain.instance.state import VmState
from domain.jobs.guest import ResumeGuest, SuspendGuest
from domain.jobs.network import PlugPorts
from domain.tasks.flow import Flow, Step


class SuspendInstance(InstanceCommand):
    """Suspend an instance: its memory is saved on its host's disk, and it takes no time of the host's processors."""


class ResumeInstance(InstanceCommand):
    """Let a suspended instance go on where it was."""


SUSPEND = InstanceAction(
    name="suspend",
    command=SuspendInstance,
    begins=frozenset({VmState.ACTIVE}),
    already=frozenset({VmState.SUSPENDED}),
    ends=VmState.SUSPENDED,
    during="suspending",
    flow=Flow("suspend", 1, (Step(SuspendGuest, undo=ResumeGuest),)),
)

RESUME = InstanceAction(
    name="resume",
    command=ResumeInstance,
    begins=frozenset({VmState.SUSPENDED}),
    already=frozenset({VmState.ACTIVE}),
    ends=VmState.ACTIVE,
    during="resuming",
    flow=Flow(
        "resume",
        1,
        (
            Step(PlugPorts, no_undo=HARMLESS),
            Step(ResumeGuest, undo=SuspendGuest),
        ),
    ),
)
