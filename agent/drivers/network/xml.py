"""A network as libvirt wants it written.

Why no address range: only the host that has a guest may answer its DHCP request, so each answers the MAC addresses
that it was given and is silent to all others.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from domain.guest_spec import Nic

NAMESPACE = "urn:gostack:network"
DNSMASQ = "http://libvirt.org/schemas/network/dnsmasq/1.0"
ET.register_namespace("gostack", NAMESPACE)
ET.register_namespace("dnsmasq", DNSMASQ)

PREFIX = "gsn-"


@dataclass(frozen=True)
class Entry:
    """A guest's address in a network."""

    mac: str
    ip: str
    name: str = ""

    def xml(self) -> str:
        """As `<host>` of `<dhcp>`."""
        return ET.tostring(self.element(), encoding="unicode")

    def element(self) -> ET.Element:
        """As `<host>` of `<dhcp>`."""
        named = {"name": self.name} if self.name else {}
        return ET.Element("host", {"mac": self.mac, **named, "ip": self.ip})


@dataclass(frozen=True)
class NetworkFacts:
    """Facts in a network's definition that the agent has to know."""

    bridge: str
    segment: int
    entries: tuple[Entry, ...]


def network_name(network_id: str) -> str:
    """libvirt's name for a network."""
    return PREFIX + _short(network_id)


def bridge_name(network_id: str) -> str:
    """The name of its bridge; the kernel takes 15 characters."""
    return "gsb-" + _short(network_id)


def network_xml(nic: Nic, entries: Sequence[Entry], mtu: int) -> str:
    """The definition of a NIC's network on this host. `mtu` in bytes."""
    network = ET.Element("network")
    ET.SubElement(network, "name").text = network_name(nic.network_id)
    ET.SubElement(network, "uuid").text = str(uuid.UUID(nic.network_id))
    metadata = ET.SubElement(network, "metadata")
    ET.SubElement(metadata, f"{{{NAMESPACE}}}network", {"id": nic.network_id, "segment": str(nic.segment)})
    # `open` gives guests a route and leaves the packet filter to us.
    ET.SubElement(network, "forward", {"mode": "open"})
    ET.SubElement(network, "bridge", {"name": bridge_name(nic.network_id), "stp": "off", "delay": "0"})
    ET.SubElement(network, "mtu", {"size": str(mtu)})
    ip = ET.SubElement(network, "ip", {"address": nic.gateway, "prefix": str(nic.prefix)})
    ET.SubElement(ip, "dhcp").extend(entry.element() for entry in entries)
    options = ET.SubElement(network, f"{{{DNSMASQ}}}options")
    # Without it dnsmasq, which holds itself for the only server, says no to guests of other hosts that renew.
    ET.SubElement(options, f"{{{DNSMASQ}}}option", {"value": "dhcp-ignore=tag:!known"})
    return ET.tostring(network, encoding="unicode")


def read_network(xml: str) -> NetworkFacts:
    """Read the facts from a network's definition. Raises xml.etree.ElementTree.ParseError."""
    network = ET.fromstring(xml)
    bridge, own = network.find("bridge"), network.find(f"metadata/{{{NAMESPACE}}}network")
    return NetworkFacts(
        bridge="" if bridge is None else bridge.get("name", ""),
        segment=0 if own is None else int(own.get("segment", "0")),
        entries=tuple(
            Entry(host.get("mac", ""), host.get("ip", ""), host.get("name", "")) for host in network.iter("host")
        ),
    )


def _short(network_id: str) -> str:
    return uuid.UUID(network_id).hex[:8]
