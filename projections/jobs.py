"""Jobs: every step that was sent, to whom, how often, and what became of it."""

from collections.abc import Hashable, Iterable, Mapping

from domain.flow import Dispatch, Task, calls
from domain.instance.state import Instance
from domain.jobs import JOBS, JobCall, Target
from domain.task import StepFailed, StepsDispatched, StepsFinished, StepStarted
from projections.view import Change, Column, Row, View


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
            names = {call.name: step for call, step in zip(_calls(task, dispatch), dispatch.steps, strict=True)}
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


def _calls(task: Task, dispatch: Dispatch) -> tuple[JobCall, ...]:
    return calls(task, dispatch.steps, dispatch.direction)


def _rows(
    change: Change,
    instance: Instance,
    task: Task,
    dispatch: Dispatch,
    statuses: Mapping[int, str],
    failed: StepFailed | None = None,
) -> Iterable[Row]:
    for step, call in zip(dispatch.steps, _calls(task, dispatch), strict=True):
        status = statuses.get(step)
        if status is None:
            continue
        target = JOBS[call.name].target
        host = instance.host if target is Target.HOST else None
        fault = failed.fault.model_dump() if failed and failed.step == step else None
        ended = status in ("finished", "failed", "skipped")
        doc = {
            "id": call.job_id,
            "name": call.name,
            "status": status,
            "direction": dispatch.direction,
            "target": target,
            "host_id": host.id if host else "",
            "host_name": host.name if host else "",
            "task_id": task.id,
            "instance_id": instance.id,
            "project_id": instance.project,
            "attempt": dispatch.attempt,
            "args": call.args,
            "fault": fault,
            "dispatched": dispatch.sent,
            "deadline": dispatch.deadline,
            "finished": change.envelope.time if ended else None,
            "version": change.version,
        }
        yield Row(
            id=call.job_id,
            version=change.version,
            created=dispatch.sent,
            columns={
                "project": instance.project,
                "task_id": task.id,
                "instance_id": instance.id,
                "host_id": doc["host_id"],
                "name": call.name,
                "status": status,
            },
            doc=doc,
        )


JOBS_VIEW = View(
    name="jobs",
    kinds=frozenset({"instance"}),
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
