"""The answers to commands: verdicts for users, and results for the tasks of other aggregates."""

from typing import Any

from domain.aggregates import AGGREGATES
from domain.core.errors import Refusal
from domain.core.messages import Command, Envelope, Event, Key, Message, Outcome, Outgoing
from domain.parking import AggregateReleased
from domain.tasks.events import CommandRefused, CommandSatisfied
from domain.tasks.messages import JobError, JobResult, Reply


def reply_of(envelope: Envelope) -> Reply | None:
    """Return whom a command's result is for, where another aggregate's task sent the command; else None."""
    return getattr(envelope.data, "reply", None)


def task_of(cause: Envelope) -> str:
    """Return the id of the task that a record is of: the task that waits for its answer, the task that it names, or the
    task that a command becomes if it is accepted."""
    reply = reply_of(cause)
    if reply is not None:
        return reply.task_id
    return getattr(cause.data, "task_id", "") or (cause.id if isinstance(cause.data, Command) else "")


def already_message(command: Message, subject: Key, state: Any) -> str:
    """Return the sentence for a user whose command changed nothing, as "instance web is active already"."""
    name = getattr(state, "name", "") or subject.id
    actions = AGGREGATES[subject.kind].actions.values()
    action = next((each for each in actions if isinstance(command, each.command)), None)
    if action is not None and state.current_status in action.already:
        return f"{subject.kind} {name} {action.says_already or f'is {state.current_status} already'}"
    return f"{subject.kind} {name} is as requested already; nothing was changed"


def verdict_of(event: Event) -> str | None:
    """Return the verdict that this event gives on a command, or None."""
    if isinstance(event, CommandRefused):
        return "refused"
    if isinstance(event, AggregateReleased):
        return "accepted"
    return "already" if isinstance(event, CommandSatisfied) else None


def verdict_labels(envelope: Envelope, outcome: Outcome) -> tuple[str, str, str]:
    """Return a command's type, its verdict, and the code of the refusal, as labels of a metric."""
    for _, event in outcome.notices:
        if isinstance(event, CommandRefused):
            return envelope.data.type_name, "refused", event.code
    return envelope.data.type_name, "accepted" if outcome.events else "already", ""


def refused_job(envelope: Envelope, refusal: Refusal) -> list[Outgoing]:
    """Return the answer to the task that sent a refused command, or nothing where a user sent it."""
    reply = reply_of(envelope)
    if reply is None:
        return []
    details = {
        name: value for name, value in refusal.values.items() if isinstance(value, (str, int, float, list, dict))
    }
    error = JobError(code=refusal.code, message=str(refusal), ran=False, details=details)
    result = JobResult(job_id=reply.job_id, name=envelope.data.type_name, error=error)
    return [reply.answer(result)]
