"""Keypairs: public keys by name, put into guests. A private key is never kept, and never enters the log."""

from datetime import datetime
from typing import Annotated, ClassVar

from domain.core.fields import PERSONAL
from domain.core.messages import Command, Event, Model
from domain.kind import Kind, Unique
from domain.named import Named


class Keypair(Model):
    """A public key with a name that is unique in its project."""

    id: str
    project: str
    name: Annotated[str, PERSONAL]
    public_key: Annotated[str, PERSONAL]
    fingerprint: Annotated[str, PERSONAL]
    created: datetime
    updated: datetime
    deleted: datetime | None = None


class KeypairCommand(Command):
    """A command for a keypair."""

    abstract: ClassVar[bool] = True
    kind = "keypair"


class CreateKeypair(KeypairCommand):
    """Store a public key under a name."""

    name: Annotated[str, PERSONAL]
    public_key: Annotated[str, PERSONAL]
    fingerprint: Annotated[str, PERSONAL]


class DeleteKeypair(KeypairCommand):
    """Delete a keypair; guests that have the key keep it."""

    relieves: ClassVar[bool] = True


class KeypairEvent(Event):
    """A fact about a keypair."""

    abstract: ClassVar[bool] = True
    kind = "keypair"


class KeypairCreated(KeypairEvent):
    """The keypair exists, with this public key."""

    project: str
    name: Annotated[str, PERSONAL]
    public_key: Annotated[str, PERSONAL]
    fingerprint: Annotated[str, PERSONAL]
    at: datetime


class KeypairDeleted(KeypairEvent):
    """The keypair is deleted; guests keep the key."""

    at: datetime


RULES = Named("keypair", Keypair, CreateKeypair, KeypairCreated, DeleteKeypair, KeypairDeleted)
evolve, decide = RULES.evolve, RULES.decide

KIND = Kind(
    name="keypair",
    help="Public keys, put into guests.",
    state=Keypair,
    evolve=evolve,
    unique=Unique.PROJECT,
    delete=DeleteKeypair,
    shown=("fingerprint",),
)
