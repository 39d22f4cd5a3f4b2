"""Commands and facts of hosts, and the two jobs of the scheduler: place and release."""

from datetime import datetime
from typing import ClassVar

from domain.core.cells import DEFAULT_CELL
from domain.core.messages import Command, Event, Model
from domain.tasks.jobs import Reply


class Inventory(Model):
    """What a host has."""

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

    name: str
    zone: str
    cell: str = DEFAULT_CELL
    inventory: Inventory
    endpoint: str = ""


class EnableHost(HostCommand):
    """Let new instances be placed on a host."""


class DisableHost(HostCommand):
    """Place no new instances on a host; those it has stay."""

    why: str = ""


class AssignZone(HostCommand):
    """Put a host into a zone."""

    zone: str


class SuspectHost(HostCommand):
    """A host's heartbeats are missing."""


class HearHost(HostCommand):
    """A suspect host's heartbeats are back."""


class PlaceInstance(Command):
    """Choose a host for an instance and hold its resources there (a job of a plan)."""

    kind = "scheduling"

    reply: Reply
    instance_id: str
    project: str
    vcpus: int
    memory: int
    disk: int
    arch: str = "x86_64"
    zone: str = ""
    wanted_host: str = ""


class ReleaseInstance(Command):
    """Give back what is held for an instance (a job of a plan)."""

    kind = "scheduling"

    reply: Reply
    instance_id: str
    host_id: str = ""


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

    name: str
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
    """No new instances are placed on it."""

    why: str
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


class HostClaimMade(HostEvent):
    """Resources are held for an instance."""

    revision = 2

    instance_id: str
    project: str
    vcpus: int
    memory: int
    disk: int
    arch: str
    """Asked for, as are zone and host; empty: whichever."""
    zone: str
    wanted_host: str
    number: int
    """Of the cell's placements, counted from 1; 0 where an earlier release made it and did not count."""
    report: PlacementReport


class HostClaimReleased(HostEvent):
    """They are free again."""

    instance_id: str


class PlacementRefused(Event):
    """No host of the cell would do. Stands beside its stream: nothing changed."""

    kind = "scheduling"
    revision = 3

    instance_id: str
    cell: str
    vcpus: int
    """0 where an earlier release refused it and did not tell what was asked for."""
    memory: int
    disk: int
    arch: str
    zone: str
    wanted_host: str
    report: PlacementReport
