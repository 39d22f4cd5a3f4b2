"""The row of an action table: a verb of an aggregate that tasks work on.

Why one table a kind: the API's 409 hints, the command line's help, the printed page and the tests all come from it, so
documentation and code cannot disagree. A verb is a file in `actions/` and its row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
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
    """Status when the action is done; None: `ends_as` says which."""
    flow: Flow[S]
    during: str = ""
    """Status that users see while the action runs; empty: the status does not change."""
    already: frozenset[str] = field(default_factory=frozenset)
    """Statuses in which the command asks for nothing new."""
    says_already: str = ""
    """Message in such a status, after the aggregate's name; empty: "is STATUS already"."""
    fails: str | None = None
    """Status when the action fails; None: as it was before."""
    stuck: str | None = None
    """Status when a step behind the pivot is given up; None: in error."""
    needs_host: bool = True
    """Whether it needs what the aggregate has on a host: refused where that was never made, or is gone."""
    passes: bool = False
    """Whether it is accepted while other tasks run: those are stopped and undone first."""
    alone: bool = False
    """Whether it is refused while tasks run beside the aggregate's own; else it runs beside them."""
    beside: bool = False
    """Whether it runs beside the aggregate's other work and leaves its status alone."""
    cancellable: bool = True
    creates: bool = False
    """Whether its command creates the aggregate, in an event that has all its fields."""
    own_request: bool = False
    """Whether its route and its command of `gs` are written by hand: its request has other fields than its command."""
    permission: str = ""
    """Permission that a caller needs; empty: KIND:NAME."""
    ends_as: Callable[[S, Any], str] = lambda subject, command: subject.current_status
    check: Callable[[S, Any], None] = lambda subject, command: None
    """Raises a Refusal where the status alone does not decide."""
    accepted: Callable[[Draft[S], Any, datetime], None] = lambda draft, command, at: None
    """Emits the events of the moment of acceptance."""
    finished: Callable[[Draft[S], Task, datetime], None] = lambda draft, task, at: None
    """Emits the events that follow from the task's success, before the task ends."""
    failed: Callable[[Draft[S], Task, datetime], None] = lambda draft, task, at: None
    """Emits the events that follow from the task's failure and undo, before the task ends."""

    @property
    def help(self) -> str:
        """The verb in one sentence, for people: the command's docstring."""
        return " ".join((self.command.__doc__ or "").split())

    def end_status(self, subject: S, command: Any) -> str:
        """Return the status when the action is done."""
        return self.ends or self.ends_as(subject, command)


@dataclass(frozen=True)
class Reaction:
    """How the task reacts to a failed job."""

    error: JobError
    """Error that becomes the task's fault if the job is not tried again."""
    attempts: int
    """How often the job may be tried."""
    again: bool = False
    """Whether it is tried again whatever the number of attempts."""


def as_its_job_says(draft: Draft[Any], task: Task, call: JobCall, error: JobError, most: int) -> Reaction:
    """Return the ordinary reaction: as many attempts as the job's class allows."""
    return Reaction(error, most)


@dataclass(frozen=True)
class TaskRules(Generic[S]):
    """Rules by which the tasks of a kind of aggregate are run."""

    kind: str
    actions: Mapping[str, Action[S]]
    """Name of a verb -> its row."""
    evolve: Callable[[S | None, Any, str], S]
    error: str
    """Status when a step could not be undone."""
    gone: frozenset[str] = frozenset()
    """Statuses in which the aggregate exists no more."""
    status: Callable[[S], str] = lambda subject: subject.current_status
    """Returns the status that people see."""
    advice: Callable[[S], str] = lambda subject: ""
    """Returns the hint of a refusal because of the subject's status."""
    react: Callable[[Draft[S], Task, JobCall, JobError, int], Reaction] = as_its_job_says
    renewed: Callable[[Draft[S], str, int], None] = lambda draft, host_id, epoch: None
    """Emits that a host (by its id) has registered again, with this epoch."""

    def action_of(self, command: Command) -> Action[S]:
        """Return the action of a command. Raises KeyError for a command that has none."""
        return self._by_command[type(command)]

    @cached_property
    def _by_command(self) -> dict[type[Command], Action[S]]:
        return {action.command: action for action in self.actions.values()}
