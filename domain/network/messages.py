"""Commands and events of networks and their ports.

A port belongs to its network's stream: an address is unique only if one writer gives all of them.
"""

from datetime import datetime
from typing import Annotated, ClassVar

from domain.core.fields import PERSONAL
from domain.core.messages import Command, Event


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


class DeleteNetwork(NetworkCommand):
    """Delete a network that has no ports."""

    relieves: ClassVar[bool] = True


class CreatePort(NetworkCommand):
    """Create a port: an address of the network, reserved for an instance."""

    port_id: str
    name: Annotated[str, PERSONAL] = ""
    ip: str = ""


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

    project: str
    name: Annotated[str, PERSONAL]
    cidr: str
    description: Annotated[str, PERSONAL] = ""
    segment: int
    created: datetime


class NetworkDeleted(NetworkEvent):
    """The network is deleted, with its hosts' addresses."""

    at: datetime


class PortCreated(NetworkEvent):
    """The port exists and its address is taken."""

    port_id: str
    name: Annotated[str, PERSONAL] = ""
    ip: str
    project: str
    keep: bool
    """Whether the port stays when its instance is deleted."""
    created: datetime


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


class HostAddressGiven(NetworkEvent):
    """A host got an address of its own in the network, from which it serves DHCP and routes."""

    host_id: str
    ip: str


class HostAddressReturned(NetworkEvent):
    """A host without guests on the network gave its address back, for others to use."""

    host_id: str
    ip: str
