"""Ranges of addresses, as a setting has them: separated by commas."""

from ipaddress import IPv4Network, IPv6Network, ip_network


def any_ranges(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Return the ranges of IPv4 and IPv6 in a setting. Raises ValueError."""
    return tuple(ip_network(part) for each in text.split(",") if (part := each.strip()))


def ranges(text: str) -> tuple[IPv4Network, ...]:
    """Return the ranges in a setting that has those of IPv4 alone. Raises ValueError."""
    return tuple(IPv4Network(str(each)) for each in any_ranges(text))


def checked_any_ranges(text: str) -> str:
    """Return the text of a setting unchanged. Raises ValueError where it has no ranges."""
    any_ranges(text)
    return text


def checked_ranges(text: str) -> str:
    """Return the text of a setting unchanged. Raises ValueError where it has no ranges of IPv4."""
    ranges(text)
    return text
