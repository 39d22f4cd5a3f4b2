"""IPv6 ranges of networks, and the addresses in them that follow from a MAC address (RFC 4291, appendix A).

Why derived: nothing is given and nothing is kept, an address is unique as the MAC address is, and a guest that makes
its own by SLAAC has the same one that DHCPv6 would tell it.
"""

from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network

PREFIX = 64
"""Prefix length of every range: SLAAC fills the other half of an address (RFC 4862)."""
LONGEST = 43
"""Characters of the longest text of a range."""
LINK = IPv6Network("fe80::/64")
SPECIAL = {
    "no host, of the host itself, and of IPv4 within IPv6": IPv6Network("::/64"),
    "translation from IPv4": IPv6Network("64:ff9b::/96"),
    "what is discarded": IPv6Network("100::/64"),
    "the link": IPv6Network("fe80::/10"),
    "a site, of which there are none any more": IPv6Network("fec0::/10"),
    "multicast": IPv6Network("ff00::/8"),
}
"""Ranges that no guest may have an address in (RFC 6890), by what their addresses are for."""


class Ipv6Mode(StrEnum):
    """How the guests of a network learn their IPv6 addresses, which are the same in both modes."""

    SLAAC = "slaac"
    DHCPV6 = "dhcpv6"


def network_range(text: str) -> IPv6Network:
    """Return the range that a network may have. Raises ValueError, which says what is allowed."""
    try:
        block = any_range(text)
    except ValueError as wrong:
        raise ValueError(f"an IPv6 range such as fd00:1::/64 is needed ({wrong})") from wrong
    if isinstance(block, IPv4Network):
        raise ValueError("an IPv6 range such as fd00:1::/64 is needed")
    if block.prefixlen != PREFIX:
        raise ValueError(f"its prefix must be /{PREFIX}")
    for what, special in SPECIAL.items():
        if block.overlaps(special):
            raise ValueError(f"it must be outside of {special}, the addresses of {what}")
    return block


def any_range(text: str) -> IPv4Network | IPv6Network:
    """Return a range of IPv4 or IPv6, without a zone, which means nothing to other machines. Raises ValueError."""
    if "%" in text:
        raise ValueError("an address has no zone here")
    return ip_network(text)


def address_of(cidr6: str, mac: str) -> str:
    """Return the address of a MAC address in a range; empty where there is no range or no MAC address yet."""
    return _derived(_block(cidr6), mac) if cidr6 and mac else ""


def link_local(mac: str) -> str:
    """Return the address of a MAC address that is valid on its link alone."""
    return _derived(LINK, mac)


def gateway_of(cidr6: str) -> str:
    """Return the gateway's address in a range, the first one, which follows from no MAC address; empty without a
    range."""
    return str(_block(cidr6)[1]) if cidr6 else ""


@lru_cache(1024)
def _block(cidr6: str) -> IPv6Network:
    """Return the range of this text; cached, since each row of a port needs it."""
    return IPv6Network(cidr6)


def _derived(block: IPv6Network, mac: str) -> str:
    first, *rest = bytes.fromhex(mac.replace(":", ""))
    interface = bytes((first ^ 2, *rest[:2], 0xFF, 0xFE, *rest[2:]))
    return str(IPv6Address(int(block.network_address) + int.from_bytes(interface, "big")))
