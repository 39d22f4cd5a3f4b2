"""Commands and facts of networks and their ports.

A port belongs to its network's stream: an address is unique only if one writer gives all of them.
"""

from datetime import datetime
from typing import Annotated, ClassVar

from domain.core.fields import PERSONAL
from domain.core.messages import Command, Event


class NetworkCommand(Command):
    """A wish about a network."""

    abstract: ClassVar[bool] = True
    kind = "network"


class CreateNetwork(NetworkCommand):
    """Create a network."""

    name: Annotated[str, PERSONAL]
    cidr: str
    description: Annotated[str, PERSONAL] = ""
    segment: int


class DeleteNetwork(NetworkCommand):
    """Delete a network that has no ports."""

    relieves: ClassVar[bool] = True


class CreatePort(NetworkCommand):
    """Create a port: an address of the network, for an instance to come."""

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
    """It exists."""

    project: str
    name: Annotated[str, PERSONAL]
    cidr: str
    description: Annotated[str, PERSONAL] = ""
    segment: int
    created: datetime


class NetworkDeleted(NetworkEvent):
    """It is gone; so is what it gave."""

    at: datetime


class PortCreated(NetworkEvent):
    """An address is taken."""

    port_id: str
    name: Annotated[str, PERSONAL] = ""
    ip: str
    project: str
    keep: bool
    """It stays when its instance goes."""
    created: datetime


class PortBoundToInstance(NetworkEvent):
    """The port is an instance's, on this host."""

    port_id: str
    instance_id: str
    host_id: str


class PortPrepared(NetworkEvent):
    """A second host may have the port's guest, too."""

    port_id: str
    host_id: str


class PortUnprepared(NetworkEvent):
    """No second host may have the port's guest any more."""

    port_id: str


class PortFreed(NetworkEvent):
    """The port is no instance's any more."""

    port_id: str


class PortDeleted(NetworkEvent):
    """The address is free again."""

    port_id: str


class HostAddressGiven(NetworkEvent):
    """A host has an address of its own in the network, from which it gives DHCP and routes."""

    host_id: str
    ip: str


class HostAddressReturned(NetworkEvent):
    """A host that has no guest on the network any more has no address in it either: somebody else needs one."""

    host_id: str
    ip: str
