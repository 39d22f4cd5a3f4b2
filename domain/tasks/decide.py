"""Decisions that all aggregates with tasks share: which verb may begin, what a cancel does, and the effects of answers,
reports and deadlines. What is special about a kind is in its action table and its own decider."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar

from domain.core.errors import NeverRan, NoSuchTask, NotFound, TaskRunning, WrongStatus, deleted_at
from domain.core.messages import Command, Decision, Envelope
from domain.core.names import must_be_name
from domain.tasks.action import Action, TaskRules
from domain.tasks.attribution import behalf_of
from domain.tasks.draft import Draft
from domain.tasks.events import (
    CancelTask,
    DeadlinePassed,
    StepStarted,
    TaskAccepted,
    TaskCancelRequested,
)
from domain.tasks.job import Where
from domain.tasks.messages import JobProgressed, JobsAnswered, JobStarted
from domain.tasks.outbound import outgoing
from domain.tasks.subject import TaskSubject
from domain.tasks.walk import advance, answered, deadline_passed, new_task, progressed

MOST_BESIDE = 4
"""How many tasks may run beside an aggregate's own work."""

S = TypeVar("S", bound=TaskSubject)


def decision_of(draft: Draft[S], envelope: Envelope, rules: TaskRules[S]) -> Decision:
    """Return the draft's events with their attribution, and the messages that follow from them."""
    decision = Decision()
    for number, (before, event, after) in enumerate(draft.steps):
        decision.events.append(event)
        behalf = behalf_of(envelope, event, before, after)
        if behalf is not None:
            decision.behalf[number] = behalf
        message = outgoing(rules.kind, after, event)
        if message is not None:
            decision.outgoing.append(replace(message, behalf=behalf) if behalf else message)
    return decision


def alive(draft: Draft[S], rules: TaskRules[S]) -> S:
    """Return the aggregate. Raises NotFound where it does not exist, or no more."""
    if draft.after is None or draft.after.current_status in rules.gone:
        raise NotFound(kind=rules.kind, id=draft.id, hint=deleted_at(getattr(draft.after, "deleted", None)))
    return draft.after


def changed_fields(subject: TaskSubject, command: Command) -> dict[str, Any]:
    """Return what an update changes: the fields of the command that are said, and differ.

    Raises Invalid for what cannot be a name.
    """
    said = {name: getattr(command, name) for name in type(command).model_fields}
    changed = {name: value for name, value in said.items() if value is not None and value != getattr(subject, name)}
    if "name" in changed:
        must_be_name(changed["name"])
    return changed


def must_be_idle(subject: TaskSubject, rules: TaskRules[Any], became: str, free: str, action: str) -> None:
    """Raise WrongStatus unless no task of the aggregate runs, and it `became` what it has to be: `free`."""
    if subject.tasks or became != free:
        running = rules.actions.get(subject.task.action) if subject.task else None
        status = running.during if running else became
        raise WrongStatus(kind=rules.kind.capitalize(), id=subject.id, status=status, action=action, allowed=free)


def concerns_tasks(draft: Draft[S], rules: TaskRules[S], envelope: Envelope) -> bool:
    """Handle a record that concerns running tasks alone; return False for any other. Raises a Refusal."""
    match envelope.data:
        case CancelTask() as command:
            alive(draft, rules)
            _cancel(draft, rules, command, envelope)
        case JobsAnswered() as answer if draft.after is not None:
            answered(draft, rules, answer, envelope.time)
        case JobStarted() as started if draft.after is not None:
            _started(draft, started)
        case JobProgressed() as progress if draft.after is not None:
            progressed(draft, progress, envelope.time)
        case DeadlinePassed(due_id=due_id) if draft.after is not None:
            deadline_passed(draft, rules, due_id, envelope.time)
        case JobsAnswered() | JobStarted() | JobProgressed() | DeadlinePassed():
            pass
        case _:
            return False
    return True


def act(draft: Draft[S], rules: TaskRules[S], command: Command, envelope: Envelope) -> None:
    """Begin the verb of a command, or queue it. Raises a Refusal."""
    action = rules.action_of(command)
    subject = alive(draft, rules)
    if _waits(draft, rules, action, command, envelope):
        return
    status = subject.current_status
    if action.needs_host and status == rules.error and (subject.never_made or subject.host_at(Where.HERE) is None):
        raise NeverRan(kind=rules.kind.capitalize(), id=subject.id, action=action.name)
    if status not in action.begins | action.already:
        _wrong_status(subject, rules, action, rules.status(subject), allowed_statuses(action.begins))
    action.check(subject, command)
    if status in action.already:
        return
    if action.needs_host and subject.host_at(Where.HERE) is None:
        _wrong_status(subject, rules, action, f"{rules.status(subject)} and has no host", "on a host")
    accept(draft, rules, action, command, envelope)


def accept(draft: Draft[S], rules: TaskRules[S], action: Action[S], command: Command, envelope: Envelope) -> None:
    """Make an acceptable command a task, and send its first steps."""
    task = new_task(envelope.id, action, command, draft.now, envelope.behalf, envelope.time)
    draft.emit(TaskAccepted(task_id=task.id, task=task))
    action.accepted(draft, command, envelope.time)
    running = draft.now.running(task.id)
    assert running is not None
    advance(draft, rules, running, envelope.time)


def allowed_statuses(states: Iterable[str]) -> str:
    """Return the statuses as people write them: "active, error or stopped"."""
    names = sorted(states)
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _waits(draft: Draft[S], rules: TaskRules[S], action: Action[S], command: Command, envelope: Envelope) -> bool:
    """Queue the command if it has to wait for a running task, and return whether it has. Raises TaskRunning where it
    may not wait."""
    subject = draft.now
    in_the_way = _in_the_way(subject, action)
    if in_the_way is None:
        return False
    may_queue = action.passes and subject.queued is None and all(each.cancellable for each in subject.tasks)
    if not may_queue or in_the_way.action == action.name:
        raise TaskRunning(
            kind=rules.kind.capitalize(),
            id=subject.id,
            task=in_the_way.id,
            action=in_the_way.action,
            since=in_the_way.accepted.isoformat(),
        )
    action.check(subject, command)
    task = new_task(envelope.id, action, command, subject, envelope.behalf, envelope.time)
    draft.emit(TaskAccepted(task_id=task.id, task=task, queued=True))
    for running in subject.tasks:
        if not running.cancelled_by and not running.past_pivot:
            draft.emit(TaskCancelRequested(task_id=running.id, by=f"{envelope.actor} ({action.name})"))
    return True


def _in_the_way(subject: TaskSubject, action: Action[Any]) -> Any:
    """Return the task that has to end before the action begins, or None."""
    if subject.queued is not None or subject.task is not None:
        return subject.queued or subject.task
    others = list(subject.beside.values())
    if action.passes or action.alone:
        return others[0] if others else None
    if action.beside:
        same = [each for each in others if each.action == action.name]
        return same[0] if same else others[0] if len(others) >= MOST_BESIDE else None
    return None


def _wrong_status(subject: S, rules: TaskRules[S], action: Action[Any], status: str, allowed: str) -> None:
    raise WrongStatus(
        kind=rules.kind.capitalize(),
        id=subject.id,
        status=status,
        action=action.name,
        allowed=allowed,
        hint=rules.advice(subject),
    )


def _cancel(draft: Draft[S], rules: TaskRules[S], command: CancelTask, envelope: Envelope) -> None:
    task = draft.now.running(command.task_id)
    if task is None:
        raise NoSuchTask(task=command.task_id, id=draft.id)
    if not task.cancellable or task.past_pivot:
        raise WrongStatus(
            kind="Task", id=task.id, status=f"a {task.action}", action="cancel", allowed="one that can be undone"
        )
    if not task.cancelled_by:
        draft.emit(TaskCancelRequested(task_id=task.id, by=envelope.actor))


def _started(draft: Draft[S], started: JobStarted) -> None:
    task = draft.now.running(started.task_id)
    if task and task.dispatch and task.dispatch.id == started.dispatch_id and task.dispatch.started != started.name:
        draft.emit(StepStarted(task_id=task.id, dispatch_id=started.dispatch_id, job=started.name))
