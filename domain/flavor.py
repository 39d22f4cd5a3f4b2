"""Flavors: the sizes that instances come in.

An instance keeps the flavor as it was when it was booted, so changing or deleting one touches no instance.
"""

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from domain.core.errors import AlreadyExists, NotFound
from domain.core.messages import Command, Decision, Envelope, Event, Model
from domain.kind import Kind

Policy = Literal["Shared", "Dedicated", "Default"]
Mode = Literal["strict", "prefer"]


class Flavor(Model):
    """A flavor."""

    id: str
    name: str
    core: int
    memory: int
    mode: Mode = "prefer"
    multi_queue: int = 0
    policy: Policy = "Default"
    extra: dict[str, str] = Field(default_factory=dict)
    created: datetime
    updated: datetime
    deleted: datetime | None = None


class FlavorCommand(Command):
    """A wish about a flavor."""

    abstract: ClassVar[bool] = True
    kind = "flavor"


class CreateFlavor(FlavorCommand):
    """Create a flavor."""

    name: str
    core: int
    memory: int
    mode: Mode = "prefer"
    multi_queue: int = 0
    policy: Policy = "Default"
    extra: dict[str, str] = Field(default_factory=dict)


class UpdateFlavor(FlavorCommand):
    """Change a flavor; what is not given stays."""

    name: str | None = None
    core: int | None = None
    memory: int | None = None
    mode: Mode | None = None
    multi_queue: int | None = None
    policy: Policy | None = None


class AddFlavorExtra(FlavorCommand):
    """Add extra specs to a flavor, or change them."""

    extra: dict[str, str]


class DeleteFlavorExtra(FlavorCommand):
    """Remove extra specs from a flavor."""

    keys: tuple[str, ...]


class DeleteFlavor(FlavorCommand):
    """Delete a flavor; instances that have it keep it."""

    relieves: ClassVar[bool] = True


class FlavorEvent(Event):
    """A fact about a flavor."""

    abstract: ClassVar[bool] = True
    kind = "flavor"


class FlavorCreated(FlavorEvent):
    """It exists, like this."""

    name: str
    core: int
    memory: int
    mode: Mode
    multi_queue: int
    policy: Policy
    extra: dict[str, str] = Field(default_factory=dict)
    at: datetime


class FlavorUpdated(FlavorEvent):
    """It changed; None means as before."""

    name: str | None = None
    core: int | None = None
    memory: int | None = None
    mode: Mode | None = None
    multi_queue: int | None = None
    policy: Policy | None = None
    extra: dict[str, str] | None = None
    at: datetime


class FlavorDeleted(FlavorEvent):
    """It is gone."""

    at: datetime


def evolve(now: Flavor | None, event: Event, subject_id: str) -> Flavor:
    """The flavor after this event. Raises TypeError for an event that is none of a flavor's."""
    match event:
        case FlavorCreated():
            given = {name: getattr(event, name) for name in FlavorCreated.model_fields if name != "at"}
            return Flavor(id=subject_id, created=event.at, updated=event.at, **given)
        case FlavorUpdated() if now:
            changes = {name: value for name, value in event if value is not None and name != "at"}
            return now.but(updated=event.at, **changes)
        case FlavorDeleted() if now:
            return now.but(deleted=event.at, updated=event.at)
        case _:
            raise TypeError(f"{event.type_name} does not apply to flavor {subject_id}")


def decide(now: Flavor | None, envelope: Envelope) -> Decision:
    """Facts. Raises a Refusal where the flavor cannot do it."""
    at, ident = envelope.time, envelope.subject.id
    if isinstance(envelope.data, CreateFlavor):
        if now is not None and now.deleted is None:
            raise AlreadyExists(kind="flavor", id=envelope.data.name)
        return Decision([FlavorCreated(at=at, **envelope.data.model_dump())])
    if now is None or now.deleted is not None:
        raise NotFound(kind="flavor", id=ident)
    match envelope.data:
        case UpdateFlavor() as command:
            changes = {name: value for name, value in command if value is not None and value != getattr(now, name)}
            return Decision([FlavorUpdated(at=at, **changes)] if changes else [])
        case AddFlavorExtra(extra=extra):
            merged = {**now.extra, **extra}
            return Decision([FlavorUpdated(at=at, extra=merged)] if merged != now.extra else [])
        case DeleteFlavorExtra(keys=keys):
            left = {key: value for key, value in now.extra.items() if key not in keys}
            return Decision([FlavorUpdated(at=at, extra=left)] if left != now.extra else [])
        case DeleteFlavor():
            return Decision([FlavorDeleted(at=at)])
        case other:
            raise TypeError(f"{other.type_name} is nothing a flavor decides")


KIND = Kind(
    name="flavor",
    help="Sizes that instances come in.",
    state=Flavor,
    evolve=evolve,
    create=CreateFlavor,
    update=UpdateFlavor,
    delete=DeleteFlavor,
    shown=("core", "memory", "policy", "mode", "multi_queue", "extra"),
)
