"""Decisions of a volume on a command, a result or a deadline: events, or a refusal. Pure, as every decider."""

from domain.core.errors import AlreadyExists, InUse, VolumeElsewhere, WrongStatus
from domain.core.messages import Decision, Envelope, Outgoing
from domain.core.names import must_be_name
from domain.guest_spec import AttachedVolume
from domain.jobs.volume import (
    ReleaseFromInstance,
    ReleaseVolume,
    ReserveForInstance,
    ReserveVolume,
    VolumeGranted,
    VolumeReturned,
)
from domain.tasks.action import TaskRules
from domain.tasks.decide import accept, act, alive, concerns_tasks, decision_of
from domain.tasks.draft import Draft
from domain.volume.actions import ACTIONS, CREATE, CreateVolume, DeleteVolume, ExtendVolume, UpdateVolume, VolumeCommand
from domain.volume.state import (
    Volume,
    VolumeCreated,
    VolumeHostRenewed,
    VolumeReleased,
    VolumeReserved,
    VolumeStatus,
    VolumeUpdated,
    evolve,
)

RULES = TaskRules(
    kind="volume",
    actions=ACTIONS,
    evolve=evolve,
    error=VolumeStatus.ERROR,
    gone=frozenset({VolumeStatus.DELETED}),
    renewed=lambda draft, host_id, epoch: draft.emit(VolumeHostRenewed(host_id=host_id, epoch=epoch)),
)


def decide(now: Volume | None, envelope: Envelope) -> Decision:
    """Return the events and messages that follow from this record. No events: the command asks for nothing new, or the
    record is outdated.

    Raises a Refusal where the volume cannot do what is asked.
    """
    draft = Draft(envelope.subject.id, now, evolve)
    answers: list[Outgoing] = []
    match envelope.data:
        case CreateVolume() as command:
            _create(draft, command, envelope)
        case UpdateVolume() as command:
            alive(draft, RULES)
            _update(draft, command, envelope)
        case DeleteVolume() if now is not None and now.instance_id:
            raise _in_use(now)
        case ExtendVolume(size=size) if alive(draft, RULES).size == size and not draft.now.tasks:
            pass
        case VolumeCommand() as command:
            act(draft, RULES, command, envelope)
        case ReserveForInstance() as command:
            answers.append(_reserve(draft, command, envelope))
        case ReleaseFromInstance() as command:
            answers.append(_release(draft, command, envelope))
        case other:
            if not concerns_tasks(draft, RULES, envelope):
                raise TypeError(f"{other.type_name} is nothing a volume decides")
    decision = decision_of(draft, envelope, RULES)
    decision.outgoing += answers
    return decision


def _create(draft: Draft[Volume], command: CreateVolume, envelope: Envelope) -> None:
    if draft.after is not None:
        raise AlreadyExists(kind="volume", id=draft.id)
    must_be_name(command.name)
    created = VolumeCreated(
        project=envelope.project,
        name=command.name,
        description=command.description,
        size=command.size,
        cell=command.cell,
        wanted_host=command.host,
        pool_id=command.pool,
        created=envelope.time,
    )
    draft.emit(created)
    accept(draft, RULES, CREATE, command, envelope)


def _update(draft: Draft[Volume], command: UpdateVolume, envelope: Envelope) -> None:
    volume = draft.now
    changed = {
        name: value
        for name in UpdateVolume.model_fields
        if (value := getattr(command, name)) is not None and value != getattr(volume, name)
    }
    if "name" in changed:
        must_be_name(changed["name"])
    if changed:
        draft.emit(VolumeUpdated(at=envelope.time, **changed))


def _reserve(draft: Draft[Volume], command: ReserveForInstance, envelope: Envelope) -> Outgoing:
    volume = alive(draft, RULES)
    if volume.instance_id != command.instance_id:
        _require_free(volume, command.host_id)
        draft.emit(VolumeReserved(instance_id=command.instance_id, at=envelope.time))
    attached = AttachedVolume(id=volume.id, name=volume.name, size=volume.size, pool_id=volume.pool_id)
    granted = VolumeGranted(volume=attached)
    return command.reply.done(ReserveVolume.__name__, granted)


def _in_use(volume: Volume) -> InUse:
    hint = f"gs instance show {volume.instance_id} shows it, also while it is soft-deleted."
    return InUse(kind="Volume", id=volume.id, user=f"instance {volume.instance_id}", hint=hint)


def _require_free(volume: Volume, host_id: str) -> None:
    """Raise the Refusal that says why an instance on this host cannot have the volume."""
    if volume.instance_id:
        raise _in_use(volume)
    if volume.tasks or volume.became is not VolumeStatus.AVAILABLE:
        running = ACTIONS.get(volume.task.action) if volume.task else None
        raise WrongStatus(
            kind="Volume",
            id=volume.id,
            status=running.during if running else volume.became,
            action="attach-volume",
            allowed=VolumeStatus.AVAILABLE,
        )
    if not volume.pool_id and (volume.host is None or volume.host.id != host_id):
        raise VolumeElsewhere(id=volume.id, host=volume.host.name if volume.host else "")


def _release(draft: Draft[Volume], command: ReleaseFromInstance, envelope: Envelope) -> Outgoing:
    """A volume that is gone, or another's by now, is released as well."""
    if draft.after is not None and draft.after.instance_id == command.instance_id:
        draft.emit(VolumeReleased(instance_id=command.instance_id, at=envelope.time))
    return command.reply.done(ReleaseVolume.__name__, VolumeReturned(volume_id=draft.id))
