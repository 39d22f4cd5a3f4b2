"""Messages that an event sends. Only a live decision calls this; a replay never does, so it cannot send anything."""

from typing import Any

from domain.core.cells import DEFAULT_CELL
from domain.core.messages import Event, Key, Message, Outgoing, Topic
from domain.guest_spec import HostRef
from domain.tasks.events import StepsDispatched, TaskCancelRequested
from domain.tasks.job import JOBS, AggregateJob, HostJob, SchedulerJob
from domain.tasks.messages import AbortJobs, DispatchHostJobs, Reply
from domain.tasks.task import Direction, Task, calls


def outgoing(kind: str, subject: Any, event: Event) -> Outgoing | None:
    """Return the message that an event of an aggregate sends: the steps of a dispatch to whoever does them, or the
    request to stop to the host at work. None for all other events."""
    match event:
        case StepsDispatched() if not event.dispatch.held:
            return _dispatched(Key(kind, subject.id), subject, event)
        case TaskCancelRequested():
            return _abort(Key(kind, subject.id), subject.running(event.task_id))
        case _:
            return None


def _dispatched(key: Key, subject: Any, event: StepsDispatched) -> Outgoing:
    task: Task = subject.running(event.task_id)
    dispatch = event.dispatch
    jobs = calls(task, dispatch.steps, dispatch.direction)
    first = jobs[0]
    where = task.plan.steps[dispatch.steps[0]].on
    kind = JOBS[first.name]
    if issubclass(kind, HostJob):
        if dispatch.host is None:
            raise TypeError(f"{first.name} needs a host, and {key} has none there")
        message: Message = DispatchHostJobs(
            dispatch_id=dispatch.id,
            task_id=task.id,
            subject=str(key),
            host_id=dispatch.host.id,
            epoch=dispatch.host.epoch,
            deadline=dispatch.deadline,
            guest=subject.guest_at(where),
            beside=task.beside,
            jobs=jobs,
        )
        return to_host(key, dispatch.host, message)
    reply = Reply(subject=str(key), task_id=task.id, dispatch_id=dispatch.id, job_id=first.job_id)
    job = kind.model_validate(first.args)
    if isinstance(job, SchedulerJob):
        cell = getattr(subject, "cell", DEFAULT_CELL)
        message = job.message(subject, task, reply, where)
        return Outgoing(Topic.SCHEDULING, Key("cell", cell), message, key=cell)
    assert isinstance(job, AggregateJob)
    other, message = job.message(subject, task, reply, where)
    return Outgoing(Topic.COMMANDS, other, message)


def to_host(key: Key, host: HostRef, message: Message) -> Outgoing:
    """Return a message about an aggregate to a host's agent."""
    return Outgoing(Topic.JOBS, key, message, key=host.id, partition=host.partition)


def _abort(key: Key, task: Task | None) -> Outgoing | None:
    dispatch = task.dispatch if task else None
    if task is None or dispatch is None or dispatch.host is None or dispatch.held:
        return None
    if dispatch.direction is not Direction.FORWARD or task.past_pivot:
        return None
    return to_host(key, dispatch.host, AbortJobs(dispatch_id=dispatch.id, task_id=task.id, host_id=dispatch.host.id))
