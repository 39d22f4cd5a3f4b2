"""The routes that a guest is told: by DHCP and by its metadata alike.

Why one to the metadata service: that is not within the network's range, and a guest has a default route only where the
network leads out. With one network that leads out and one that does not, it would lose the way otherwise.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network

METADATA_ADDRESS = "169.254.169.254"
ANYWHERE = IPv4Network("0.0.0.0/0")


@dataclass(frozen=True)
class Route:
    """A way to other addresses by a gateway of the network."""

    to: IPv4Network
    gateway: str


def routes(gateway: str, leads_out: bool = False) -> tuple[Route, ...]:
    """Return the routes of a network whose gateway has this address; none where that is not known, and so empty.

    `leads_out`: whether the gateway hands packets on to other networks.
    """
    if not gateway:
        return ()
    found = (Route(IPv4Network(METADATA_ADDRESS), gateway),)
    return (*found, Route(ANYWHERE, gateway)) if leads_out else found
