"""The life of a task as facts: accepted, dispatched, started, finished, undone, failed.

Why a kind of its own: whatever aggregate runs tasks records them in the same words, and one read model shows them all.
The events stand in the stream of the aggregate that the task works on.
"""

from datetime import datetime
from typing import Annotated, ClassVar

from domain.core.fields import PERSONAL, PERSONAL_OF_ACTOR
from domain.core.messages import Command, Event
from domain.tasks.job import AnyFact
from domain.tasks.task import Direction, Dispatch, Fault, Progress, Task


class TaskEvent(Event):
    """A fact about a task."""

    abstract: ClassVar[bool] = True
    kind = "task"

    task_id: str


class TaskAccepted(TaskEvent):
    """The command was accepted as a task, with its plan. `queued`: running tasks are undone first."""

    revision = 3

    task: Task
    queued: bool = False


class TaskPlanned(TaskEvent):
    """A task has a plan for the present state: a queued one begins, or a running one goes on in another way."""

    revision = 3

    task: Task


class StepsDispatched(TaskEvent):
    """Steps were sent to be done; held ones wait until their deadline to be tried again."""

    revision = 2

    dispatch: Dispatch
    jobs: tuple[str, ...]
    """Names of the jobs, for people."""


class StepStarted(TaskEvent):
    """A step that takes a while has begun."""

    dispatch_id: str
    job: str


class StepProgressed(TaskEvent):
    """A long step made progress, and has a new deadline."""

    dispatch_id: str
    progress: Progress
    deadline: datetime


class StepsFinished(TaskEvent):
    """Steps are done (or undone), with the facts that their jobs found."""

    revision = 4

    direction: Direction
    steps: tuple[int, ...]
    jobs: tuple[str, ...]
    facts: tuple[AnyFact, ...] = ()


class StepFailed(TaskEvent):
    """A step failed for good; `to_undo` are the steps to be undone now, in order."""

    direction: Direction
    step: int
    fault: Fault
    to_undo: tuple[int, ...]


class TaskCancelRequested(TaskEvent):
    """The task is to be stopped and undone, at the request of this actor."""

    by: Annotated[str, PERSONAL_OF_ACTOR]


class TaskFinished(TaskEvent):
    """The task is done, and its aggregate has this status; empty: the status is unchanged."""

    revision = 2

    action: str
    status: str
    finished: datetime


class TaskFailed(TaskEvent):
    """The task failed, its steps are undone as far as possible, and its aggregate has this status; empty: unchanged."""

    revision = 2

    action: str
    status: str
    fault: Fault
    undo_fault: Fault | None = None
    cancelled: bool = False
    finished: datetime


class CancelTask(Command):
    """Stop a running task and undo what it did."""

    kind = "task"
    relieves: ClassVar[bool] = True

    task_id: str


class DeadlinePassed(Command):
    """The deadline of a dispatch, or the time of a scheduled change, has passed."""

    kind = "task"

    due_id: str
    """Id of the dispatch, or of the thing, that was due."""


class CommandRefused(Event):
    """The command was refused: code, message and values say why."""

    kind = "command"

    command: str
    code: str
    message: Annotated[str, PERSONAL]
    hint: str = ""
    values: Annotated[dict[str, str], PERSONAL] = {}


class CommandSatisfied(Event):
    """The command asked for nothing new, so nothing was done."""

    kind = "command"

    command: str
    message: Annotated[str, PERSONAL]


VERDICTS_WITHOUT_VERSION = (CommandRefused, CommandSatisfied)
"""Verdicts that are not part of an aggregate's state."""
