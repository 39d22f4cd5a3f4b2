"""Joining a host's part of a network to the other hosts' parts: a VXLAN device as a port of the bridge (RFC 7348).

Why multicast: a host needs to know no other host. It asks a group made of the network's segment, and learns from the
answers who is where, so a guest that moves is found again by its first packet.
"""

import json
from dataclasses import dataclass
from typing import Any

from agent.drivers import host_command
from agent.drivers.driver import DriverError, DriverFault

PORT = 4789
OVERHEAD = 50
"""Bytes that VXLAN over IPv4 adds to a frame."""
ETHERNET_MTU = 1500
GONE = 1
"""`ip` ends with this for a device that is not there."""


@dataclass(frozen=True)
class Uplink:
    """The interface that leads to the other hosts; an empty name is a host for itself."""

    name: str

    def mtu(self) -> int:
        """Bytes that fit into a packet of a guest. Raises DriverError "host-command-failed"."""
        if not self.name:
            return ETHERNET_MTU
        device = _device(self.name)
        if device is None:
            raise DriverError(DriverFault.HOST_COMMAND_FAILED, f"there is no uplink {self.name!r} on this host")
        return min(ETHERNET_MTU, int(device["mtu"]) - OVERHEAD)

    def join(self, bridge: str, segment: int) -> None:
        """Make the segment's device a port of the bridge; one that is not as it should be is made again.

        Raises DriverError "host-command-failed".
        """
        name = device_name(bridge)
        if not self.name or not segment:
            return
        device = _device(name)
        if device is not None and self._fits(device, bridge, segment):
            return
        if device is not None:
            _ip("link", "del", "dev", name)
        _ip(
            "link", "add", "name", name, "mtu", str(self.mtu()), "type", "vxlan", "id", str(segment),
            "dev", self.name, "group", group(segment), "dstport", str(PORT),
        )  # fmt: skip
        _ip("link", "set", "dev", name, "master", bridge, "up")

    def _fits(self, device: dict[str, Any], bridge: str, segment: int) -> bool:
        said = device.get("linkinfo", {}).get("info_data", {})
        return (
            device.get("master") == bridge
            and "UP" in device.get("flags", ())
            and (said.get("id"), said.get("link"), said.get("group")) == (segment, self.name, group(segment))
        )


def leave(bridge: str) -> None:
    """Remove the bridge's device, where it has one. Raises DriverError "host-command-failed"."""
    name = device_name(bridge)
    if _device(name) is not None:
        _ip("link", "del", "dev", name)


def device_name(bridge: str) -> str:
    """The name of a bridge's VXLAN device."""
    return "gsx-" + bridge.partition("-")[2]


def group(segment: int) -> str:
    """The multicast group of a segment, in the range that is each organization's own (RFC 2365).

    The address has room for the low 16 of 24 bits: segments that share a group still differ by their identifier.
    """
    return f"239.77.{segment >> 8 & 0xFF}.{segment & 0xFF}"


def _device(name: str) -> dict[str, Any] | None:
    printed = host_command.run("ip", "-json", "-details", "link", "show", "dev", name, fails=(GONE,))
    found = json.loads(printed) if printed else []
    return dict(found[0]) if found else None


def _ip(*arguments: str) -> None:
    host_command.run("ip", *arguments)
