"""Tasks: each accepted command that takes time, how far it is, and how it ended."""

from collections.abc import Iterable
from datetime import datetime

from domain.aggregates import WITH_TASKS
from domain.tasks.events import TaskAccepted, TaskEvent, TaskFailed, TaskFinished
from domain.tasks.subject import TaskSubject
from domain.tasks.task import Direction, Fault, Task
from projections.views import faults
from projections.views.view import Change, Row, View, ViewColumn


def about(change: Change) -> str | None:
    """Return the id of the task that the event is about, where that task has a row."""
    event = change.envelope.data
    if not isinstance(event, TaskEvent) or not isinstance(change.after, TaskSubject):
        return None
    if isinstance(event, (TaskFinished, TaskFailed)) or (isinstance(event, TaskAccepted) and event.queued):
        return event.task_id
    return event.task_id if change.after.running(event.task_id) is not None else None


def rows(change: Change) -> Iterable[Row]:
    """Yield the row of the task that the event is about."""
    event = change.envelope.data
    now = change.after
    if not isinstance(event, TaskEvent) or not isinstance(now, TaskSubject):
        return
    match event:
        case TaskFinished():
            task = change.before.running(event.task_id)
            yield row(
                change,
                task.but(done=len(task.plan.steps), dispatch=None, progress=None),
                "finished",
                None,
                event.finished,
            )
        case TaskFailed():
            status = "cancelled" if event.cancelled else "failed"
            yield row(
                change,
                change.before.running(event.task_id).but(dispatch=None, progress=None),
                status,
                event.fault,
                event.finished,
            )
        case TaskAccepted(queued=True):
            yield row(change, event.task, "queued", None, None)
        case _:
            task = now.running(event.task_id)
            if task is not None:
                status = "running" if task.direction is Direction.FORWARD else "undoing"
                if task.cancelled_by and status == "running":
                    status = "cancelling"
                yield row(change, task, status, task.fault, None)


def row(change: Change, task: Task, status: str, fault: Fault | None, finished: datetime | None) -> Row:
    """Return a task's row, with this status."""
    step = task.dispatch.started or task.current_step if task.dispatch else ""
    instance_id = change.key.id if change.key.kind == "instance" else ""
    doc = {
        "id": task.id,
        "action": task.action,
        "status": status,
        "step": step,
        "steps_done": task.done,
        "steps": [planned.name for planned in task.plan.steps],
        "instance_id": instance_id,
        "instance_name": change.after.name if instance_id else "",
        "subject": str(change.key),
        "subject_name": change.after.name,
        "beside": task.beside,
        "params": task.params,
        "actor": task.actor,
        "project_id": task.project,
        "correlation_id": change.envelope.correlation,
        "progress": task.progress.model_dump(exclude={"at"}) if task.progress else None,
        "attempt": task.dispatch.attempt if task.dispatch else 0,
        "deadline": task.dispatch.deadline if task.dispatch else None,
        "fault": faults.document(fault, change.key.kind, change.after),
        "undo_fault": faults.document(task.undo_fault, change.key.kind, change.after),
        "cancelled_by": task.cancelled_by,
        "accepted": task.accepted,
        "finished": finished,
        "version": change.version,
    }
    return Row(
        id=task.id,
        version=change.version,
        created=task.accepted,
        columns={
            "project": task.project,
            "action": task.action,
            "status": status,
            "instance_id": instance_id,
            "subject": str(change.key),
            "correlation": change.envelope.correlation,
        },
        doc=doc,
    )


TASKS = View(
    name="tasks",
    kinds=WITH_TASKS,
    rows=rows,
    about=about,
    columns=(
        ViewColumn("project", indexed=True),
        ViewColumn("action"),
        ViewColumn("status", indexed=True),
        ViewColumn("instance_id", indexed=True),
        ViewColumn("subject", indexed=True, otherwise=""),
        ViewColumn("correlation", indexed=True),
    ),
)
