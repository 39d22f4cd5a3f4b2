"""For whom an event happens where the record that led to it does not say: a deadline and a host's own observation are
nobody's, and the answer that ends one task begins the next, which somebody else may have asked for.
"""

from typing import Any

from domain.core.messages import Behalf, Command, Envelope, Event
from domain.tasks.events import DeadlinePassed, TaskEvent
from domain.tasks.task import Task


def behalf_of(envelope: Envelope, event: Event, before: Any, after: Any) -> Behalf | None:
    """Of the task that the event belongs to, else of the aggregate's project; None: the record says it rightly.

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
