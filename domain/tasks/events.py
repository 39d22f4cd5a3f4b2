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
    """What happens to a task."""

    abstract: ClassVar[bool] = True
    kind = "task"

    task_id: str


class TaskAccepted(TaskEvent):
    """The command is a task now, with the plan that it will follow. `queued`: the running one is undone first."""

    revision = 3

    task: Task
    queued: bool = False


class TaskPlanned(TaskEvent):
    """A queued task begins, with a plan for how things are now."""

    revision = 3

    task: Task


class StepsDispatched(TaskEvent):
    """Steps were sent to whoever does them; held ones wait for their deadline to be tried again."""

    revision = 2

    dispatch: Dispatch
    jobs: tuple[str, ...]
    """Names of the jobs, for people."""


class StepStarted(TaskEvent):
    """A step that takes a while has begun."""

    dispatch_id: str
    job: str


class StepProgressed(TaskEvent):
    """A long step is so far, and has until this deadline to get further."""

    dispatch_id: str
    progress: Progress
    deadline: datetime


class StepsFinished(TaskEvent):
    """Steps are done (or undone), with what became known by them."""

    revision = 2

    direction: Direction
    steps: tuple[int, ...]
    jobs: tuple[str, ...]
    facts: tuple[AnyFact, ...] = ()


class StepFailed(TaskEvent):
    """A step failed for good. What is to be undone now, in order, follows from the plan."""

    direction: Direction
    step: int
    fault: Fault
    to_undo: tuple[int, ...]


class TaskCancelRequested(TaskEvent):
    """Somebody wants the task stopped and undone; a job that can be stopped in the middle is."""

    by: Annotated[str, PERSONAL_OF_ACTOR]


class TaskFinished(TaskEvent):
    """The task is done, and its aggregate has this status; empty: the one that it had."""

    revision = 2

    action: str
    status: str
    finished: datetime


class TaskFailed(TaskEvent):
    """The task failed, what could be undone is, and its aggregate has this status; empty: the one that it had."""

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
    """The time of what is on its way, or of what was to happen, is over."""

    kind = "task"

    due_id: str
    """The dispatch, or the thing, that was due."""


class CommandRefused(Event):
    """A command was not accepted: code, text and values say why."""

    kind = "command"

    command: str
    code: str
    message: Annotated[str, PERSONAL]
    hint: str = ""
    values: Annotated[dict[str, str], PERSONAL] = {}


class CommandSatisfied(Event):
    """What the command asks for is so already; nothing was done."""

    kind = "command"

    command: str
    message: Annotated[str, PERSONAL]


VERDICTS_WITHOUT_VERSION = (CommandRefused, CommandSatisfied)
"""Verdicts that are no part of an aggregate's state."""
