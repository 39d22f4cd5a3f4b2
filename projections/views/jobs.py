"""Jobs: every step that was sent, to whom, how often, and what became of it."""

from collections.abc import Hashable, Iterable, Mapping

from domain.instance.state import Instance
from domain.tasks.events import StepFailed, StepsDispatched, StepsFinished, StepStarted
from domain.tasks.flow import Dispatch, Task, job_id, job_name
from domain.tasks.jobs import JOBS, Target
from projections.views.view import Change, Column, Row, View


def about(change: Change) -> Hashable | None:
    """A dispatch that went out, or is done as it went out; for everything else, itself."""
    event = change.envelope.data
    match event:
        case StepsDispatched(dispatch=dispatch):
            return event.task_id, dispatch.direction, dispatch.steps
        case StepsFinished() if change.before.task.dispatch:
            dispatch = change.before.task.dispatch
            if event.steps == dispatch.steps:
                return event.task_id, dispatch.direction, dispatch.steps
        case StepStarted() | StepFailed():
            pass
        case _:
            return None
    return change.envelope.id


def rows(change: Change) -> Iterable[Row]:
    """The rows of the jobs that the event is about."""
    event = change.envelope.data
    before = change.before
    match event:
        case StepsDispatched(dispatch=dispatch):
            every = dict.fromkeys(dispatch.steps, "dispatched")
            yield from _rows(change, change.after, change.after.task, dispatch, every)
        case StepStarted() if before.task.dispatch:
            task, dispatch = before.task, before.task.dispatch
            names = {job_name(task.plan, dispatch.direction, step): step for step in dispatch.steps}
            if event.job in names:
                yield from _rows(change, before, task, dispatch, {names[event.job]: "started"})
        case StepsFinished() if before.task.dispatch:
            every = dict.fromkeys(event.steps, "finished")
            yield from _rows(change, before, before.task, before.task.dispatch, every)
        case StepFailed() if before.task.dispatch:
            dispatch = before.task.dispatch
            # Undoing goes backwards, so the order of the dispatch counts.
            left = dict.fromkeys(dispatch.steps[dispatch.steps.index(event.step) + 1 :], "skipped")
            yield from _rows(change, before, before.task, dispatch, {event.step: "failed", **left}, event)


def _rows(
    change: Change,
    instance: Instance,
    task: Task,
    dispatch: Dispatch,
    statuses: Mapping[int, str],
    failed: StepFailed | None = None,
) -> Iterable[Row]:
    for step in dispatch.steps:
        status = statuses.get(step)
        if status is None:
            continue
        ident, name = job_id(task, dispatch.direction, step), job_name(task.plan, dispatch.direction, step)
        target = JOBS[name].target
        host = instance.host if target is Target.HOST else None
        fault = failed.fault.model_dump() if failed and failed.step == step else None
        ended = status in ("finished", "failed", "skipped")
        doc = {
            "id": ident,
            "name": name,
            "status": status,
            "direction": dispatch.direction,
            "target": target,
            "host_id": host.id if host else "",
            "host_name": host.name if host else "",
            "task_id": task.id,
            "instance_id": instance.id,
            "project_id": instance.project,
            "attempt": dispatch.attempt,
            "args": task.plan.steps[step].args,
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
                "project": instance.project,
                "task_id": task.id,
                "instance_id": instance.id,
                "host_id": doc["host_id"],
                "name": name,
                "status": status,
            },
            doc=doc,
        )


JOBS_VIEW = View(
    name="jobs",
    kinds=frozenset({"instance"}),
    events=frozenset({StepsDispatched, StepsFinished, StepStarted, StepFailed}),
    rows=rows,
    about=about,
    columns=(
        Column("project"),
        Column("task_id", indexed=True),
        Column("instance_id", indexed=True),
        Column("host_id", indexed=True),
        Column("name"),
        Column("status"),
    ),
)
