"""State of a network, as a fold of its events: its addresses and its ports."""

from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated

from domain.core.fields import PERSONAL
from domain.core.ipv6 import Ipv6Mode
from domain.core.messages import Model
from domain.core.persistent_map import EMPTY, Table

LARGEST = 16
"""Prefix length of the largest network that is allowed."""
SMALLEST = 29


GATEWAY = "gateway"
"""Stands in place of a port's id for the one that has a network's gateway address."""


class AddressPair(Model):
    """Addresses that a port may send from besides its own."""

    cidr: str
    """The IPv4 or IPv6 addresses, as 10.0.0.5/32 or a range."""
    mac: str = ""
    """MAC address that they are sent from; empty: the port's own."""


class PortOptions(Model):
    """Fields of a port that its user sets and changes: the same in the command, in the event, and in the state."""

    security_groups: tuple[str, ...] = ()
    """Ids of the groups that the port is in; none: the default group of its project."""
    port_security: bool = True
    """Whether the port's guest sends from its own addresses alone, and its security groups hold."""
    allowed_pairs: tuple[AddressPair, ...] = ()
    egress_kbit: int = 0
    """Most that the guest may send, in kbit/s; 0: no limit."""
    ingress_kbit: int = 0
    """Most that the guest may receive, in kbit/s; 0: no limit."""


class Port(PortOptions):
    """An address of the network, and the instance that uses it."""

    id: str
    name: Annotated[str, PERSONAL] = ""
    ip: str
    project: str
    keep: bool
    created: datetime
    instance_id: str = ""
    host_id: str = ""
    also_on: str = ""
    """Id of a second host that may run the guest, while the guest moves."""
    own_mac: str = ""
    """MAC address that the port's user chose; empty: the one that follows from the IP address."""


class Network(Model):
    """A virtual network with a block of IPv4 addresses, and perhaps a range of IPv6 addresses."""

    id: str
    project: str
    name: Annotated[str, PERSONAL]
    cidr: str
    description: Annotated[str, PERSONAL] = ""
    segment: int
    external: bool = False
    """Whether guests reach what is outside of the network, through their host."""
    cidr6: str = ""
    """IPv6 range; empty: its guests have no IPv6."""
    ipv6_mode: Ipv6Mode = Ipv6Mode.SLAAC
    created: datetime
    updated: datetime
    deleted: datetime | None = None
    ports: Table[Port] = EMPTY
    gateway: str = ""
    """Address at which DHCP, DNS and metadata answer on every host; empty in a network of an earlier release to which
    nothing has happened since."""
    hosts: dict[str, str] = {}
    """Host id -> an address of its own that an earlier release gave a host."""
    taken: Table[str] = EMPTY
    """Address -> id of the port that has it, or of the host, or GATEWAY."""
    hint: int = 1
    """Index at which the search for a free address begins."""

    @property
    def block(self) -> IPv4Network:
        """The network's block of addresses."""
        return _block(self.cidr)


@lru_cache(1024)
def _block(cidr: str) -> IPv4Network:
    """Return the block of this text; cached, since every change of a network needs it."""
    return IPv4Network(cidr)


def mac_of(network: Network, port: Port) -> str:
    """Return the MAC address of a port: the one that its user chose, or the one that follows from its IP address."""
    return port.own_mac or derived_mac(network, port.ip)


def derived_mac(network: Network, ip: str) -> str:
    """Return the MAC address that follows from an IP address, unique in the network because that is: locally
    administered (IEEE 802, bit 2 of the first octet), then 16 bits of the segment, then the low 24 of the address."""
    low = _number(ip) & 0xFFFFFF
    return bytes((0x52, *network.segment.to_bytes(3, "big")[1:], *low.to_bytes(3, "big"))).hex(":")


def derived_from(network: Network, mac: str) -> str:
    """Return the address of the network that a MAC address in its usual form follows from; empty where it follows from
    none."""
    first = int(network.block.network_address)
    # The block is smaller than what 24 bits can tell apart.
    address = first + ((int(mac.replace(":", ""), 16) - first) & 0xFFFFFF)
    if address > int(network.block.broadcast_address):
        return ""
    ip = str(IPv4Address(address))
    return ip if derived_mac(network, ip) == mac else ""


def address_index(network: Network, ip: str) -> int:
    """Return how far an address lies from the network's first."""
    return _number(ip) - int(network.block.network_address)


@lru_cache(1 << 14)
def _number(ip: str) -> int:
    """Return an address as a number; cached, since each row of a port needs it."""
    return int(IPv4Address(ip))
