"""Flavors: the sizes that instances come in.

An instance keeps the flavor as it was when it was booted, so changing or deleting one touches no instance.
"""

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from domain.core.fields import PERSONAL
from domain.core.messages import Command, Decision, Envelope, Event, Model
from domain.kind import Kind, Unique
from domain.named import Named

Policy = Literal["Shared", "Dedicated", "Default"]
Mode = Literal["strict", "prefer"]


class Flavor(Model):
    """A size for instances: virtual CPUs, memory and scheduling options."""

    id: str
    name: Annotated[str, PERSONAL]
    core: int
    memory: int
    mode: Mode = "prefer"
    multi_queue: int = 0
    policy: Policy = "Default"
    extra: Annotated[dict[str, str], PERSONAL] = Field(default_factory=dict)
    disk: int = 0
    """Size of the root disk of instances that say no other, in bytes; 0: the image's."""
    created: datetime
    updated: datetime
    deleted: datetime | None = None


class FlavorCommand(Command):
    """A command for a flavor."""

    abstract: ClassVar[bool] = True
    kind = "flavor"


class CreateFlavor(FlavorCommand):
    """Create a flavor that instances can use."""

    name: Annotated[str, PERSONAL]
    core: int
    memory: int
    mode: Mode = "prefer"
    multi_queue: int = 0
    policy: Policy = "Default"
    extra: Annotated[dict[str, str], PERSONAL] = Field(default_factory=dict)
    disk: int = 0


class UpdateFlavor(FlavorCommand):
    """Change a flavor; fields that are left out stay as they are."""

    name: Annotated[str | None, PERSONAL] = None
    core: int | None = None
    memory: int | None = None
    mode: Mode | None = None
    multi_queue: int | None = None
    policy: Policy | None = None
    disk: int | None = None


class AddFlavorExtra(FlavorCommand):
    """Add extra specs to a flavor, or change them."""

    extra: Annotated[dict[str, str], PERSONAL]


class DeleteFlavorExtra(FlavorCommand):
    """Remove extra specs from a flavor."""

    keys: Annotated[tuple[str, ...], PERSONAL]


class DeleteFlavor(FlavorCommand):
    """Delete a flavor; instances that have it keep it."""

    relieves: ClassVar[bool] = True


class FlavorEvent(Event):
    """A fact about a flavor."""

    abstract: ClassVar[bool] = True
    kind = "flavor"


class FlavorCreated(FlavorEvent):
    """The flavor exists, with these values."""

    revision = 2

    name: Annotated[str, PERSONAL]
    core: int
    memory: int
    mode: Mode
    multi_queue: int
    policy: Policy
    extra: Annotated[dict[str, str], PERSONAL] = Field(default_factory=dict)
    disk: int = 0
    """Size of the root disk of instances that say no other, in bytes; 0: the image's."""
    at: datetime


class FlavorUpdated(FlavorEvent):
    """The flavor changed; a field that is None stays as it was."""

    revision = 2

    name: Annotated[str | None, PERSONAL] = None
    core: int | None = None
    memory: int | None = None
    mode: Mode | None = None
    multi_queue: int | None = None
    policy: Policy | None = None
    extra: Annotated[dict[str, str] | None, PERSONAL] = None
    disk: int | None = None
    at: datetime


class FlavorDeleted(FlavorEvent):
    """The flavor is deleted; instances keep their copy."""

    at: datetime


RULES = Named("flavor", Flavor, CreateFlavor, FlavorCreated, DeleteFlavor, FlavorDeleted, UpdateFlavor, FlavorUpdated)
evolve = RULES.evolve


def decide(now: Flavor | None, envelope: Envelope) -> Decision:
    """Return the events of a command. Raises a Refusal where the flavor does not allow it."""
    match envelope.data:
        case AddFlavorExtra(extra=extra):
            flavor = RULES.alive(now, envelope)
            extra = {**flavor.extra, **extra}
        case DeleteFlavorExtra(keys=keys):
            flavor = RULES.alive(now, envelope)
            extra = {key: value for key, value in flavor.extra.items() if key not in keys}
        case _:
            return RULES.decide(now, envelope)
    return Decision([FlavorUpdated(at=envelope.time, extra=extra)] if extra != flavor.extra else [])


KIND = Kind(
    name="flavor",
    help="Sizes that instances come in.",
    state=Flavor,
    evolve=evolve,
    unique=Unique.EVERYWHERE,
    create=CreateFlavor,
    update=UpdateFlavor,
    delete=DeleteFlavor,
    shown=("core", "memory", "disk", "policy", "mode", "multi_queue", "extra"),
)
