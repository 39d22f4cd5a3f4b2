"""Ranges of IPv4 addresses, as a setting has them: separated by commas."""

from ipaddress import IPv4Network


def ranges(text: str) -> tuple[IPv4Network, ...]:
    """Return the ranges in a setting. Raises ValueError."""
    return tuple(IPv4Network(part) for each in text.split(",") if (part := each.strip()))


def checked_ranges(text: str) -> str:
    """Return the text of a setting unchanged. Raises ValueError where it has no ranges."""
    ranges(text)
    return text
