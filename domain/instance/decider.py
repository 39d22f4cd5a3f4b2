"""Decisions of an instance on a command, a result, a deadline or a report: events, or a refusal.

Pure: the time is the record's, everything chosen elsewhere comes in a message, and the same call gives the same
answer for ever.
"""

from datetime import datetime

from domain.core.errors import AlreadyExists
from domain.core.messages import Behalf, Decision, Envelope, Event, Outgoing
from domain.core.names import must_be_name
from domain.host.reports import GuestObserved
from domain.instance import telling
from domain.instance.action import InstanceCommand
from domain.instance.actions import ACTIONS
from domain.instance.actions.lifecycle.boot import BOOT, BootInstance
from domain.instance.actions.lifecycle.delete import HardDeleteInstance
from domain.instance.actions.lifecycle.shelve import OffloadInstance, ShelveInstance
from domain.instance.actions.lifecycle.update import UpdateInstance
from domain.instance.actions.placement.undecided import ConfirmResize, verb_of
from domain.instance.events import (
    InstanceCloned,
    InstanceCreated,
    InstancePowerChanged,
    InstanceSecondPowerChanged,
    InstanceUpdated,
    InstanceVolumeExtended,
)
from domain.instance.evolve import evolve
from domain.instance.image_needs import must_have_disk, must_have_memory
from domain.instance.placement import react, renewed
from domain.instance.state import Instance, VmState
from domain.instance.states import seen_as
from domain.instance.status import status
from domain.jobs.clone import BootClone, BootCloned
from domain.jobs.volume import NoteVolumeSize, TellVolumeSize
from domain.tasks.action import TaskRules
from domain.tasks.decide import accept, act, alive, changed_fields, concerns_tasks, decision_of
from domain.tasks.draft import Draft
from domain.tasks.events import DeadlinePassed
from domain.tasks.job import Where
from domain.tasks.messages import JobsAnswered


def advice(instance: Instance) -> str:
    """Return what helps an instance whose status allows no other verb; empty where none does."""
    if instance.vm_state is not VmState.RESIZED or instance.task is not None:
        return ""
    verb = verb_of(instance)
    return f"Confirm it (gs instance {verb}-confirm {instance.name}) or revert it (gs instance {verb}-revert) first."


RULES = TaskRules(
    kind="instance",
    actions=ACTIONS,
    evolve=evolve,
    error=VmState.ERROR,
    gone=frozenset({VmState.DELETED}),
    status=status,
    react=react,
    renewed=renewed,
    advice=advice,
)


def decide(now: Instance | None, envelope: Envelope) -> Decision:
    """Return the events and messages that follow from this record. No events: the command asks for nothing new, or the
    record is outdated.

    Raises a Refusal where the instance cannot do what is asked.
    """
    draft = Draft(envelope.subject.id, now, evolve)
    answers: list[Outgoing] = []
    match envelope.data:
        case BootInstance() as command:
            _boot(draft, command, envelope)
        case UpdateInstance() as command:
            if changed := changed_fields(alive(draft, RULES), command):
                draft.emit(InstanceUpdated(at=envelope.time, **changed))
        case BootCloned() as command:
            answers.append(_cloned(draft, command, envelope))
        case ShelveInstance(offload=True) if now is not None and now.vm_state is VmState.SHELVED:
            act(draft, RULES, OffloadInstance(), envelope)
        case InstanceCommand() as command:
            act(draft, RULES, command, envelope)
        case NoteVolumeSize() as command:
            answers.append(_volume_extended(draft, command, envelope))
        case GuestObserved() as observed:
            _observed(draft, observed, envelope)
        case JobsAnswered(task_id=telling.NO_TASK) as answer:
            telling.not_told(draft, answer)
        case DeadlinePassed(due_id=due_id) if now is not None and due_id == now.id:
            _due(draft, now.purge_at, HardDeleteInstance(), envelope)
        case DeadlinePassed(due_id=due_id) if now is not None and now.migration and due_id == now.migration.id:
            _due(draft, now.confirm_at, ConfirmResize(), envelope)
        case DeadlinePassed(due_id=due_id) if now is not None and now.disk_image and due_id == now.disk_image.id:
            _due(draft, now.offload_due_at, OffloadInstance(), envelope)
        case other:
            if not concerns_tasks(draft, RULES, envelope):
                raise TypeError(f"{other.type_name} is nothing an instance decides")
    _settle(draft, envelope)
    decision = decision_of(draft, envelope, RULES)
    decision.outgoing += telling.told_anew(draft, envelope) + answers
    return decision


def _cloned(draft: Draft[Instance], command: BootCloned, envelope: Envelope) -> Outgoing:
    """Boot a clone, and answer that it is being booted; one that is asked for again is booted once."""
    if draft.after is None:
        cloned = InstanceCloned(source_id=command.reply.key.id, image=command.image, at=envelope.time)
        _boot(draft, BootInstance.model_validate(command.boot), envelope, cloned)
    return command.reply.done(BootClone.__name__)


def _boot(draft: Draft[Instance], command: BootInstance, envelope: Envelope, *more: Event) -> None:
    if draft.after is not None:
        raise AlreadyExists(kind="instance", id=draft.id)
    must_be_name(command.name)
    must_have_memory(command.image, command.flavor)
    if command.root is None:
        must_have_disk(command.image, command.disk or command.image.virtual_size, "disk", command.disk)
    given = {name: getattr(command, name) for name in BootInstance.model_fields}
    draft.emit(InstanceCreated(project=envelope.project, owner=envelope.actor, created=envelope.time, **given))
    for event in more:
        draft.emit(event)
    accept(draft, RULES, BOOT, command, envelope)


def _volume_extended(draft: Draft[Instance], command: NoteVolumeSize, envelope: Envelope) -> Outgoing:
    """Note the size of a volume, and answer; an instance that is gone, or has the volume no more, notes nothing."""
    volumes = draft.after.volumes if draft.after is not None else ()
    if any(each.id == command.volume_id and each.size != command.size for each in volumes):
        draft.emit(InstanceVolumeExtended(volume_id=command.volume_id, size=command.size, at=envelope.time))
    return command.reply.done(TellVolumeSize.__name__)


def _due(draft: Draft[Instance], at: datetime | None, command: InstanceCommand, envelope: Envelope) -> None:
    """Begin what is due at a time, unless that has not come yet, or a task runs."""
    instance = draft.now
    if not instance.tasks and at is not None and envelope.time >= at:
        behalf = Behalf(envelope.correlation, envelope.actor, instance.project)
        accept(draft, RULES, RULES.action_of(command), command, envelope.on(behalf))


def _observed(draft: Draft[Instance], observed: GuestObserved, envelope: Envelope) -> None:
    instance = draft.after
    if instance is None or _host_works(instance, observed.host_id):
        return
    for where in Where:
        host, _ = instance.held(where)
        if host is None or host.id != observed.host_id or observed.epoch < host.epoch:
            continue
        if instance.power_at(where) is observed.power:
            continue
        if where is Where.THERE:
            draft.emit(InstanceSecondPowerChanged(power=observed.power, at=envelope.time))
            continue
        # What a task makes of the instance is known at its end.
        vm_state = instance.vm_state if instance.task else seen_as(instance.vm_state, observed.power)
        draft.emit(InstancePowerChanged(power=observed.power, vm_state=vm_state, at=envelope.time))


def _host_works(instance: Instance, host_id: str) -> bool:
    """Return whether that host's agent is at work on the instance: then its answer says what the power is there."""
    dispatch = instance.task.dispatch if instance.task else None
    return dispatch is not None and dispatch.host is not None and dispatch.host.id == host_id and not dispatch.held


def _settle(draft: Draft[Instance], envelope: Envelope) -> None:
    """Take up what was seen of the guest while a task ran that is over now: the agent does not say it again."""
    instance = draft.after
    if instance is not None and instance.unsettled and instance.task is None:
        vm_state = seen_as(instance.vm_state, instance.power)
        draft.emit(InstancePowerChanged(power=instance.power, vm_state=vm_state, at=envelope.time))
