"""restore: a soft-deleted instance comes back as it was. PlugPorts · TellGuest · StartGuest, if it ran."""

from collections.abc import Iterator
from typing import Any

from domain.instance.action import HARMLESS, InstanceAction, InstanceCommand
from domain.instance.state import Instance, VmState
from domain.instance.states import STATES
from domain.jobs.guest import StartGuest, StopGuest, TellGuest
from domain.jobs.network import PlugPorts
from domain.tasks.flow import Flow, Step


class RestoreInstance(InstanceCommand):
    """Bring a soft-deleted instance back."""


def if_it_ran(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step where the instance ran before it was deleted."""
    if instance.host is not None and STATES[instance.before_delete or VmState.STOPPED].restore_runs:
        yield {}


def as_before(instance: Instance, command: Any) -> VmState:
    """Return the status from before the delete, or the one that it is restored as."""
    before = instance.before_delete or VmState.STOPPED
    return STATES[before].restored or before


RESTORE = InstanceAction(
    name="restore",
    command=RestoreInstance,
    begins=frozenset({VmState.SOFT_DELETED}),
    ends=None,
    ends_as=as_before,
    during="restoring",
    needs_host=False,
    flow=Flow(
        "restore",
        2,
        (
            Step(PlugPorts, no_undo=HARMLESS, each=if_it_ran),
            Step(TellGuest, no_undo="the record says what it is told", each=if_it_ran),
            Step(StartGuest, undo=StopGuest, each=if_it_ran),
        ),
    ),
)
