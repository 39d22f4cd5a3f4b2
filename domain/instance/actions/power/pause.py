"""pause: the guest's processors stand still and its memory stays; unpause: they go on. PauseGuest; UnpauseGuest."""

from domain.instance.action import InstanceAction, InstanceCommand
from domain.instance.state import VmState
from domain.jobs.guest import PauseGuest, UnpauseGuest
from domain.tasks.flow import Flow, Step


class PauseInstance(InstanceCommand):
    """Pause an instance: its guest keeps its memory and stands still."""


class UnpauseInstance(InstanceCommand):
    """Let a paused instance go on where it was."""


PAUSE = InstanceAction(
    name="pause",
    command=PauseInstance,
    begins=frozenset({VmState.ACTIVE}),
    already=frozenset({VmState.PAUSED}),
    ends=VmState.PAUSED,
    during="pausing",
    flow=Flow("pause", 1, (Step(PauseGuest, undo=UnpauseGuest),)),
)

UNPAUSE = InstanceAction(
    name="unpause",
    command=UnpauseInstance,
    begins=frozenset({VmState.PAUSED}),
    already=frozenset({VmState.ACTIVE}),
    ends=VmState.ACTIVE,
    during="unpausing",
    flow=Flow("unpause", 1, (Step(UnpauseGuest, undo=PauseGuest),)),
)
