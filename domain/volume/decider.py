"""Decisions of a volume on a command, a result or a deadline: events, or a refusal. Pure, as every decider."""

from contextlib import suppress

from domain.core.errors import AlreadyExists, InUse, Invalid, Refusal, TooManySnapshots, VolumeElsewhere
from domain.core.messages import Decision, Envelope, Outgoing
from domain.core.names import must_be_name
from domain.core.text import in_units
from domain.disk_source import VolumeSource
from domain.guest_spec import AttachedVolume
from domain.jobs.copy import ReleaseFromCopy, ReserveForCopy
from domain.jobs.volume import (
    AddSnapshot,
    DiscardForInstance,
    DiscardVolume,
    DropSnapshot,
    MakeForInstance,
    MakeVolume,
    NoteSnapshot,
    ReleaseFromInstance,
    ReleaseVolume,
    RemoveSnapshot,
    ReserveForInstance,
    ReserveVolume,
    VolumeGranted,
    VolumeReturned,
)
from domain.tasks.action import TaskRules
from domain.tasks.decide import accept, act, alive, changed_fields, concerns_tasks, decision_of, must_be_idle
from domain.tasks.draft import Draft
from domain.tasks.events import TaskFailed
from domain.tasks.messages import JobError, JobResult
from domain.volume.actions import (
    ACTIONS,
    CREATE,
    CreateVolume,
    DeleteVolume,
    ExtendVolume,
    UpdateVolume,
    VolumeCommand,
    image_of,
    sources,
)
from domain.volume.copies import must_not_be_copied, release, reserve
from domain.volume.state import (
    Volume,
    VolumeCreated,
    VolumeHostRenewed,
    VolumeReleased,
    VolumeReserved,
    VolumeSnapshotAdded,
    VolumeSnapshotRemoved,
    VolumeStatus,
    VolumeUpdated,
    evolve,
)

MOST_SNAPSHOTS = 64
"""Snapshots that a volume can have."""

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
            if changed := changed_fields(alive(draft, RULES), command):
                draft.emit(VolumeUpdated(at=envelope.time, **changed))
        case DeleteVolume() as command:
            _require_needless(alive(draft, RULES))
            act(draft, RULES, command, envelope)
        case ExtendVolume(size=size) if alive(draft, RULES).size == size and not draft.now.tasks:
            pass
        case VolumeCommand() as command:
            must_not_be_copied(alive(draft, RULES), RULES.kind)
            act(draft, RULES, command, envelope)
        case ReserveForCopy() as command:
            answers.append(reserve(draft, RULES, command, envelope, _require_idle))
        case ReleaseFromCopy() as command:
            answers.append(release(draft, command, envelope))
        case MakeForInstance() as command:
            answers += _make(draft, command, envelope)
        case DiscardForInstance() as command:
            answers.append(_discard(draft, command, envelope))
        case NoteSnapshot() as command:
            answers.append(_snapshot_added(draft, command, envelope))
        case DropSnapshot() as command:
            answers.append(_snapshot_removed(draft, command, envelope))
        case ReserveForInstance() as command:
            answers.append(_reserve(draft, command, envelope))
        case ReleaseFromInstance() as command:
            answers.append(_release(draft, command, envelope))
        case other:
            if not concerns_tasks(draft, RULES, envelope):
                raise TypeError(f"{other.type_name} is nothing a volume decides")
    answers += _owed(draft)
    decision = decision_of(draft, envelope, RULES)
    decision.outgoing += answers
    return decision


def _create(draft: Draft[Volume], command: CreateVolume, envelope: Envelope) -> None:
    if draft.after is not None:
        raise AlreadyExists(kind="volume", id=draft.id)
    must_be_name(command.name)
    source = _only_source(command)
    created = VolumeCreated(
        project=envelope.project,
        name=command.name,
        description=command.description,
        size=_size(command.size, source),
        cell=command.cell,
        wanted_host=command.host,
        pool_id=command.pool,
        source=source,
        image=image_of(command),
        created=envelope.time,
    )
    draft.emit(created)
    accept(draft, RULES, CREATE, command, envelope)


def _only_source(command: CreateVolume) -> VolumeSource | None:
    """Return what the volume is to be a copy of, or None. Raises Invalid where several things are named."""
    found = sources(command)
    if len(found) > 1:
        _, second, *_ = found
        raise Invalid(
            field=second, value=found[second].name, allowed=f"a copy is of one thing: {' or '.join(found)}, not both"
        )
    return next(iter(found.values()), None)


def _size(size: int | None, source: VolumeSource | None) -> int:
    """Return the size of a new volume. Raises Invalid for one that has no room for its source, or that is not said."""
    if source is None:
        if size is None:
            raise Invalid(field="size", value="missing", allowed="an empty volume needs one")
        return size
    if size is not None and size < source.size:
        needs = f"{source.kind} {source.name} needs {in_units(source.size)} at least"
        raise Invalid(field="size", value=in_units(size), allowed=needs)
    return size or source.size


def _reserve(draft: Draft[Volume], command: ReserveForInstance, envelope: Envelope) -> Outgoing:
    volume = alive(draft, RULES)
    if volume.instance_id != command.instance_id:
        _require_free(volume, command.host_id)
        draft.emit(VolumeReserved(instance_id=command.instance_id, at=envelope.time))
    return command.reply.done(ReserveVolume.__name__, _granted(volume, command.read_only))


def _granted(volume: Volume, read_only: bool = False) -> VolumeGranted:
    attached = AttachedVolume(
        id=volume.id, name=volume.name, size=volume.size, read_only=read_only, pool_id=volume.pool_id
    )
    return VolumeGranted(volume=attached)


def _make(draft: Draft[Volume], command: MakeForInstance, envelope: Envelope) -> list[Outgoing]:
    """Begin to make the volume for an instance, whose answer follows at the end; one that is made is granted now."""
    if draft.after is not None:
        volume = alive(draft, RULES)
        if volume.instance_id != command.instance_id or volume.became is VolumeStatus.ERROR:
            raise AlreadyExists(kind="volume", id=draft.id)
        return [] if volume.answer_to else [command.reply.done(MakeVolume.__name__, _granted(volume))]
    created = VolumeCreated(
        project=command.project,
        name=command.name,
        size=command.size,
        cell=command.cell,
        wanted_host="" if command.pool_id else command.host_id,
        pool_id=command.pool_id,
        source=command.source,
        image=command.image,
        instance_id=command.instance_id,
        answer_to=command.reply,
        created=envelope.time,
    )
    draft.emit(created)
    accept(draft, RULES, CREATE, CreateVolume(name=command.name), envelope)
    return []


def _owed(draft: Draft[Volume]) -> list[Outgoing]:
    """Return the answer to whoever waits for the end of the volume's creation, where this is the end."""
    for before, event, after in draft.steps:
        if before is None or before.answer_to is None or after.answer_to is not None:
            continue
        if isinstance(event, TaskFailed):
            error = JobError(code=event.fault.code, message=event.fault.message, details=event.fault.details)
            result = JobResult(job_id=before.answer_to.job_id, name=MakeVolume.__name__, error=error)
            return [before.answer_to.answer(result)]
        return [before.answer_to.done(MakeVolume.__name__, _granted(after))]
    return []


def _discard(draft: Draft[Volume], command: DiscardForInstance, envelope: Envelope) -> Outgoing:
    """Release the volume, and begin to delete it unless something is in the way; that of another, or none, stays."""
    if draft.after is not None and draft.after.instance_id == command.instance_id:
        draft.emit(VolumeReleased(instance_id=command.instance_id, at=envelope.time))
        with suppress(Refusal):
            _require_needless(draft.now)
            act(draft, RULES, DeleteVolume(), envelope)
    return command.reply.done(DiscardVolume.__name__, VolumeReturned(volume_id=draft.id))


def _in_use(volume: Volume) -> InUse:
    hint = f"gs instance show {volume.instance_id} shows it, also while it is soft-deleted."
    return InUse(kind="Volume", id=volume.id, user=f"instance {volume.instance_id}", hint=hint)


def _require_needless(volume: Volume) -> None:
    """Raise InUse for a volume that an instance has, that something is copied from, or that has snapshots."""
    if volume.instance_id:
        raise _in_use(volume)
    must_not_be_copied(volume, RULES.kind)
    if volume.snapshots:
        others = len(volume.snapshots) - 1
        user = f"its snapshot {volume.snapshots[0]}{f' and {others} more' if others else ''}"
        hint = f"Delete them first: gs volume-snapshot list --volume {volume.name}."
        raise InUse(kind="Volume", id=volume.id, user=user, hint=hint)


def _snapshot_added(draft: Draft[Volume], command: NoteSnapshot, envelope: Envelope) -> Outgoing:
    volume = alive(draft, RULES)
    if command.snapshot_id not in volume.snapshots:
        if len(volume.snapshots) >= MOST_SNAPSHOTS:
            raise TooManySnapshots(id=volume.id, most=MOST_SNAPSHOTS)
        draft.emit(VolumeSnapshotAdded(snapshot_id=command.snapshot_id, at=envelope.time))
    return command.reply.done(AddSnapshot.__name__)


def _snapshot_removed(draft: Draft[Volume], command: DropSnapshot, envelope: Envelope) -> Outgoing:
    """A volume that is gone, or does not know the snapshot, has forgotten it as well."""
    if draft.after is not None and command.snapshot_id in draft.after.snapshots:
        draft.emit(VolumeSnapshotRemoved(snapshot_id=command.snapshot_id, at=envelope.time))
    return command.reply.done(RemoveSnapshot.__name__)


def _require_free(volume: Volume, host_id: str) -> None:
    """Raise the Refusal that says why an instance on this host cannot have the volume."""
    _require_idle(volume, "attach-volume")
    must_not_be_copied(volume, RULES.kind)
    if not volume.pool_id and (volume.host is None or volume.host.id != host_id):
        raise VolumeElsewhere(id=volume.id, host=volume.host.name if volume.host else "")


def _require_idle(volume: Volume, action: str = "a copy") -> None:
    """Raise the Refusal that says why nothing can be done with the volume now: it is in use, busy, or in error."""
    if volume.instance_id:
        raise _in_use(volume)
    must_be_idle(volume, RULES, volume.became, VolumeStatus.AVAILABLE, action)


def _release(draft: Draft[Volume], command: ReleaseFromInstance, envelope: Envelope) -> Outgoing:
    """A volume that is gone, or another's by now, is released as well."""
    if draft.after is not None and draft.after.instance_id == command.instance_id:
        draft.emit(VolumeReleased(instance_id=command.instance_id, at=envelope.time))
    return command.reply.done(ReleaseVolume.__name__, VolumeReturned(volume_id=draft.id))
