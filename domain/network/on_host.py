"""The answers of a host's agent about the networks on it: for the check of all parts against each other, and how often
rules of security groups have permitted something."""

from domain.core.messages import Model


class RuleCount(Model):
    """Packets that a rule was the first of its group to permit, and their bytes."""

    packets: int = 0
    bytes: int = 0

    def __add__(self, other: "RuleCount") -> "RuleCount":
        """Return the sum of both."""
        return RuleCount(packets=self.packets + other.packets, bytes=self.bytes + other.bytes)


class GroupCounters(Model):
    """How much the rules of a security group have permitted on a host since the host has had them."""

    rules: dict[str, RuleCount] = {}
    """Id of a rule -> its counter."""


class AddressOnHost(Model):
    """An address that a guest of the host has, as the host keeps it."""

    ip: str
    mac: str
    instance_id: str


class NetworkOnHost(Model):
    """A network of which the host has guests."""

    id: str
    segment: int
    cidr6: str = ""
    """The IPv6 range that the host knows of."""
    addresses: tuple[AddressOnHost, ...] = ()


class HostDifference(Model):
    """A part of a network that a host should have and does not have, or has and should not."""

    segment: int = 0
    """The network's segment; 0 for what belongs to no one network."""
    what: str
    missing: bool
    """Whether it is missing; otherwise it is too much."""


class HostNetworks(Model):
    """The networks that a host keeps, and how what it has differs from that."""

    networks: tuple[NetworkOnHost, ...] = ()
    differences: tuple[HostDifference, ...] = ()
    more: int = 0
    """How many differences there are besides those that are listed."""
