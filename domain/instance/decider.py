"""What an instance answers to a command, a result, a deadline or a report: facts, or a refusal.

Pure: the time is the record's, everything chosen elsewhere comes in a message, and the same call gives the same
answer for ever.
"""

from dataclasses import replace

from domain.core.errors import (
    AlreadyExists,
    NoSuchTask,
    NotFound,
    TaskRunning,
    WrongStatus,
)
from domain.core.messages import Behalf, Decision, Envelope
from domain.instance.action import Action, InstanceCommand
from domain.instance.actions import BY_COMMAND
from domain.instance.actions.lifecycle.boot import BootInstance
from domain.instance.actions.lifecycle.delete import HARD_DELETE, HardDeleteInstance
from domain.instance.actions.lifecycle.update import UpdateInstance
from domain.instance.attribution import behalf_of
from domain.instance.draft import Draft
from domain.instance.events import (
    InstanceCreated,
    InstancePowerChanged,
    InstanceUpdated,
)
from domain.instance.outbound import outgoing
from domain.instance.state import Instance, VmState
from domain.instance.status import allowed_statuses, status
from domain.instance.task_runner import advance, answered, deadline_passed, new_task
from domain.tasks.events import (
    CancelTask,
    DeadlinePassed,
    StepsDispatched,
    StepStarted,
    TaskAccepted,
    TaskCancelRequested,
)
from domain.tasks.jobs import (
    JOBS,
    GuestObserved,
    JobsAnswered,
    JobStarted,
    Place,
    Power,
    Target,
)


def decide(now: Instance | None, envelope: Envelope) -> Decision:
    """Facts and messages for this record. No facts: it is so already, or it is old news.

    Raises a Refusal where the instance cannot do what is wished.
    """
    draft = Draft(envelope.subject.id, now)
    match envelope.data:
        case BootInstance() as command:
            _boot(draft, command, envelope)
        case UpdateInstance() as command:
            _alive(draft)
            _update(draft, command, envelope)
        case CancelTask() as command:
            _alive(draft)
            _cancel(draft, command, envelope)
        case InstanceCommand() as command:
            _act(draft, command, envelope)
        case _ if now is None:
            pass
        case JobsAnswered() as answer:
            answered(draft, answer, envelope.time)
        case JobStarted() as started:
            _started(draft, started)
        case DeadlinePassed(due_id=due_id):
            _due(draft, due_id, envelope)
        case GuestObserved() as observed:
            _observed(draft, observed, envelope)
        case other:
            raise TypeError(f"{other.type_name} is nothing an instance decides")
    return _decision(draft, envelope)


def _decision(draft: Draft, envelope: Envelope) -> Decision:
    decision = Decision()
    for number, (before, event, after) in enumerate(draft.steps):
        decision.events.append(event)
        behalf = behalf_of(envelope, event, before, after)
        if behalf is not None:
            decision.behalf[number] = behalf
        if isinstance(event, StepsDispatched):
            decision.outgoing.append(replace(outgoing(after, event), behalf=behalf))
    return decision


def _alive(draft: Draft) -> Instance:
    if draft.after is None or draft.after.vm_state is VmState.DELETED:
        raise NotFound(kind="instance", id=draft.id)
    return draft.after


def _boot(draft: Draft, command: BootInstance, envelope: Envelope) -> None:
    if draft.after is not None:
        raise AlreadyExists(kind="instance", id=draft.id)
    given = {name: getattr(command, name) for name in BootInstance.model_fields}
    draft.emit(InstanceCreated(project=envelope.project, owner=envelope.actor, created=envelope.time, **given))
    _accept(draft, BY_COMMAND[BootInstance], command, envelope)


def _update(draft: Draft, command: UpdateInstance, envelope: Envelope) -> None:
    instance = draft.now
    changed = {
        name: value
        for name in UpdateInstance.model_fields
        if (value := getattr(command, name)) is not None and value != getattr(instance, name)
    }
    if changed:
        draft.emit(InstanceUpdated(at=envelope.time, **changed))


def _cancel(draft: Draft, command: CancelTask, envelope: Envelope) -> None:
    task = draft.now.task
    if task is None or task.id != command.task_id:
        raise NoSuchTask(task=command.task_id, id=draft.id)
    if not task.cancellable:
        raise WrongStatus(
            kind="Task", id=task.id, status=f"a {task.action}", action="cancel", allowed="one that can be undone"
        )
    if not task.cancelled_by:
        draft.emit(TaskCancelRequested(task_id=task.id, by=envelope.actor))


def _act(draft: Draft, command: InstanceCommand, envelope: Envelope) -> None:
    action = BY_COMMAND[type(command)]
    instance = _alive(draft)
    action.check(instance, command)
    running = instance.queued or instance.task
    if running is not None:
        may_queue = action.passes and instance.queued is None and running.cancellable
        if not may_queue or running.action == action.name:
            raise TaskRunning(
                id=instance.id, task=running.id, action=running.action, since=running.accepted.isoformat()
            )
        task = new_task(envelope.id, action, command, instance, envelope.behalf, envelope.time)
        draft.emit(TaskAccepted(task_id=task.id, task=task, queued=True))
        if not running.cancelled_by:
            draft.emit(TaskCancelRequested(task_id=running.id, by=f"{envelope.actor} ({action.name})"))
        return
    if instance.vm_state in action.already:
        return
    if instance.vm_state not in action.begins:
        raise WrongStatus(
            kind="Instance",
            id=instance.id,
            status=status(instance),
            action=action.name,
            allowed=allowed_statuses(action.begins),
        )
    if instance.host is None and _needs_host(action, instance):
        raise WrongStatus(
            kind="Instance",
            id=instance.id,
            status=f"{status(instance)} and has no host",
            action=action.name,
            allowed="on a host",
        )
    _accept(draft, action, command, envelope)


def _needs_host(action: Action, instance: Instance) -> bool:
    names = [step.name for step in action.flow.plan(instance).steps]
    return Place.__name__ not in names and any(JOBS[name].target is Target.HOST for name in names)


def _accept(draft: Draft, action: Action, command: InstanceCommand, envelope: Envelope) -> None:
    task = new_task(envelope.id, action, command, draft.now, envelope.behalf, envelope.time)
    draft.emit(TaskAccepted(task_id=task.id, task=task))
    action.accepted(draft, command, envelope.time)
    advance(draft, envelope.time)


def _started(draft: Draft, started: JobStarted) -> None:
    task = draft.now.task
    if task and task.dispatch and task.dispatch.id == started.dispatch_id and task.dispatch.started != started.name:
        draft.emit(StepStarted(task_id=task.id, dispatch_id=started.dispatch_id, job=started.name))


def _due(draft: Draft, due_id: str, envelope: Envelope) -> None:
    instance = draft.now
    if instance.task is not None:
        deadline_passed(draft, due_id, envelope.time)
    elif due_id == instance.id and instance.purge_at is not None and envelope.time >= instance.purge_at:
        behalf = Behalf(envelope.correlation, envelope.actor, instance.project)
        _accept(draft, HARD_DELETE, HardDeleteInstance(), envelope.on(behalf))


SEEN_AS = {
    (VmState.ACTIVE, Power.SHUTDOWN): VmState.STOPPED,
    (VmState.ACTIVE, Power.CRASHED): VmState.STOPPED,
    (VmState.STOPPED, Power.RUNNING): VmState.ACTIVE,
}
"""What an idle instance becomes when its guest is seen so."""


def _observed(draft: Draft, observed: GuestObserved, envelope: Envelope) -> None:
    instance = draft.now
    if instance.task is not None or instance.host is None or instance.host.id != observed.host_id:
        return
    if observed.epoch < instance.host.epoch or instance.power is observed.power:
        return
    vm_state = SEEN_AS.get((instance.vm_state, observed.power), instance.vm_state)
    draft.emit(InstancePowerChanged(power=observed.power, vm_state=vm_state, at=envelope.time))
