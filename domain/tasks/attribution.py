"""Attribution of events whose record does not say it: a deadline and a host's own report have no actor, and the answer
that ends one task begins the next, which may be another user's."""

from typing import Any

from domain.core.messages import Behalf, Command, Envelope, Event
from domain.tasks.events import DeadlinePassed, TaskEvent
from domain.tasks.task import Task


def behalf_of(envelope: Envelope, event: Event, before: Any, after: Any) -> Behalf | None:
    """Return the attribution of the event's task, else of the aggregate's project; None: that of the record.

    `before` and `after`: the aggregate's state around the event.
    """
    if isinstance(envelope.data, Command) and not isinstance(envelope.data, DeadlinePassed):
        return None
    task = _task(event, before, after)
    if task is None:
        behalf = Behalf(envelope.correlation, envelope.actor, after.project)
    else:
        behalf = Behalf(task.correlation or envelope.correlation, task.actor, task.project)
    return None if behalf == envelope.behalf else behalf


def _task(event: Event, before: Any, after: Any) -> Task | None:
    if not isinstance(event, TaskEvent):
        running: Task | None = (before.task if before else None) or after.task
        return running
    for state in (before, after):
        if state is None:
            continue
        found: Task | None = state.running(event.task_id)
        if found is None and state.queued is not None and state.queued.id == event.task_id:
            found = state.queued
        if found is not None:
            return found
    return None
