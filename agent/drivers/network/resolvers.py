"""The servers that a host asks for names, as far as the networks of its guests can ask them, too."""

from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""The second has the servers that systemd-resolved asks, where the first names itself alone."""
MOST = 3
"""Servers that are asked, as many as the C library asks."""


def servers(files: tuple[Path, ...] = FILES) -> tuple[str, ...]:
    """Return the servers of the first of these files that names one which is not this host's own; none where none
    does. Raises OSError."""
    for file in files:
        try:
            lines = file.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            continue
        named = (fields[1] for line in lines if (fields := line.split()[:2])[:1] == ["nameserver"] and len(fields) == 2)
        found = tuple(dict.fromkeys(each for each in named if _elsewhere(each)))
        if found:
            return found[:MOST]
    return ()


def _elsewhere(text: str) -> bool:
    try:
        return not IPv4Address(text).is_loopback
    except AddressValueError:
        return False
