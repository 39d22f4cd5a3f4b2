"""What a row of an action table is: a verb of an aggregate that tasks work on.

Why one table a kind: the API's 409 hints, the command line's help, the printed page and the tests all come from it, so
documentation and code cannot disagree. A verb is a file in `actions/` and its row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from domain.core.messages import Command
from domain.tasks.draft import Draft
from domain.tasks.flow import Flow
from domain.tasks.messages import JobCall, JobError
from domain.tasks.subject import TaskSubject
from domain.tasks.task import Task

S = TypeVar("S", bound=TaskSubject)


@dataclass(frozen=True)
class Action(Generic[S]):
    """A verb: from which statuses, to which, by which flow."""

    name: str
    command: type[Command]
    begins: frozenset[str]
    ends: str | None
    """None: as it was before (`ends_as` says how that is known)."""
    flow: Flow[S]
    during: str = ""
    """The status that users see while it runs; empty: the status does not change."""
    already: frozenset[str] = field(default_factory=frozenset)
    """Statuses in which what is asked for is so already."""
    says_already: str = ""
    """What it says then, as "NAME ..."; empty: that it has the status it is to end in."""
    fails: str | None = None
    """The status when it fails; None: as it was before."""
    stuck: str | None = None
    """The status when a step behind the pivot is given up; None: in error."""
    needs_host: bool = True
    """Something of it is done at the host that the aggregate has."""
    passes: bool = False
    """Accepted while other tasks run: those are stopped and undone first."""
    alone: bool = False
    """Refused while tasks run beside the aggregate's own; else it runs beside them."""
    beside: bool = False
    """It runs beside the aggregate's other work and leaves its status alone."""
    cancellable: bool = True
    creates: bool = False
    """Its command makes the aggregate, in an event that has all its fields."""
    permission: str = ""
    """What whoever asks has to be allowed; empty: KIND:NAME."""
    ends_as: Callable[[S, Any], str] = lambda subject, command: subject.current_status
    check: Callable[[S, Any], None] = lambda subject, command: None
    """Raises a Refusal where status alone does not decide."""
    accepted: Callable[[Draft[S], Any, datetime], None] = lambda draft, command, at: None
    """Emits what is to be known from the moment of acceptance."""
    finished: Callable[[Draft[S], Task, datetime], None] = lambda draft, task, at: None
    """Emits what is so because every step is done, before the task ends."""
    failed: Callable[[Draft[S], Task, datetime], None] = lambda draft, task, at: None
    """Emits what is so because the task failed and was undone, before it ends."""

    @property
    def help(self) -> str:
        """One sentence for people: the command's docstring."""
        return " ".join((self.command.__doc__ or "").split())

    def end_status(self, subject: S, command: Any) -> str:
        """The status when the action is done."""
        return self.ends or self.ends_as(subject, command)


@dataclass(frozen=True)
class Reaction:
    """What is to be done about a job that failed."""

    error: JobError
    """What the task's fault is made of if it is not tried again."""
    attempts: int
    """How often it may be tried."""
    again: bool = False
    """Tried again whatever was said before."""


def as_its_job_says(draft: Draft[Any], task: Task, call: JobCall, error: JobError, most: int) -> Reaction:
    """The ordinary reaction: as often as the job's class allows."""
    return Reaction(error, most)


@dataclass(frozen=True)
class TaskRules(Generic[S]):
    """What the walk has to know of a kind of aggregate."""

    kind: str
    actions: Mapping[str, Action[S]]
    """By name."""
    evolve: Callable[[S | None, Any, str], S]
    error: str
    """The status when something could not be undone."""
    gone: frozenset[str] = frozenset()
    """Statuses in which it exists no more."""
    status: Callable[[S], str] = lambda subject: subject.current_status
    """The status that people see."""
    react: Callable[[Draft[S], Task, JobCall, JobError, int], Reaction] = as_its_job_says
    renewed: Callable[[Draft[S], str, int], None] = lambda draft, host_id, epoch: None
    """Emits that a host (by its id) has registered anew, and its epoch is this."""

    def action_of(self, command: Command) -> Action[S]:
        """The action that a command asks for. Raises KeyError for one that is none's."""
        return self._by_command[type(command)]

    @property
    def _by_command(self) -> dict[type[Command], Action[S]]:
        found: dict[type[Command], Action[S]] | None = _BY_COMMAND.get(self.kind)
        if found is None:
            found = _BY_COMMAND[self.kind] = {action.command: action for action in self.actions.values()}
        return found


_BY_COMMAND: dict[str, dict[type[Command], Any]] = {}
