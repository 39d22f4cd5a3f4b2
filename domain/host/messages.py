"""Commands and events of hosts, and the results of placements."""

from datetime import datetime
from typing import Annotated, ClassVar

from domain.core.cells import DEFAULT_CELL
from domain.core.fields import PERSONAL_OF_ACTOR, PLAIN
from domain.core.messages import Command, Event, Model
from domain.core.resources import Resources


class Inventory(Resources):
    """Total resources of a host, its architecture and its hypervisor."""

    vcpus: int
    memory: int
    """Memory, in bytes of RAM."""
    disk: int
    """Local disk space, in bytes."""
    arch: str = "x86_64"
    hypervisor: str = "qemu"


class HostCommand(Command):
    """A command for a host."""

    abstract: ClassVar[bool] = True
    kind = "host"
    relieves: ClassVar[bool] = True


class RegisterHost(HostCommand):
    """Register a host whose agent has started, with its inventory."""

    name: Annotated[str, PLAIN]
    zone: str
    cell: str = DEFAULT_CELL
    inventory: Inventory
    endpoint: str = ""
    uplink: str = ""
    """IPv4 address at which the host's guest networks are reached by other hosts; empty where it has none."""
    tunnel_key: str = ""
    """WireGuard's public key, by which other hosts encrypt what they send there; empty where nothing is encrypted."""


class EnableHost(HostCommand):
    """Let new instances be placed on a host."""


class DisableHost(HostCommand):
    """Disable a host for new instances; existing ones keep running."""

    why: Annotated[str, PERSONAL_OF_ACTOR] = ""
    until: datetime | None = None
    """When the host is enabled again automatically; None: when an operator enables it."""


class AssignZone(HostCommand):
    """Put a host into a zone."""

    zone: str


class SuspectHost(HostCommand):
    """Mark a host as suspect, because its heartbeats are missing."""


class HearHost(HostCommand):
    """Clear a host's suspicion, because its heartbeats are back."""


class FilterCount(Model):
    """How many hosts passed a filter."""

    filter: str
    left: int


class Score(Model):
    """A host and its weighed score."""

    host: str
    score: float


class PlacementReport(Model):
    """Why the scheduler chose this host, or none."""

    total: int
    counts: tuple[FilterCount, ...]
    best: tuple[Score, ...] = ()


class HostEvent(Event):
    """A fact about a host."""

    abstract: ClassVar[bool] = True
    kind = "host"


class HostRegistered(HostEvent):
    """The host's agent has started, in this epoch; the host refuses jobs of an older epoch."""

    revision = 2

    name: Annotated[str, PLAIN]
    zone: str
    cell: str
    inventory: Inventory
    endpoint: str
    partition: int
    epoch: int
    at: datetime


class HostUplinkChanged(HostEvent):
    """The host's guest networks are reached at this address by other hosts, encrypted for this public key; empty: at
    none, without encryption."""

    revision = 2

    uplink: str
    tunnel_key: str = ""
    at: datetime


class HostEnabled(HostEvent):
    """The host accepts new instances again."""

    at: datetime


class HostDisabled(HostEvent):
    """The host takes no new instances, until this time or until it is enabled."""

    revision = 2

    why: Annotated[str, PERSONAL_OF_ACTOR]
    until: datetime | None = None
    at: datetime


class HostZoneAssigned(HostEvent):
    """The host was assigned to this zone."""

    zone: str
    at: datetime


class HostSuspected(HostEvent):
    """The host's heartbeats are missing; the state of its guests is unknown."""

    at: datetime


class HostHeard(HostEvent):
    """The host's heartbeats are back."""

    at: datetime


class HostClaimMade(HostEvent, Resources):
    """Resources of the host are reserved for an instance or a volume."""

    revision = 5

    claim_id: str
    """Id of the placing job; of the instance where an earlier release made the claim."""
    instance_id: str
    """Id of the instance, or of whatever else the resources are reserved for."""
    holder_kind: str = "instance"
    """Kind of the aggregate that the resources are reserved for."""
    project: str
    arch: str
    """Requested architecture; here and in zone and wanted_host, empty means any."""
    zone: str
    wanted_host: str
    avoid: tuple[str, ...] = ()
    """Ids of hosts that were excluded by the request."""
    among: tuple[str, ...] = ()
    """Ids of the hosts of which the request wanted one; none: any."""
    number: int
    """Number of the placement in its cell, from 1; 0 where an earlier release made it and did not count."""
    report: PlacementReport


class HostClaimResized(HostEvent, Resources):
    """A claim reserves these amounts of the host's resources from now on."""

    claim_id: str
    instance_id: str
    """Id of the instance, or of whatever else the resources are reserved for."""


class HostClaimReleased(HostEvent):
    """The resources that this claim reserved are free again."""

    revision = 2

    claim_id: str
    instance_id: str


class PlacementRefused(Event, Resources):
    """No host of the cell was suitable. The event stands beside the instance's stream, since nothing changed.

    It has no resources where an earlier release refused it and did not say what was asked for.
    """

    kind = "scheduling"
    revision = 5

    claim_id: str
    """Id of the placing job; of the instance where an earlier release refused it."""
    instance_id: str
    cell: str
    arch: str
    zone: str
    wanted_host: str
    avoid: tuple[str, ...] = ()
    """Ids of hosts that were excluded by the request."""
    among: tuple[str, ...] = ()
    """Ids of the hosts of which the request wanted one; none: any."""
    report: PlacementReport
