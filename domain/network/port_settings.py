"""Settings of ports that hosts have to know besides the specifications of guests: they may change while guests run.

A host asks for it again and again. Why asked for and not sent: what a rule permits may concern every host, and a host
that was away asks for the state, not for what it missed.
"""

from collections.abc import Iterable

from domain.core.ipv6 import Ipv6Mode
from domain.core.messages import Model
from domain.network.state import PortOptions
from domain.security_group import EVERYWHERE, RuleDirection, SecurityRule


class PortSettings(PortOptions):
    """Settings of a port that a guest of the host has."""

    network_id: str
    ip: str
    instance_id: str
    host_id: str = ""
    """Id of the host that the port is bound to: while its guest moves, two hosts ask for the port, and this one alone
    answers at the floating addresses."""
    floating: tuple[str, ...] = ()
    """Floating addresses that lead to the port."""


class Ipv6Range(Model):
    """The IPv6 range of a network."""

    cidr: str
    mode: Ipv6Mode = Ipv6Mode.SLAAC


class HostPorts(Model):
    """Settings of the ports that a host asked for, with the rules of their security groups."""

    version: str
    """Changes whenever anything else here does."""
    external: tuple[str, ...] = ()
    """Ids of the networks that have a way out."""
    ranges6: dict[str, Ipv6Range] = {}
    """Id of a network that has an IPv6 range -> the range."""
    ports: tuple[PortSettings, ...] = ()
    groups: dict[str, tuple[SecurityRule, ...]] = {}
    """Id of a security group -> its rules."""
    members: dict[str, dict[str, tuple[str, ...]]] = {}
    """Id of a security group that a rule names -> id of a network -> addresses that its members have there."""
    members6: dict[str, dict[str, tuple[str, ...]]] = {}
    """The same with their IPv6 addresses."""


def all_permitted(ports: Iterable[tuple[str, str, str]]) -> HostPorts:
    """Return settings under which these ports, each a network's id, an address and an instance's id, may open and be
    opened all connections: as it was before there were security groups."""
    rules = tuple(SecurityRule(id=direction.value, direction=direction, cidr=EVERYWHERE) for direction in RuleDirection)
    settings = tuple(
        PortSettings(network_id=network, ip=ip, instance_id=instance, security_groups=("all",))
        for network, ip, instance in ports
    )
    return HostPorts(version="", ports=settings, groups={"all": rules})


NOTHING_KNOWN = HostPorts(version="")
"""Knowledge of a host that never asked: nothing is permitted."""
