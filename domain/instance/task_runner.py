"""How a task moves: sent, answered, late, failed, undone, ended.

Every function takes a draft and the record's time, emits facts, and leaves the task either with something on its
way (which has a deadline) or ended. There is no third way, so nothing is ever stuck.
"""

from datetime import datetime, timedelta

from domain.core.errors import NoValidHost
from domain.core.messages import Behalf, derived_id
from domain.instance.action import Action, InstanceCommand
from domain.instance.actions import ACTIONS
from domain.instance.draft import Draft
from domain.instance.events import InstanceCellChanged, InstanceHostRenewed
from domain.instance.state import Instance, VmState
from domain.tasks.events import (
    StepFailed,
    StepsDispatched,
    StepsFinished,
    TaskFailed,
    TaskFinished,
    TaskPlanned,
)
from domain.tasks.flow import (
    STALE_ATTEMPTS,
    Direction,
    Dispatch,
    Fault,
    Task,
    attempts,
    calls,
    deadline_seconds,
    next_steps,
    undo_order,
)
from domain.tasks.jobs import JobError, JobResult, JobsAnswered, Place


def new_task(
    task_id: str, action: Action, command: InstanceCommand, instance: Instance, behalf: Behalf, at: datetime
) -> Task:
    """The task that carries this command out on the instance as it is now."""
    return Task(
        id=task_id,
        action=action.name,
        actor=behalf.actor,
        project=behalf.project,
        correlation=behalf.correlation,
        accepted=at,
        plan=action.flow.plan(instance),
        ends=action.end_status(instance),
        fails=action.fails or instance.vm_state,
        cancellable=action.cancellable,
        params=command.model_dump() if action.passes else {},
    )


def advance(draft: Draft, at: datetime, attempt: int = 1) -> None:
    """Send what is next, or end the task; then the queued one has its turn."""
    task = draft.now.task
    if task is None:
        return
    if task.direction is Direction.FORWARD and task.cancelled_by:
        draft.emit(
            StepFailed(
                task_id=task.id,
                direction=Direction.FORWARD,
                step=min(task.done, len(task.plan.steps) - 1),
                fault=_cancelled(task),
                to_undo=undo_order(task, task.done - 1),
            )
        )
        task = draft.now.task
        assert task is not None
    steps = next_steps(task)
    if steps:
        _dispatch(draft, task, steps, attempt, at)
        return
    if task.direction is Direction.FORWARD:
        draft.emit(TaskFinished(task_id=task.id, action=task.action, vm_state=task.ends, finished=at))
    else:
        assert task.fault is not None
        draft.emit(
            TaskFailed(
                task_id=task.id,
                action=task.action,
                vm_state=VmState.ERROR if task.undo_fault else task.fails,
                fault=task.fault,
                undo_fault=task.undo_fault,
                cancelled=task.fault.code == "cancelled",
                finished=at,
            )
        )
    begin_queued(draft, at)


def begin_queued(draft: Draft, at: datetime) -> None:
    """The task that waited begins, planned for how things are now."""
    waiting = draft.now.queued
    if waiting is None:
        return
    action = ACTIONS[waiting.action]
    command = action.command.model_validate(waiting.params)
    behalf = Behalf(waiting.correlation, waiting.actor, waiting.project)
    planned = new_task(waiting.id, action, command, draft.now, behalf, at)
    planned = planned.but(accepted=waiting.accepted)
    if draft.now.vm_state in action.already:
        # Undoing the other task led to just what is asked for.
        draft.emit(TaskPlanned(task_id=planned.id, task=planned.but(plan=planned.plan.but(steps=()))))
    else:
        draft.emit(TaskPlanned(task_id=planned.id, task=planned))
        action.accepted(draft, command, at)
    advance(draft, at)


def answered(draft: Draft, answer: JobsAnswered, at: datetime) -> None:
    """Take the results of a dispatch. One that is not on its way any more is ignored: its task went on without it."""
    task = draft.now.task
    if task is None or task.id != answer.task_id or task.dispatch is None:
        return
    dispatch = task.dispatch
    expected = calls(task, dispatch.steps, dispatch.direction)
    good: list[JobResult] = []
    failed: JobResult | None = None
    for call, result in zip(expected, answer.results, strict=False):
        if call.job_id != result.job_id:
            return
        if result.error is not None:
            if call.name == Place.__name__ and answer.dispatch_id != dispatch.id:
                # It was sent again since: until that is answered, the cell may yet find a host.
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
                jobs=tuple(result.name for result in good),
                facts=tuple(fact for result in good for fact in result.facts),
            )
        )
    if failed is not None and failed.error is not None:
        _failed(draft, dispatch, len(good), failed.name, failed.error, at)
    elif good:
        advance(draft, at)


def deadline_passed(draft: Draft, due_id: str, at: datetime) -> None:
    """What was on its way was not answered in time: it is tried again, or given up."""
    task = draft.now.task
    if task is None or task.dispatch is None or task.dispatch.id != due_id:
        return
    name = task.current_step
    error = JobError(code="deadline-passed", message=f"{name} was not answered in time.")
    # Whoever did not answer may have done all of it.
    _failed(draft, task.dispatch, 0, name, error, at, last=task.dispatch.steps[-1])


def _failed(
    draft: Draft, dispatch: Dispatch, finished: int, name: str, error: JobError, at: datetime, last: int | None = None
) -> None:
    """A step failed. `last`: the last that may have run; else this one, if it did."""
    task = draft.now.task
    assert task is not None
    attempt = dispatch.attempt + 1 if finished == 0 else 2
    index = dispatch.steps[finished]
    job = calls(task, (index,), dispatch.direction)
    most = attempts(job)
    if job[0].name == Place.__name__:
        most += draft.now.cells_before
        if error.code == NoValidHost.code and not task.cancelled_by:
            if draft.now.next_cell:
                draft.emit(InstanceCellChanged(cell=draft.now.next_cell, before=draft.now.cell, why=error.message))
                advance(draft, at, attempt)
                return
            error = _nowhere(draft.now, error)
    if error.code == "stale-epoch" and draft.now.host is not None:
        epoch = int(error.details.get("epoch", 0))
        if epoch > draft.now.host.epoch:
            draft.emit(InstanceHostRenewed(host_id=draft.now.host.id, epoch=epoch))
            most = STALE_ATTEMPTS
    again = attempt <= most and error.ran
    if again and not (task.cancelled_by and dispatch.direction is Direction.FORWARD):
        advance(draft, at, attempt)
        return
    fault = Fault(code=error.code, message=error.message, step=name, details=error.details)
    if task.cancelled_by and dispatch.direction is Direction.FORWARD:
        fault = _cancelled(task)
    if dispatch.direction is Direction.FORWARD:
        to_undo = undo_order(task, last if last is not None else index if error.ran else index - 1)
    else:
        # What cannot be undone is still there, and holds what it stands on: host, addresses and claim stay the
        # instance's, and deleting it begins with them.
        to_undo = ()
    draft.emit(StepFailed(task_id=task.id, direction=dispatch.direction, step=index, fault=fault, to_undo=to_undo))
    advance(draft, at)


def _nowhere(instance: Instance, error: JobError) -> JobError:
    """The last cell's refusal, which does not speak of the others."""
    if not instance.cells_before:
        return error
    others = ", ".join(instance.cells[: instance.cells_before])
    return error.but(message=f"{error.message} That is cell {instance.cell}; {others} had none before it.")


def _cancelled(task: Task) -> Fault:
    return Fault(code="cancelled", message=f"The task was cancelled by {task.cancelled_by}.", step=task.current_step)


def _dispatch(draft: Draft, task: Task, steps: tuple[int, ...], attempt: int, at: datetime) -> None:
    jobs = calls(task, steps, task.direction)
    draft.emit(
        StepsDispatched(
            task_id=task.id,
            dispatch=Dispatch(
                id=derived_id(task.id, task.direction, steps[0], attempt),
                direction=task.direction,
                steps=steps,
                attempt=attempt,
                sent=at,
                deadline=at + timedelta(seconds=deadline_seconds(jobs)),
            ),
            jobs=tuple(job.name for job in jobs),
        )
    )
