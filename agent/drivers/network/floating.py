"""Floating addresses at which a host answers on its uplink, and its routes for them.

Why by proxy: an address that the host itself had would be the host's, with every service that listens on it. What is
the agent's among the kernel's entries is marked as such, so that one that started anew takes away what is no more.
"""

import json
import socket
import time
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path

from agent.drivers import host_command
from agent.drivers.network.vxlan import Uplink

MARK = "85"
"""Number that stands for this agent where the kernel keeps who made an entry (rtnetlink's protocol)."""
TOLD_SECONDS = 20.0
"""Seconds for which an address that has arrived is announced again: the host that it left may answer for a moment."""
ETHERNET_ARP = 0x0806
EVERYBODY = b"\xff" * 6


class FloatingAddresses:
    """Every method blocks, is safe to run twice, and raises DriverError "host-command-failed" and OSError."""

    def __init__(self, uplink: Uplink) -> None:
        """`uplink`: the interface at which the host answers; without one, the host alone reaches the addresses."""
        self._uplink = uplink.name
        self._arrived: dict[str, float] = {}

    def have(self, wanted: Mapping[str, tuple[str, str]]) -> None:
        """Answer at these addresses and at no others; each leads to a device, by way of an address on it."""
        routes = led()
        answered = answered_at(self._uplink)
        for address in sorted(answered - wanted.keys()):
            host_command.run("ip", "neigh", "del", "proxy", address, "dev", self._uplink, fails=(1, 2))
        for address in sorted(routes.keys() - wanted.keys()):
            host_command.run("ip", "route", "del", f"{address}/32", "proto", MARK, fails=(1, 2))
        for address, (device, via) in sorted(wanted.items()):
            if routes.get(address) != (device, via):
                host_command.run("ip", "route", "replace", f"{address}/32", "via", via, "dev", device, "proto", MARK)
        self._answer(wanted.keys() - answered)
        self._announce(frozenset(wanted))

    def _answer(self, addresses: set[str]) -> None:
        """Answer at these addresses, too, on the uplink."""
        if not self._uplink or not addresses:
            return
        # Else an answer is put off for up to a second, as it would be among several proxies.
        Path("/proc/sys/net/ipv4/neigh", self._uplink, "proxy_delay").write_text("0")
        for address in sorted(addresses):
            host_command.run("ip", "neigh", "replace", "proxy", address, "dev", self._uplink, "protocol", MARK)
            self._arrived[address] = time.monotonic()

    def _announce(self, wanted: frozenset[str]) -> None:
        """Tell the wire where addresses are that have arrived lately."""
        since = time.monotonic() - TOLD_SECONDS
        self._arrived = {address: at for address, at in self._arrived.items() if address in wanted and at > since}
        if not self._arrived:
            return
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERNET_ARP)) as wire:
            wire.bind((self._uplink, ETHERNET_ARP))
            own = wire.getsockname()[4]
            for address in sorted(self._arrived):
                wire.send(_announcement(own, address))


def led() -> dict[str, tuple[str, str]]:
    """Return the floating addresses for which the host has a route, each with the route's device and next address.

    Raises DriverError "host-command-failed".
    """
    printed = host_command.run("ip", "-json", "-4", "route", "show", "proto", MARK)
    return {str(each["dst"]): (str(each.get("dev")), str(each.get("gateway"))) for each in json.loads(printed or "[]")}


def answered_at(uplink: str) -> set[str]:
    """Return the floating addresses at which the host answers on its uplink; none where it has no uplink.

    Raises DriverError "host-command-failed".
    """
    if not uplink:
        return set()
    found = json.loads(host_command.run("ip", "-json", "-4", "neigh", "show", "proxy", "dev", uplink) or "[]")
    return {str(each["dst"]) for each in found if str(each.get("protocol")) == MARK}


def _announcement(mac: bytes, address: str) -> bytes:
    """Return the frame by which a MAC address is said to have an IPv4 address (RFC 5227, an announcement)."""
    ip = IPv4Address(address).packed
    head = EVERYBODY + mac + ETHERNET_ARP.to_bytes(2, "big")
    return head + bytes((0, 1, 8, 0, 6, 4, 0, 1)) + mac + ip + bytes(6) + ip
