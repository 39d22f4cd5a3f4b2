"""State of a network, as a fold of its events: its addresses and its ports."""

from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated

from domain.core.fields import PERSONAL
from domain.core.messages import Model
from domain.core.persistent_map import EMPTY, Table

LARGEST = 16
"""Prefix length of the largest network that is allowed."""
SMALLEST = 29


class Port(Model):
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


class Network(Model):
    """A virtual network with a block of IPv4 addresses."""

    id: str
    project: str
    name: Annotated[str, PERSONAL]
    cidr: str
    description: Annotated[str, PERSONAL] = ""
    segment: int
    created: datetime
    updated: datetime
    deleted: datetime | None = None
    ports: Table[Port] = EMPTY
    hosts: dict[str, str] = {}
    """Host id -> the host's own address in the network."""
    taken: Table[str] = EMPTY
    """Address -> id of the port, or of the host, that has it."""
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


def mac_of(network: Network, ip: str) -> str:
    """Return a MAC address that is unique in the network because its IP address is: locally administered (IEEE 802, bit
    2 of the first octet), then 16 bits of the segment, then the low 24 bits of the address."""
    low = int(IPv4Address(ip)) & 0xFFFFFF
    return bytes((0x52, *network.segment.to_bytes(3, "big")[1:], *low.to_bytes(3, "big"))).hex(":")


def address_index(network: Network, ip: str) -> int:
    """Return how far an address lies from the network's first."""
    return int(IPv4Address(ip)) - int(network.block.network_address)
