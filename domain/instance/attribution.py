"""For whom an event of an instance happens, where the record that led to it does not say: a deadline and a host's own
observation are nobody's, and the answer that ends one task begins the next, which somebody else may have asked for.
"""

from domain.core.messages import Behalf, Command, Envelope, Event
from domain.instance.state import Instance
from domain.tasks.events import DeadlinePassed, TaskEvent
from domain.tasks.flow import Task


def behalf_of(envelope: Envelope, event: Event, before: Instance | None, after: Instance) -> Behalf | None:
    """Of the task that the event belongs to, else of the instance's project; None: the record says it rightly."""
    if isinstance(envelope.data, Command) and not isinstance(envelope.data, DeadlinePassed):
        return None
    task = _task(event, before, after)
    if task is None:
        behalf = Behalf(envelope.correlation, envelope.actor, after.project)
    else:
        behalf = Behalf(task.correlation or envelope.correlation, task.actor, task.project)
    return None if behalf == envelope.behalf else behalf


def _task(event: Event, before: Instance | None, after: Instance) -> Task | None:
    running, waiting = (before.task, before.queued) if before else (None, None)
    if not isinstance(event, TaskEvent):
        return running or after.task
    return next((task for task in (running, waiting, after.task) if task and task.id == event.task_id), None)
