"""Jobs: every step that was sent, to whom, how often, and how it ended."""

from collections.abc import Hashable, Iterable, Mapping
from functools import cache
from typing import Any

from domain.aggregates import WITH_TASKS
from domain.core.messages import Key
from domain.tasks.events import StepFailed, StepProgressed, StepsDispatched, StepsFinished, StepStarted, TaskEvent
from domain.tasks.job import JOBS, AggregateJob, HostJob
from domain.tasks.subject import TaskSubject
from domain.tasks.task import Dispatch, Progress, Task, job_id, job_name
from projections.views import faults
from projections.views.view import Change, Row, View, ViewColumn


def about(change: Change) -> Hashable | None:
    """Return the dispatch that was sent, or that ended as it was sent; for any other event, the event's own id."""
    event = change.envelope.data
    match event:
        case StepsDispatched(dispatch=dispatch):
            return None if dispatch.held else (event.task_id, dispatch.direction, dispatch.steps)
        case StepsFinished() if found := _before(change):
            dispatch = found[1]
            if event.steps == dispatch.steps:
                return event.task_id, dispatch.direction, dispatch.steps
        case StepStarted() | StepFailed() | StepProgressed():
            pass
        case _:
            return None
    return change.envelope.id


def rows(change: Change) -> Iterable[Row]:
    """Yield the rows of the jobs that the event is about."""
    event = change.envelope.data
    if isinstance(event, StepsDispatched):
        if not event.dispatch.held:
            every = dict.fromkeys(event.dispatch.steps, "dispatched")
            yield from _rows(change, change.after, change.after.running(event.task_id), event.dispatch, every)
        return
    found = _before(change)
    if found is None:
        return
    task, dispatch = found
    match event:
        case StepStarted(job=name) | StepProgressed(progress=Progress(step=name)):
            names = {job_name(task.plan, dispatch.direction, step): step for step in dispatch.steps}
            if name in names:
                yield from _rows(change, change.before, task, dispatch, {names[name]: "started"})
        case StepsFinished():
            every = dict.fromkeys(event.steps, "finished")
            yield from _rows(change, change.before, task, dispatch, every)
        case StepFailed() if event.step in dispatch.steps:
            # Undoing goes backwards, so the order of the dispatch counts.
            left = dict.fromkeys(dispatch.steps[dispatch.steps.index(event.step) + 1 :], "skipped")
            yield from _rows(change, change.before, task, dispatch, {event.step: "failed", **left}, event)


def _before(change: Change) -> tuple[Task, Dispatch] | None:
    """Return the task that the event is about, as it was before, with its dispatch; None where it had no dispatch on
    its way."""
    event = change.envelope.data
    if not isinstance(event, TaskEvent) or not isinstance(change.before, TaskSubject):
        return None
    task = change.before.running(event.task_id)
    return (task, task.dispatch) if task is not None and task.dispatch is not None and not task.dispatch.held else None


@cache
def _target(name: str) -> str:
    """Return who does a job of this name: host, aggregate or scheduler."""
    kind = JOBS[name]
    if issubclass(kind, HostJob):
        return "host"
    return "aggregate" if issubclass(kind, AggregateJob) else "scheduler"


def _rows(
    change: Change,
    subject: Any,
    task: Task,
    dispatch: Dispatch,
    statuses: Mapping[int, str],
    failed: StepFailed | None = None,
) -> Iterable[Row]:
    key: Key = change.key
    for step in dispatch.steps:
        status = statuses.get(step)
        if status is None:
            continue
        ident, name = job_id(task, dispatch.direction, step), job_name(task.plan, dispatch.direction, step)
        target = _target(name)
        host = (dispatch.host or subject.host_at(task.plan.steps[step].on)) if target == "host" else None
        fault = faults.document(failed.fault, key.kind, subject) if failed and failed.step == step else None
        ended = status in ("finished", "failed", "skipped")
        instance_id = key.id if key.kind == "instance" else ""
        doc = {
            "id": ident,
            "name": name,
            "status": status,
            "direction": dispatch.direction,
            "target": target,
            "host_id": host.id if host else "",
            "host_name": host.name if host else "",
            "task_id": task.id,
            "instance_id": instance_id,
            "subject": str(key),
            "project_id": subject.project,
            "attempt": dispatch.attempt,
            "args": task.plan.steps[step].args,
            "progress": _progress(change, name, status),
            "fault": fault,
            "dispatched": dispatch.sent,
            "deadline": dispatch.deadline,
            "finished": change.envelope.time if ended else None,
            "version": change.version,
        }
        yield Row(
            id=ident,
            version=change.version,
            created=dispatch.sent,
            columns={
                "project": subject.project,
                "task_id": task.id,
                "instance_id": instance_id,
                "host_id": doc["host_id"],
                "name": name,
                "status": status,
            },
            doc=doc,
        )


def _progress(change: Change, name: str, status: str) -> dict[str, Any] | None:
    event = change.envelope.data
    if isinstance(event, StepProgressed) and event.progress.step == name and status == "started":
        return event.progress.model_dump(exclude={"at"})
    return None


JOBS_VIEW = View(
    name="jobs",
    kinds=WITH_TASKS,
    events=frozenset({StepsDispatched, StepsFinished, StepStarted, StepProgressed, StepFailed}),
    rows=rows,
    about=about,
    columns=(
        ViewColumn("project"),
        ViewColumn("task_id", indexed=True),
        ViewColumn("instance_id", indexed=True),
        ViewColumn("host_id", indexed=True),
        ViewColumn("name"),
        ViewColumn("status"),
    ),
)
