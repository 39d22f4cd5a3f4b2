"""A network as a fold: its addresses, who has them, and the ports."""

from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated

from domain.core.fields import PERSONAL
from domain.core.messages import Model
from domain.core.persistent_map import EMPTY, Table

LARGEST = 16
"""Prefix length of the largest network there may be."""
SMALLEST = 29


class Port(Model):
    """An address of the network with who uses it."""

    id: str
    name: Annotated[str, PERSONAL] = ""
    ip: str
    project: str
    keep: bool
    created: datetime
    instance_id: str = ""
    host_id: str = ""
    also_on: str = ""
    """Id of a second host that may have its guest, while that moves."""


class Network(Model):
    """A network."""

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
    """Host id -> its own address in the network."""
    taken: Table[str] = EMPTY
    """Address -> port id, or host id."""
    hint: int = 1
    """Where to look for a free address first."""

    @property
    def block(self) -> IPv4Network:
        """Its addresses."""
        return _block(self.cidr)


@lru_cache(1024)
def _block(cidr: str) -> IPv4Network:
    """Asked for at every change of a network, and each time the same."""
    return IPv4Network(cidr)


def mac_of(network: Network, ip: str) -> str:
    """A MAC address that is unique in the network because its address is: locally administered (IEEE 802, bit 2 of
    the first octet), then 16 bits of the segment, then the low 24 bits of the address."""
    low = int(IPv4Address(ip)) & 0xFFFFFF
    return bytes((0x52, *network.segment.to_bytes(3, "big")[1:], *low.to_bytes(3, "big"))).hex(":")


def address_index(network: Network, ip: str) -> int:
    """How far an address lies from the network's first."""
    return int(IPv4Address(ip)) - int(network.block.network_address)
