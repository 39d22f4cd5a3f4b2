"""restore: a soft-deleted instance comes back as it was. StartGuest, if it ran."""

from collections.abc import Iterator
from typing import Any

from domain.instance.action import Action, InstanceCommand
from domain.instance.state import Instance, VmState
from domain.tasks.flow import Flow, Step
from domain.tasks.jobs import PlugPorts, StartGuest, StopGuest


class RestoreInstance(InstanceCommand):
    """Bring a soft-deleted instance back."""


def if_it_ran(instance: Instance) -> Iterator[dict[str, Any]]:
    """Only what ran before is started."""
    if instance.host is not None and instance.before_delete is VmState.ACTIVE:
        yield {}


RESTORE = Action(
    name="restore",
    command=RestoreInstance,
    begins=frozenset({VmState.SOFT_DELETED}),
    ends=None,
    ends_as=lambda instance: instance.before_delete or VmState.STOPPED,
    during="restoring",
    flow=Flow(
        "restore",
        1,
        (
            Step(PlugPorts, no_undo="networks without a running guest do no harm", each=if_it_ran),
            Step(StartGuest, undo=StopGuest, each=if_it_ran),
        ),
    ),
)
