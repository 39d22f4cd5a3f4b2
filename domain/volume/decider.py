"""Decisions of a volume on a command, a result or a deadline: events, or a refusal. Pure, as every decider."""

from domain.core.errors import AlreadyExists
from domain.core.messages import Decision, Envelope
from domain.tasks.action import TaskRules
from domain.tasks.decide import accept, act, alive, concerns_tasks, decision_of
from domain.tasks.draft import Draft
from domain.volume.actions import ACTIONS, CREATE, CreateVolume, UpdateVolume, VolumeCommand
from domain.volume.state import Volume, VolumeCreated, VolumeHostRenewed, VolumeStatus, VolumeUpdated, evolve

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
    match envelope.data:
        case CreateVolume() as command:
            _create(draft, command, envelope)
        case UpdateVolume() as command:
            alive(draft, RULES)
            _update(draft, command, envelope)
        case VolumeCommand() as command:
            act(draft, RULES, command, envelope)
        case other:
            if not concerns_tasks(draft, RULES, envelope):
                raise TypeError(f"{other.type_name} is nothing a volume decides")
    return decision_of(draft, envelope, RULES)


def _create(draft: Draft[Volume], command: CreateVolume, envelope: Envelope) -> None:
    if draft.after is not None:
        raise AlreadyExists(kind="volume", id=draft.id)
    created = VolumeCreated(
        project=envelope.project,
        name=command.name,
        description=command.description,
        size=command.size,
        cell=command.cell,
        wanted_host=command.host,
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
    if changed:
        draft.emit(VolumeUpdated(at=envelope.time, **changed))
