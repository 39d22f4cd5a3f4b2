"""Progress of a task: sent, answered, late, failed, undone, ended.

Every function takes a draft and the record's time, emits facts, and leaves each task either with something on its
way (which has a deadline) or ended. There is no third way, so nothing is ever stuck.
"""

from datetime import datetime, timedelta
from typing import Any, TypeVar

from domain.core.errors import WrongStatus
from domain.core.messages import Behalf, Command, derived_id
from domain.tasks.action import Action, TaskRules
from domain.tasks.draft import Draft
from domain.tasks.events import (
    StepFailed,
    StepProgressed,
    StepsDispatched,
    StepsFinished,
    TaskFailed,
    TaskFinished,
    TaskPlanned,
)
from domain.tasks.job import JOBS, HostJob, Where
from domain.tasks.messages import JobError, JobProgressed, JobResult, JobsAnswered
from domain.tasks.subject import TaskSubject
from domain.tasks.task import (
    Direction,
    Dispatch,
    Fault,
    Progress,
    Task,
    attempts,
    calls,
    deadline_seconds,
    next_steps,
    undo_order,
)

STALE_ATTEMPTS = 5
FORWARD_ATTEMPTS = 30
"""Attempts of a step behind the pivot, where giving up would leave the work half done."""
LONGEST_PAUSE = 60.0
"""Seconds between two of these attempts, at most."""
PROGRESS_PERCENT = 5.0
PROGRESS_SECONDS = 60.0
"""Seconds after which progress is recorded, even if it is less than PROGRESS_PERCENT."""

S = TypeVar("S", bound=TaskSubject)


def new_task(task_id: str, action: Action[S], command: Command, subject: S, behalf: Behalf, at: datetime) -> Task:
    """Return the task that carries this command out on the aggregate as it is now."""
    status = subject.current_status
    return Task(
        id=task_id,
        action=action.name,
        actor=behalf.actor,
        project=behalf.project,
        correlation=behalf.correlation,
        accepted=at,
        plan=action.flow.plan(subject, command),
        ends="" if action.beside else action.end_status(subject, command),
        fails="" if action.beside else action.fails or status,
        cancellable=action.cancellable,
        beside=action.beside,
        params={} if action.creates else command.model_dump(mode="json", exclude_defaults=True),
    )


def advance(draft: Draft[S], rules: TaskRules[S], task: Task, at: datetime, attempt: int = 1) -> None:
    """Send the next steps of a task, or end it and begin the queued one."""
    if task.direction is Direction.FORWARD and task.cancelled_by and not task.past_pivot:
        draft.emit(
            StepFailed(
                task_id=task.id,
                direction=Direction.FORWARD,
                step=min(task.done, len(task.plan.steps) - 1),
                fault=_cancelled(task),
                to_undo=undo_order(task, task.done - 1),
            )
        )
        task = _running(draft, task)
    steps = next_steps(task)
    if steps:
        _dispatch(draft, task, steps, attempt, at)
        return
    action = rules.actions.get(task.action)
    if task.direction is Direction.FORWARD:
        if action is not None:
            action.finished(draft, task, at)
        draft.emit(TaskFinished(task_id=task.id, action=task.action, status=task.ends, finished=at))
    else:
        assert task.fault is not None
        if action is not None:
            action.failed(draft, task, at)
        error = "" if task.beside else (action and task.past_pivot and action.stuck) or rules.error
        draft.emit(
            TaskFailed(
                task_id=task.id,
                action=task.action,
                status=error if task.undo_fault else task.fails,
                fault=task.fault,
                undo_fault=task.undo_fault,
                cancelled=task.fault.code == "cancelled",
                finished=at,
            )
        )
    begin_queued(draft, rules, at)


def begin_queued(draft: Draft[S], rules: TaskRules[S], at: datetime) -> None:
    """Begin the queued task where no other runs, with a plan for the present state."""
    waiting = draft.now.queued
    if waiting is None or draft.now.tasks:
        return
    action = rules.actions[waiting.action]
    command = action.command.model_validate(waiting.params)
    behalf = Behalf(waiting.correlation, waiting.actor, waiting.project)
    planned = new_task(waiting.id, action, command, draft.now, behalf, at)
    planned = planned.but(accepted=waiting.accepted)
    status = draft.now.current_status
    if status in action.already:
        # Undoing the other task led to just what is asked for.
        draft.emit(TaskPlanned(task_id=planned.id, task=planned.but(plan=planned.plan.but(steps=()))))
    elif status not in action.begins or (action.needs_host and draft.now.host_at(Where.HERE) is None):
        _ended_too_soon(draft, rules, planned, at)
        return
    else:
        draft.emit(TaskPlanned(task_id=planned.id, task=planned))
        action.accepted(draft, command, at)
    advance(draft, rules, _running(draft, planned), at)


def _ended_too_soon(draft: Draft[S], rules: TaskRules[S], planned: Task, at: datetime) -> None:
    """Fail the queued task, which cannot begin from the status that the others left."""
    status = draft.now.current_status
    allowed = " or ".join(sorted(rules.actions[planned.action].begins))
    refusal = WrongStatus(
        kind=rules.kind.capitalize(), id=draft.id, status=status, action=planned.action, allowed=allowed
    )
    draft.emit(TaskPlanned(task_id=planned.id, task=planned.but(plan=planned.plan.but(steps=()))))
    fault = Fault(code=refusal.code, message=str(refusal))
    draft.emit(TaskFailed(task_id=planned.id, action=planned.action, status=status, fault=fault, finished=at))


def answered(draft: Draft[S], rules: TaskRules[S], answer: JobsAnswered, at: datetime) -> None:
    """Handle the results of a dispatch. Results of a dispatch that has been given up are ignored."""
    task = draft.now.running(answer.task_id)
    if task is None or task.dispatch is None or task.dispatch.held:
        return
    dispatch = task.dispatch
    expected = calls(task, dispatch.steps, dispatch.direction)
    good: list[JobResult] = []
    failed: JobResult | None = None
    for call, result in zip(expected, answer.results, strict=False):
        if call.job_id != result.job_id:
            return
        if result.error is not None:
            if answer.dispatch_id != dispatch.id and not issubclass(JOBS[call.name], HostJob):
                # It was sent again since: until that is answered, it may yet succeed.
                return
            failed = result
            break
        good.append(result)
    if good:
        draft.emit(
            StepsFinished(
                task_id=task.id,
                direction=dispatch.direction,
                steps=dispatch.steps[: len(good)],
                jobs=tuple(call.name for call in expected[: len(good)]),
                facts=tuple(fact for result in good for fact in result.facts),
            )
        )
    if failed is not None and failed.error is not None:
        _failed(draft, rules, _running(draft, task), dispatch, len(good), failed.error, at)
    elif good:
        advance(draft, rules, _running(draft, task), at)


def progressed(draft: Draft[S], progress: JobProgressed, at: datetime) -> None:
    """Record the progress of a long job and extend its deadline. Reports in quick succession are ignored."""
    task = draft.now.running(progress.task_id)
    if task is None or task.dispatch is None or task.dispatch.id != progress.dispatch_id:
        return
    before = task.progress
    if before is not None and before.step == progress.name:
        more = progress.percent - before.percent
        if more < PROGRESS_PERCENT and (at - before.at).total_seconds() < PROGRESS_SECONDS:
            return
    left = calls(task, task.dispatch.steps, task.dispatch.direction)
    draft.emit(
        StepProgressed(
            task_id=task.id,
            dispatch_id=task.dispatch.id,
            progress=Progress(
                step=progress.name, percent=progress.percent, done=progress.done, total=progress.total, at=at
            ),
            deadline=max(task.dispatch.deadline, at + timedelta(seconds=deadline_seconds(left))),
        )
    )


def deadline_passed(draft: Draft[S], rules: TaskRules[S], due_id: str, at: datetime) -> None:
    """Try a dispatch again that was not answered in time, or give it up."""
    task = next((each for each in draft.now.tasks if each.dispatch and each.dispatch.id == due_id), None)
    if task is None or task.dispatch is None or at < task.dispatch.deadline:
        # Progress that was decided meanwhile has moved the deadline.
        return
    if task.dispatch.held:
        _dispatch(draft, task, task.dispatch.steps, task.dispatch.attempt, at)
        return
    name = task.current_step
    error = JobError(code="deadline-passed", message=f"{name} was not answered in time.")
    # Whoever did not answer may have done all of it.
    _failed(draft, rules, task, task.dispatch, 0, error, at, last=task.dispatch.steps[-1])


def _failed(
    draft: Draft[S],
    rules: TaskRules[S],
    task: Task,
    dispatch: Dispatch,
    finished: int,
    error: JobError,
    at: datetime,
    last: int | None = None,
) -> None:
    """React to a failed step: try it again, undo, or give up. `last`: the last step that may have run; None: this one,
    if it ran."""
    attempt = dispatch.attempt + 1 if finished == 0 else 2
    index = dispatch.steps[finished]
    job = calls(task, (index,), dispatch.direction)
    forward = dispatch.direction is Direction.FORWARD
    reaction = rules.react(draft, task, job[0], error, attempts(job))
    most, error = reaction.attempts, reaction.error
    if reaction.again:
        advance(draft, rules, _running(draft, task), at, attempt)
        return
    # A dispatch of an earlier release does not say its host.
    host = dispatch.host or draft.now.host_at(task.plan.steps[index].on)
    if error.code == "stale-epoch" and host is not None:
        epoch = int(error.details.get("epoch", 0))
        if epoch > host.epoch:
            rules.renewed(draft, host.id, epoch)
            most = STALE_ATTEMPTS
    stops = bool(task.cancelled_by) and forward and not task.past_pivot
    if attempt <= most and error.ran and not stops:
        advance(draft, rules, _running(draft, task), at, attempt)
        return
    if forward and task.past_pivot and attempt <= FORWARD_ATTEMPTS:
        pause = min(2.0 ** min(attempt - most, 10), LONGEST_PAUSE)
        _dispatch(draft, task, dispatch.steps[finished:], attempt, at, pause)
        return
    fault = Fault(code=error.code, message=error.message, step=job[0].name, details=error.details)
    if stops:
        fault = _cancelled(task)
    if forward and not task.past_pivot:
        # A host that did not begin a job now may have been in the middle of it at an attempt before.
        ran = error.ran or (finished == 0 and dispatch.attempt > 1 and issubclass(JOBS[job[0].name], HostJob))
        to_undo = undo_order(task, last if last is not None else index if ran else index - 1)
        undo_fault = False
    else:
        # What cannot be undone is still there, and holds what it stands on: host, addresses and claim stay the
        # aggregate's, and deleting it begins with them.
        to_undo = ()
        undo_fault = forward
    draft.emit(StepFailed(task_id=task.id, direction=dispatch.direction, step=index, fault=fault, to_undo=to_undo))
    if undo_fault:
        draft.emit(StepFailed(task_id=task.id, direction=Direction.UNDO, step=index, fault=fault, to_undo=()))
    advance(draft, rules, _running(draft, task), at)


def _running(draft: Draft[S], task: Task) -> Task:
    now = draft.now.running(task.id)
    assert now is not None
    return now


def _cancelled(task: Task) -> Fault:
    return Fault(code="cancelled", message=f"The task was cancelled by {task.cancelled_by}.", step=task.current_step)


def _dispatch(
    draft: Draft[Any], task: Task, steps: tuple[int, ...], attempt: int, at: datetime, pause: float | None = None
) -> None:
    """Send these steps; with a pause (seconds): note that they are to be sent after it."""
    jobs = calls(task, steps, task.direction)
    of_host = issubclass(JOBS[jobs[0].name], HostJob)
    wait = deadline_seconds(jobs) if pause is None else pause
    names = (task.id, task.direction, steps[0], attempt)
    draft.emit(
        StepsDispatched(
            task_id=task.id,
            dispatch=Dispatch(
                id=derived_id(*names) if pause is None else derived_id(*names, "held"),
                direction=task.direction,
                steps=steps,
                attempt=attempt,
                sent=at,
                deadline=at + timedelta(seconds=wait),
                host=draft.now.host_at(task.plan.steps[steps[0]].on) if of_host else None,
                held=pause is not None,
            ),
            jobs=tuple(job.name for job in jobs),
        )
    )
