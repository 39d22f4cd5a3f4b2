"""Zones: named groups of hosts that fail together. A host says which zone it is in; a zone says that it exists, and in
which cell, as whose its name is known for ever."""

from datetime import datetime
from typing import Annotated, ClassVar

from domain.core.cells import DEFAULT_CELL
from domain.core.fields import PERSONAL, PLAIN
from domain.core.messages import Command, Event, Model
from domain.kind import DecidedBy, Kind, Unique
from domain.named import Named


class Zone(Model):
    """A named group of hosts that fail together."""

    id: str
    name: Annotated[str, PLAIN]
    cell: str = DEFAULT_CELL
    description: Annotated[str, PERSONAL] = ""
    created: datetime
    updated: datetime
    deleted: datetime | None = None


class ZoneCommand(Command):
    """A command for a zone."""

    abstract: ClassVar[bool] = True
    kind = "zone"


class CreateZone(ZoneCommand):
    """Create a zone that hosts can be in."""

    name: Annotated[str, PLAIN]
    cell: str = DEFAULT_CELL
    description: Annotated[str, PERSONAL] = ""


class UpdateZone(ZoneCommand):
    """Change a zone's description. Its name and its cell stay for ever: hosts and instances know the zone by them."""

    description: Annotated[str | None, PERSONAL] = None


class DeleteZone(ZoneCommand):
    """Delete a zone that has no hosts."""

    relieves: ClassVar[bool] = True


class ZoneEvent(Event):
    """A fact about a zone."""

    abstract: ClassVar[bool] = True
    kind = "zone"


class ZoneCreated(ZoneEvent):
    """The zone exists, in this cell."""

    revision = 2

    name: Annotated[str, PLAIN]
    cell: str
    description: Annotated[str, PERSONAL] = ""
    at: datetime


class ZoneUpdated(ZoneEvent):
    """The zone changed; a field that is None stays as it was."""

    description: Annotated[str | None, PERSONAL] = None
    at: datetime


class ZoneDeleted(ZoneEvent):
    """The zone is deleted; no host is in it."""

    at: datetime


RULES = Named("zone", Zone, CreateZone, ZoneCreated, DeleteZone, ZoneDeleted, UpdateZone, ZoneUpdated)
evolve = RULES.evolve

KIND = Kind(
    name="zone",
    help="Groups of hosts that fail together.",
    state=Zone,
    evolve=evolve,
    decider="domain.scheduling.decider",
    decided_by=DecidedBy.SCHEDULER,
    unique=Unique.EVERYWHERE,
    create=CreateZone,
    update=UpdateZone,
    delete=DeleteZone,
    shown=("cell", "description"),
)
