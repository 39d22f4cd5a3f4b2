"""Commands and events of networks and their ports.

A port belongs to its network's stream: an address is unique only if one writer gives all of them.
"""

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import Field

from domain.core.fields import PERSONAL
from domain.core.ipv6 import LONGEST, Ipv6Mode
from domain.core.messages import Command, Event, Model
from domain.network.state import AddressPair, PortOptions


class NetworkCommand(Command):
    """A command for a network."""

    abstract: ClassVar[bool] = True
    kind = "network"


class CreateNetwork(NetworkCommand):
    """Create a network with a block of addresses."""

    name: Annotated[str, PERSONAL]
    cidr: str
    description: Annotated[str, PERSONAL] = ""
    segment: int
    external: bool = False
    cidr6: str = ""
    ipv6_mode: Ipv6Mode = Ipv6Mode.SLAAC


class UpdateNetwork(NetworkCommand):
    """Change a network's name, description, way out or IPv6 range; fields that are left out stay as they are."""

    name: Annotated[str | None, PERSONAL] = None
    description: Annotated[str | None, PERSONAL] = None
    external: bool | None = None
    """Whether guests reach what is outside of the network, through their host, which they are seen as."""
    cidr6: Annotated[str | None, Field(max_length=LONGEST)] = None
    """IPv6 range, a /64; one that a network with ports has stays as it is, and an empty text takes it away."""
    ipv6_mode: Ipv6Mode | None = None
    """How guests learn their IPv6 addresses, slaac or dhcpv6; it stays while a network with an IPv6 range has ports."""


class DeleteNetwork(NetworkCommand):
    """Delete a network that has no ports."""

    relieves: ClassVar[bool] = True


class CreatePort(NetworkCommand, PortOptions):
    """Create a port: an address of the network, reserved for an instance."""

    port_id: str
    name: Annotated[str, PERSONAL] = ""
    ip: str = ""
    mac: str = ""


class PortChanges(Model):
    """Fields of a port that may change; one that is None stays as it is, and an empty name is none."""

    name: Annotated[str | None, PERSONAL] = None
    security_groups: tuple[str, ...] | None = None
    port_security: bool | None = None
    allowed_pairs: tuple[AddressPair, ...] | None = None
    egress_kbit: int | None = None
    ingress_kbit: int | None = None


class UpdatePort(NetworkCommand, PortChanges):
    """Change a port; fields that are None stay as they are, and an empty name takes the name away."""

    port_id: str


class DeletePort(NetworkCommand):
    """Delete a port that no instance uses."""

    relieves: ClassVar[bool] = True
    port_id: str


class NetworkEvent(Event):
    """A fact about a network."""

    abstract: ClassVar[bool] = True
    kind = "network"


class NetworkCreated(NetworkEvent):
    """The network exists, with this block of addresses."""

    revision = 3

    project: str
    name: Annotated[str, PERSONAL]
    cidr: str
    description: Annotated[str, PERSONAL] = ""
    segment: int
    external: bool = False
    """Whether its guests reach what is outside of it."""
    cidr6: str = ""
    """IPv6 range; empty: its guests have no IPv6."""
    ipv6_mode: Ipv6Mode = Ipv6Mode.SLAAC
    created: datetime


class NetworkUpdated(NetworkEvent):
    """The network changed; a field that is None stays as it was."""

    revision = 3

    name: Annotated[str | None, PERSONAL] = None
    description: Annotated[str | None, PERSONAL] = None
    external: bool | None = None
    cidr6: str | None = None
    ipv6_mode: Ipv6Mode | None = None
    at: datetime


class NetworkDeleted(NetworkEvent):
    """The network is deleted, with its hosts' addresses."""

    at: datetime


class PortCreated(NetworkEvent, PortOptions):
    """The port exists and its address is taken."""

    revision = 2

    port_id: str
    name: Annotated[str, PERSONAL] = ""
    ip: str
    project: str
    keep: bool
    """Whether the port stays when its instance is deleted."""
    mac: str = ""
    """MAC address that the port's user chose; empty: the one that follows from the port's IP address."""
    created: datetime


class PortUpdated(NetworkEvent, PortChanges):
    """The port changed; a field that is None stays as it was, and an empty name is none."""

    revision = 2

    port_id: str


class PortBoundToInstance(NetworkEvent):
    """The port is bound to an instance on this host."""

    port_id: str
    instance_id: str
    host_id: str


class PortPrepared(NetworkEvent):
    """A second host is prepared for the port's guest."""

    port_id: str
    host_id: str


class PortUnprepared(NetworkEvent):
    """The port's guest has no second host any more."""

    port_id: str


class PortFreed(NetworkEvent):
    """The port is not bound to an instance any more."""

    port_id: str


class PortDeleted(NetworkEvent):
    """The port is deleted and its address is free again."""

    port_id: str


class GatewayGiven(NetworkEvent):
    """The network has this address for its gateway: the same on every host, where DHCP, DNS and metadata answer."""

    ip: str


class HostAddressGiven(NetworkEvent):
    """A host got an address of its own in the network. Written by earlier releases, before networks had gateways."""

    host_id: str
    ip: str


class HostAddressReturned(NetworkEvent):
    """A host gave back the address that an earlier release had given it."""

    host_id: str
    ip: str
