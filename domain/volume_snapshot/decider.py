"""Decisions of a volume's snapshot on a command, a result or a deadline: events, or a refusal. Pure, as every
decider."""

from domain.core.errors import AlreadyExists
from domain.core.messages import Decision, Envelope, Outgoing
from domain.core.names import must_be_name
from domain.jobs.copy import ReleaseFromCopy, ReserveForCopy
from domain.tasks.action import TaskRules
from domain.tasks.decide import accept, act, alive, changed_fields, concerns_tasks, decision_of, must_be_idle
from domain.tasks.draft import Draft
from domain.volume.copies import must_not_be_copied, release, reserve
from domain.volume_snapshot.actions import (
    ACTIONS,
    CREATE,
    CreateVolumeSnapshot,
    UpdateVolumeSnapshot,
    VolumeSnapshotCommand,
)
from domain.volume_snapshot.state import (
    SnapshotStatus,
    VolumeSnapshot,
    VolumeSnapshotCreated,
    VolumeSnapshotHostRenewed,
    VolumeSnapshotUpdated,
    evolve,
)

RULES = TaskRules(
    kind="volume-snapshot",
    actions=ACTIONS,
    evolve=evolve,
    error=SnapshotStatus.ERROR,
    gone=frozenset({SnapshotStatus.DELETED}),
    renewed=lambda draft, host_id, epoch: draft.emit(VolumeSnapshotHostRenewed(host_id=host_id, epoch=epoch)),
)


def decide(now: VolumeSnapshot | None, envelope: Envelope) -> Decision:
    """Return the events and messages that follow from this record. No events: the command asks for nothing new, or the
    record is outdated.

    Raises a Refusal where the snapshot cannot do what is asked.
    """
    draft = Draft(envelope.subject.id, now, evolve)
    answers: list[Outgoing] = []
    match envelope.data:
        case CreateVolumeSnapshot() as command:
            _create(draft, command, envelope)
        case UpdateVolumeSnapshot() as command:
            if changed := changed_fields(alive(draft, RULES), command):
                draft.emit(VolumeSnapshotUpdated(at=envelope.time, **changed))
        case VolumeSnapshotCommand() as command:
            must_not_be_copied(alive(draft, RULES), RULES.kind)
            act(draft, RULES, command, envelope)
        case ReserveForCopy() as command:
            answers.append(reserve(draft, RULES, command, envelope, _require_available))
        case ReleaseFromCopy() as command:
            answers.append(release(draft, command, envelope))
        case other:
            if not concerns_tasks(draft, RULES, envelope):
                raise TypeError(f"{other.type_name} is nothing a volume's snapshot decides")
    decision = decision_of(draft, envelope, RULES)
    decision.outgoing += answers
    return decision


def _create(draft: Draft[VolumeSnapshot], command: CreateVolumeSnapshot, envelope: Envelope) -> None:
    if draft.after is not None:
        raise AlreadyExists(kind=RULES.kind, id=draft.id)
    must_be_name(command.name)
    volume = command.volume
    created = VolumeSnapshotCreated(
        project=envelope.project,
        name=command.name,
        description=command.description,
        size=volume.size,
        volume_id=volume.id,
        volume_name=volume.name,
        cell=command.cell,
        pool_id=volume.pool_id,
        image=volume.image,
        created=envelope.time,
    )
    draft.emit(created)
    accept(draft, RULES, CREATE, command, envelope)


def _require_available(snapshot: VolumeSnapshot) -> None:
    """Raise WrongStatus for a snapshot that is not whole, or is being deleted."""
    must_be_idle(snapshot, RULES, snapshot.became, SnapshotStatus.AVAILABLE, "a copy")
