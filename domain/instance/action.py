"""What a row of the lifecycle table is.

Why one table: the API's 409 hints, the command line's help, the printed page and the tests all come from it, so
documentation and code cannot disagree. A verb is a file in `actions/` and its row.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from domain.core.messages import Command
from domain.instance.draft import Draft
from domain.instance.state import Instance, VmState
from domain.tasks.flow import Flow

ANY_BUT_DELETED = frozenset(VmState) - {VmState.DELETED}


class InstanceCommand(Command):
    """A wish about an instance."""

    abstract: ClassVar[bool] = True
    kind = "instance"


@dataclass(frozen=True)
class Action:
    """A verb: from which statuses, to which, by which flow."""

    name: str
    command: type[InstanceCommand]
    begins: frozenset[VmState]
    ends: VmState | None
    """None: as it was before (`ends_as` says how that is known)."""
    flow: Flow[Instance]
    during: str = ""
    """The status that users see while it runs; empty: the status does not change."""
    already: frozenset[VmState] = field(default_factory=frozenset)
    """Statuses in which what is asked for is so already."""
    fails: VmState | None = None
    """The status when it fails; None: as it was before."""
    passes: bool = False
    """Accepted while another task runs: that one is stopped and undone first."""
    cancellable: bool = True
    ends_as: Callable[[Instance], VmState] = lambda instance: instance.vm_state
    check: Callable[[Instance, Any], None] = lambda instance, command: None
    """Raises a Refusal where status alone does not decide."""
    accepted: Callable[[Draft, Any, datetime], None] = lambda draft, command, at: None
    """Emits what is to be known from the moment of acceptance."""

    @property
    def help(self) -> str:
        """One sentence for people: the command's docstring."""
        return " ".join((self.command.__doc__ or "").split())

    def end_status(self, instance: Instance) -> VmState:
        """The status of this instance when the action is done."""
        return self.ends or self.ends_as(instance)


def if_hosted(instance: Instance) -> Iterator[dict[str, Any]]:
    """A step for an instance that has a host."""
    if instance.host is not None:
        yield {}


def each_nic(instance: Instance) -> Iterator[dict[str, Any]]:
    """A step a network interface."""
    for index in range(len(instance.nics)):
        yield {"nic": index}


def each_bound_nic(instance: Instance) -> Iterator[dict[str, Any]]:
    """A step a network interface whose port is known."""
    for index, nic in enumerate(instance.nics):
        if nic.port_id:
            yield {"nic": index}
