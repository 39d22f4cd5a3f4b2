"""Commands and facts of hosts, and what a placement led to."""

from datetime import datetime
from typing import Annotated, ClassVar

from domain.core.cells import DEFAULT_CELL
from domain.core.fields import PERSONAL_OF_ACTOR, PLAIN
from domain.core.messages import Command, Event, Model
from domain.core.resources import Resources


class Inventory(Resources):
    """What a host has of each resource, and what it is."""

    vcpus: int
    memory: int
    """Bytes."""
    disk: int
    """Bytes."""
    arch: str = "x86_64"
    hypervisor: str = "qemu"


class HostCommand(Command):
    """A wish about a host."""

    abstract: ClassVar[bool] = True
    kind = "host"
    relieves: ClassVar[bool] = True


class RegisterHost(HostCommand):
    """A host's agent has started: this is what the host has."""

    name: Annotated[str, PLAIN]
    zone: str
    cell: str = DEFAULT_CELL
    inventory: Inventory
    endpoint: str = ""


class EnableHost(HostCommand):
    """Let new instances be placed on a host."""


class DisableHost(HostCommand):
    """Disable a host for new instances; existing ones keep running."""

    why: Annotated[str, PERSONAL_OF_ACTOR] = ""
    until: datetime | None = None
    """When it is enabled again by itself; None: when somebody enables it."""


class AssignZone(HostCommand):
    """Put a host into a zone."""

    zone: str


class SuspectHost(HostCommand):
    """A host's heartbeats are missing."""


class HearHost(HostCommand):
    """A suspect host's heartbeats are back."""


class FilterCount(Model):
    """How many hosts a filter left."""

    filter: str
    left: int


class Score(Model):
    """A host and its weighed score."""

    host: str
    score: float


class PlacementReport(Model):
    """Why the scheduler chose as it did."""

    total: int
    counts: tuple[FilterCount, ...]
    best: tuple[Score, ...] = ()


class HostEvent(Event):
    """A fact about a host."""

    abstract: ClassVar[bool] = True
    kind = "host"


class HostRegistered(HostEvent):
    """Its agent runs, in this epoch; jobs of an older one are refused there."""

    revision = 2

    name: Annotated[str, PLAIN]
    zone: str
    cell: str
    inventory: Inventory
    endpoint: str
    partition: int
    epoch: int
    at: datetime


class HostEnabled(HostEvent):
    """New instances may be placed on it."""

    at: datetime


class HostDisabled(HostEvent):
    """No new instances are placed on the host, until this time or until it is enabled."""

    revision = 2

    why: Annotated[str, PERSONAL_OF_ACTOR]
    until: datetime | None = None
    at: datetime


class HostZoneAssigned(HostEvent):
    """It is in this zone now."""

    zone: str
    at: datetime


class HostSuspected(HostEvent):
    """Its heartbeats are missing; nothing is known about its guests."""

    at: datetime


class HostHeard(HostEvent):
    """Its heartbeats are back."""

    at: datetime


class HostClaimMade(HostEvent, Resources):
    """Resources of the host are held for an instance, or for something else that has a place there."""

    revision = 4

    claim_id: str
    """The placing job's id; the instance's id where an earlier release made it."""
    instance_id: str
    """Of whatever they are held for."""
    holder_kind: str = "instance"
    """What that is: a kind of aggregate."""
    project: str
    arch: str
    """Asked for, as are zone and hosts; empty: whichever."""
    zone: str
    wanted_host: str
    avoid: tuple[str, ...] = ()
    """Ids of hosts that would not do."""
    number: int
    """Of the cell's placements, counted from 1; 0 where an earlier release made it and did not count."""
    report: PlacementReport


class HostClaimReleased(HostEvent):
    """What was held under this claim is free again."""

    revision = 2

    claim_id: str
    instance_id: str


class PlacementRefused(Event, Resources):
    """No host of the cell would do; it stands beside the instance's stream, since nothing changed.

    It has no resources where an earlier release refused it and did not say what was asked for.
    """

    kind = "scheduling"
    revision = 4

    claim_id: str
    """The placing job's id; the instance's id where an earlier release refused it."""
    instance_id: str
    cell: str
    arch: str
    zone: str
    wanted_host: str
    avoid: tuple[str, ...] = ()
    """Ids of hosts that would not do."""
    report: PlacementReport
