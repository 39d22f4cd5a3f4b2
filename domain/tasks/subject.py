"""State of an aggregate that tasks work on, and the fold of its tasks' events.

An aggregate has one task at a time that may change what it is, one that waits for it (a delete), and some beside it
that leave its status alone (a backup).
"""

from datetime import datetime
from typing import Any, Self

from pydantic import Field

from domain.core.messages import Event, Model
from domain.guest_spec import GuestSpec, HostRef
from domain.tasks.events import (
    StepFailed,
    StepProgressed,
    StepsDispatched,
    StepsFinished,
    StepStarted,
    TaskAccepted,
    TaskCancelRequested,
    TaskEvent,
    TaskFailed,
    TaskFinished,
    TaskPlanned,
)
from domain.tasks.job import Where
from domain.tasks.task import Direction, Dispatch, Fault, Task


class TaskSubject(Model):
    """The state of an aggregate that tasks work on."""

    id: str
    task: Task | None = None
    """The task that may change the aggregate's status."""
    queued: Task | None = None
    """Task that begins when all others have ended."""
    beside: dict[str, Task] = Field(default_factory=dict)
    """Task id -> a task that leaves the aggregate's status alone."""

    @property
    def current_status(self) -> str:
        """Status while no task runs. To be overridden."""
        raise NotImplementedError

    def host_at(self, where: Where) -> HostRef | None:
        """Return the host there, or None. To be overridden by aggregates that have one."""
        return None

    def guest_at(self, where: Where) -> GuestSpec | None:
        """Return the guest's specification for the host there, or None. To be overridden by aggregates that are
        guests."""
        return None

    @property
    def never_made(self) -> bool:
        """Whether its creation failed, so that there is nothing for a verb to work on. To be overridden by aggregates
        that stay when it fails."""
        return False

    def accepted(self, at: datetime) -> Self:
        """Return the aggregate after a command became a task. May be overridden."""
        return self

    def ended(self, status: str, at: datetime, fault: Fault | None, cancelled: bool) -> Self:
        """Return the aggregate after a task ended in this status, with this fault. To be overridden."""
        raise NotImplementedError

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Every task that has begun."""
        main = (self.task,) if self.task else ()
        return (*main, *self.beside.values())

    def running(self, task_id: str) -> Task | None:
        """Return the task with this id, where it has begun and not ended; else None."""
        if self.task is not None and self.task.id == task_id:
            return self.task
        return self.beside.get(task_id)

    def with_task(self, task: Task) -> Self:
        """Return the aggregate with a running task as it is now."""
        if task.beside:
            return self.but(beside={**self.beside, task.id: task})
        return self.but(task=task)

    def without_task(self, task: Task) -> Self:
        """Return the aggregate after the task has ended."""
        if task.beside:
            return self.but(beside={ident: each for ident, each in self.beside.items() if ident != task.id})
        return self.but(task=None)

    @property
    def _next_due(self) -> Dispatch | None:
        dispatches = [task.dispatch for task in self.tasks if task.dispatch]
        return min(dispatches, key=lambda each: each.deadline, default=None)

    @property
    def due_at(self) -> datetime | None:
        """When the next deadline passes; None: there is none."""
        dispatch = self._next_due
        return dispatch.deadline if dispatch else None

    @property
    def due_id(self) -> str:
        """Id of the dispatch whose deadline that is, or empty."""
        dispatch = self._next_due
        return dispatch.id if dispatch else ""


def evolve_task(now: Any, event: TaskEvent) -> Any:
    """Return the aggregate after an event of one of its tasks. Raises TypeError for an event of no task it has."""
    match event:
        case TaskAccepted():
            task = event.task
            now = now.accepted(task.accepted)
            return now.but(queued=task) if event.queued else now.with_task(task)
        case TaskPlanned():
            return now.but(task=event.task, queued=None)
    task = now.running(event.task_id)
    if task is None:
        raise TypeError(f"{event.type_name} needs task {event.task_id} to run on {now.id}")
    match event:
        case TaskFinished():
            now = now.without_task(task)
            return now if task.beside else now.ended(event.status, event.finished, None, False)
        case TaskFailed():
            now = now.without_task(task)
            return now if task.beside else now.ended(event.status, event.finished, event.fault, event.cancelled)
        case StepsFinished():
            return _finished(now, task, event)
        case _:
            return now.with_task(_evolve(task, event))


def _evolve(task: Task, event: Event) -> Task:
    match event:
        case StepsDispatched():
            return task.but(dispatch=event.dispatch, progress=None)
        case StepStarted():
            if task.dispatch is None or task.dispatch.id != event.dispatch_id:
                return task
            return task.but(dispatch=task.dispatch.but(started=event.job))
        case StepProgressed():
            if task.dispatch is None or task.dispatch.id != event.dispatch_id:
                return task
            return task.but(dispatch=task.dispatch.but(deadline=event.deadline), progress=event.progress)
        case StepFailed():
            if event.direction is Direction.FORWARD:
                changes = {"direction": Direction.UNDO, "fault": event.fault}
            else:
                changes = {"undo_fault": task.undo_fault or event.fault}
            return task.but(to_undo=event.to_undo, dispatch=None, progress=None, **changes)
        case TaskCancelRequested():
            return task.but(cancelled_by=event.by)
        case _:
            raise TypeError(f"{event.type_name} is nothing that happens to a task")


def _finished(now: Any, task: Task, event: StepsFinished) -> Any:
    # What else was sent with them is still on the record: it may be what fails next.
    waiting = tuple(index for index in task.dispatch.steps if index not in event.steps) if task.dispatch else ()
    dispatch = task.dispatch.but(steps=waiting) if task.dispatch and waiting else None
    on = task.plan.steps[event.steps[0]].on if event.steps else Where.HERE
    if event.direction is Direction.FORWARD:
        task = task.but(done=task.done + len(event.steps), dispatch=dispatch, progress=None)
    else:
        task = task.but(to_undo=tuple(index for index in task.to_undo if index not in event.steps), dispatch=dispatch)
    for fact in event.facts:
        task = fact.note(task)
    now = now.with_task(task)
    for fact in event.facts:
        now = fact.apply(now, on)
    return now
