"""The life of a task as facts: accepted, dispatched, started, finished, undone, failed.

Why a kind of its own: whatever runs tasks (instances now) records them in the same words, and one read model shows
them all. The events stand in the stream of the aggregate that the task works on.
"""

from datetime import datetime
from typing import ClassVar

from domain.core.messages import Command, Event
from domain.tasks.flow import Direction, Dispatch, Fault, Task
from domain.tasks.jobs import Fact


class TaskEvent(Event):
    """What happens to a task."""

    abstract: ClassVar[bool] = True
    kind = "task"

    task_id: str


class TaskAccepted(TaskEvent):
    """The command is a task now, with the plan that it will follow. `queued`: the running one is undone first."""

    revision = 2

    task: Task
    queued: bool = False


class TaskPlanned(TaskEvent):
    """A queued task begins, with a plan for how things are now."""

    revision = 2

    task: Task


class StepsDispatched(TaskEvent):
    """Steps were sent to whoever does them."""

    dispatch: Dispatch
    jobs: tuple[str, ...]
    """Names of the jobs, for people."""


class StepStarted(TaskEvent):
    """A step that takes a while has begun."""

    dispatch_id: str
    job: str


class StepsFinished(TaskEvent):
    """Steps are done (or undone), with what became known by them."""

    direction: Direction
    steps: tuple[int, ...]
    jobs: tuple[str, ...]
    facts: tuple[Fact, ...] = ()


class StepFailed(TaskEvent):
    """A step failed for good. What is to be undone now, in order, follows from the plan."""

    direction: Direction
    step: int
    fault: Fault
    to_undo: tuple[int, ...]


class TaskCancelRequested(TaskEvent):
    """Somebody wants the task stopped and undone; what is on its way is waited for."""

    by: str


class TaskFinished(TaskEvent):
    """Done. The status is this now."""

    action: str
    vm_state: str
    finished: datetime


class TaskFailed(TaskEvent):
    """It failed, and what could be undone is. The status is this now."""

    action: str
    vm_state: str
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
    message: str
    hint: str = ""
    values: dict[str, str] = {}


class CommandSatisfied(Event):
    """What the command asks for is so already; nothing was done."""

    kind = "command"

    command: str
    message: str


VERDICTS_WITHOUT_VERSION = (CommandRefused, CommandSatisfied)
"""Verdicts that are no part of an aggregate's state."""
