"""Joining a host's part of a network to the other hosts' parts: a VXLAN device as a port of the bridge (RFC 7348).

Why unicast: the hosts are known, so that what is for all of a network goes to each of them, also where the wire between
them carries no multicast. From the answers a host learns who is where, so a guest that moves is found again by its
first packet.
"""

import json
from dataclasses import dataclass
from typing import Any

from agent.drivers import host_command
from agent.drivers.driver import DriverError, DriverFault
from agent.drivers.network import namespace

PORT = 4789
PREFIX = "gsx-"
"""The names of the VXLAN devices begin with this."""
OVERHEAD = 50
"""Bytes that VXLAN over IPv4 adds to a frame."""
TUNNEL_OVERHEAD = 60
"""Bytes that WireGuard over IPv4 adds to a packet."""
TUNNEL_BLOCK = 16
"""WireGuard fills packets up to a multiple of so many bytes."""
ETHERNET_MTU = 1500
GONE = 1
"""`ip` ends with this for a device that is not there."""
UNKNOWN = "00:00:00:00:00:00"
"""Stands in the forwarding table for each MAC address that was not learned yet, and for frames to all."""


@dataclass(frozen=True)
class Uplink:
    """The interface that leads to the other hosts; an empty name is a host for itself."""

    name: str
    encrypted: bool = False

    def mtu(self) -> int:
        """Bytes that fit into a packet of a guest. Raises DriverError "host-command-failed"."""
        if not self.name:
            return ETHERNET_MTU
        room = self.device_mtu()
        if self.encrypted:
            room = (room - TUNNEL_OVERHEAD) // TUNNEL_BLOCK * TUNNEL_BLOCK
        return min(ETHERNET_MTU, room - OVERHEAD)

    def device_mtu(self) -> int:
        """Bytes that fit into a packet of the interface. Raises DriverError "host-command-failed"."""
        device = _device(self.name)
        if device is None:
            raise DriverError(DriverFault.HOST_COMMAND_FAILED, f"there is no uplink {self.name!r} on this host")
        return int(device["mtu"])

    def address(self) -> str:
        """Return the first IPv4 address; empty for a host for itself. Raises DriverError "host-command-failed"."""
        if not self.name:
            return ""
        printed = host_command.run("ip", "-json", "-4", "address", "show", "dev", self.name, "scope", "global")
        found = [each for device in json.loads(printed or "[]") for each in device.get("addr_info", ())]
        if not found:
            raise DriverError(DriverFault.HOST_COMMAND_FAILED, f"the uplink {self.name!r} has no IPv4 address")
        return str(found[0]["local"])

    def join(self, bridge: str, segment: int, hosts: frozenset[str]) -> None:
        """Make the segment's device a port of the bridge, which sends to these addresses; a device that is not as it
        should be is made again.

        Raises DriverError "host-command-failed", OSError.
        """
        if not self.name or not segment:
            return
        name, own = device_name(segment), self.address()
        device = _device(name)
        # By which device its packets leave is then for the rules of routing to say.
        below = "" if self.encrypted else self.name
        if device is not None and not _fits(device, bridge, segment, own, below):
            _ip("link", "del", "dev", name)
            device = None
        if device is None:
            # Also where there is encryption: guests that started before it send packets as large as they were told.
            mtu = min(ETHERNET_MTU, self.device_mtu() - OVERHEAD)
            _ip(
                "link", "add", "name", name, "mtu", str(mtu), "type", "vxlan", "id", str(segment),
                *(("dev", below) if below else ()), "local", own, "dstport", str(PORT),
            )  # fmt: skip
            namespace.without_ipv6(name)
            _ip("link", "set", "dev", name, "master", bridge, "up")
        _send_to(name, hosts - {own})


def _send_to(name: str, hosts: frozenset[str]) -> None:
    """Have what is for all, or for nobody known, sent to these hosts and to no others."""
    printed = host_command.run("bridge", "-json", "fdb", "show", "dev", name)
    entries = [each for each in json.loads(printed or "[]") if each.get("dst")]
    now = {each["dst"] for each in entries if each["mac"] == UNKNOWN}
    # What was learned of a host that is none any more leads to it as well.
    learned = [each for each in entries if each["mac"] != UNKNOWN and each["dst"] not in hosts]
    changes = [f"fdb append {UNKNOWN} dev {name} dst {each}" for each in sorted(hosts - now)]
    changes += [f"fdb del {UNKNOWN} dev {name} dst {each}" for each in sorted(now - hosts)]
    changes += [f"fdb del {each['mac']} dev {name} dst {each['dst']}" for each in learned]
    if changes:
        host_command.run("bridge", "-force", "-batch", "-", given="\n".join(changes) + "\n", fails=(1,))


def sent_to() -> frozenset[tuple[str, str]]:
    """Return the VXLAN devices of guest networks, each with a host that it sends to what is for all, or for nobody
    known. Raises DriverError "host-command-failed".
    """
    found = json.loads(host_command.run("bridge", "-json", "fdb", "show") or "[]")
    return frozenset(
        (str(each["ifname"]), str(each["dst"]))
        for each in found
        if each.get("dst") and each["mac"] == UNKNOWN and str(each.get("ifname")).startswith(PREFIX)
    )


def leave(segment: int) -> None:
    """Remove the segment's device, where there is one. Raises DriverError "host-command-failed"."""
    name = device_name(segment)
    if _device(name) is not None:
        _ip("link", "del", "dev", name)


def device_name(segment: int) -> str:
    """Return the name of a segment's VXLAN device."""
    return f"{PREFIX}{segment}"


def _fits(device: dict[str, Any], bridge: str, segment: int, own: str, below: str) -> bool:
    said = device.get("linkinfo", {}).get("info_data", {})
    return (
        device.get("master") == bridge
        and "UP" in device.get("flags", ())
        and (said.get("id"), said.get("local"), said.get("group")) == (segment, own, None)
        and said.get("link", "") == below
    )


def _device(name: str) -> dict[str, Any] | None:
    printed = host_command.run("ip", "-json", "-details", "link", "show", "dev", name, fails=(GONE,))
    found = json.loads(printed) if printed else []
    return dict(found[0]) if found else None


def _ip(*arguments: str) -> None:
    host_command.run("ip", *arguments)
