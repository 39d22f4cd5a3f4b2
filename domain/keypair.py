"""Keypairs: public keys by name, put into guests. A private key is never kept, and never enters the log."""

from datetime import datetime
from typing import ClassVar

from domain.core.errors import AlreadyExists, NotFound
from domain.core.messages import Command, Decision, Envelope, Event, Model
from domain.kind import Kind, Unique


class Keypair(Model):
    """A public key with a name that is unique in its project."""

    id: str
    project: str
    name: str
    public_key: str
    fingerprint: str
    created: datetime
    updated: datetime
    deleted: datetime | None = None


class KeypairCommand(Command):
    """A wish about a keypair."""

    abstract: ClassVar[bool] = True
    kind = "keypair"


class CreateKeypair(KeypairCommand):
    """Keep a public key under a name."""

    name: str
    public_key: str
    fingerprint: str


class DeleteKeypair(KeypairCommand):
    """Delete a keypair; guests that have the key keep it."""

    relieves: ClassVar[bool] = True


class KeypairEvent(Event):
    """A fact about a keypair."""

    abstract: ClassVar[bool] = True
    kind = "keypair"


class KeypairCreated(KeypairEvent):
    """It exists."""

    project: str
    name: str
    public_key: str
    fingerprint: str
    at: datetime


class KeypairDeleted(KeypairEvent):
    """It is gone."""

    at: datetime


def evolve(now: Keypair | None, event: Event, subject_id: str) -> Keypair:
    """The keypair after this event. Raises TypeError for an event that is none of a keypair's."""
    match event:
        case KeypairCreated():
            given = {name: getattr(event, name) for name in KeypairCreated.model_fields if name != "at"}
            return Keypair(id=subject_id, created=event.at, updated=event.at, **given)
        case KeypairDeleted() if now:
            return now.but(deleted=event.at, updated=event.at)
        case _:
            raise TypeError(f"{event.type_name} does not apply to keypair {subject_id}")


def decide(now: Keypair | None, envelope: Envelope) -> Decision:
    """Facts. Raises a Refusal where the keypair cannot do it."""
    if isinstance(envelope.data, CreateKeypair):
        if now is not None and now.deleted is None:
            raise AlreadyExists(kind="keypair", id=envelope.data.name)
        return Decision([KeypairCreated(project=envelope.project, at=envelope.time, **envelope.data.model_dump())])
    if now is None or now.deleted is not None:
        raise NotFound(kind="keypair", id=envelope.subject.id)
    if isinstance(envelope.data, DeleteKeypair):
        return Decision([KeypairDeleted(at=envelope.time)])
    raise TypeError(f"{envelope.data.type_name} is nothing a keypair decides")


KIND = Kind(
    name="keypair",
    help="Public keys, put into guests.",
    state=Keypair,
    evolve=evolve,
    unique=Unique.PROJECT,
    delete=DeleteKeypair,
    shown=("fingerprint",),
)
