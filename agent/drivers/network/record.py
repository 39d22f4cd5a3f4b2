"""Records of a host's guest networks: which there are, and which of its guests has which address in them.

Why files: bridges, namespaces and rules are gone with the host's power, and the agent makes them again from here
without asking anybody.
"""

import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Interface
from pathlib import Path

from agent.drivers import whole_file
from domain.core import ipv6
from domain.core.ipv6 import Ipv6Mode
from domain.core.mac import GATEWAY_OCTET
from domain.guest_spec import Nic
from domain.network.port_settings import NOTHING_KNOWN, HostPorts

NETWORK = "network.json"
HOSTS = "hosts.json"
PORTS = "ports.json"
PORTS_BEFORE = "ports-before.json"


@dataclass(frozen=True)
class Entry:
    """A guest's address in a network."""

    mac: str
    ip: str
    name: str
    """The guest's host name; empty where another guest of the network has it already."""
    instance_id: str


@dataclass(frozen=True)
class NetworkRecord:
    """A network on this host."""

    id: str
    segment: int
    """VXLAN network identifier: 24 bits, another one for each network."""
    gateway: str
    prefix: int
    entries: tuple[Entry, ...] = ()
    cidr6: str = ""
    """IPv6 range; empty: no IPv6 of a guest passes."""
    ipv6_mode: Ipv6Mode = Ipv6Mode.SLAAC

    @classmethod
    def of(cls, nic: Nic) -> "NetworkRecord":
        """Return the network of a NIC, with nobody in it."""
        ident = str(uuid.UUID(nic.network_id))
        return cls(ident, nic.segment, nic.gateway, nic.prefix, (), nic.cidr6, nic.ipv6_mode)

    @property
    def interface(self) -> IPv4Interface:
        """The gateway's address with the network's prefix."""
        return IPv4Interface(f"{self.gateway}/{self.prefix}")

    @property
    def bridge(self) -> str:
        """Name of the network's bridge."""
        return bridge_name(self.segment)

    @property
    def gateway_mac(self) -> str:
        """MAC address of the gateway: the same on every host, and begun by an octet that no guest's begins with."""
        return bytes((GATEWAY_OCTET, *self.segment.to_bytes(3, "big"), 0, 1)).hex(":")

    @property
    def gateways6(self) -> tuple[str, ...]:
        """The gateway's IPv6 addresses, that of the link last; none without a range."""
        return (ipv6.gateway_of(self.cidr6), ipv6.link_local(self.gateway_mac)) if self.cidr6 else ()

    def ip6(self, entry: Entry) -> str:
        """Return the IPv6 address of a guest; empty without a range."""
        return ipv6.address_of(self.cidr6, entry.mac)

    def with_range(self, cidr6: str, mode: Ipv6Mode) -> "NetworkRecord":
        """Return the network with this IPv6 range; without one, as it is: a guest that knows of none may have been
        specified before the network got it."""
        return replace(self, cidr6=cidr6, ipv6_mode=mode) if cidr6 else self

    def tap(self, entry: Entry) -> str:
        """Name of the host's end of a guest's interface."""
        return tap_name(self.segment, entry.ip, self.prefix)

    def having(self, entry: Entry) -> "NetworkRecord":
        """Return the network with this entry, in place of what has its MAC or its address."""
        others = [each for each in self.entries if entry.mac != each.mac and entry.ip != each.ip]
        if any(each.name == entry.name for each in others):
            # A name resolves to one address; who comes later is told its name by its metadata alone.
            entry = replace(entry, name="")
        return replace(self, entries=(*others, entry))

    def without(self, mac: str) -> "NetworkRecord":
        """Return the network without the entry of this MAC."""
        return replace(self, entries=tuple(each for each in self.entries if each.mac != mac))


def bridge_name(segment: int) -> str:
    """Return the name of a network's bridge. The kernel takes 15 characters: too few for an id, and enough for the
    segment, which no two networks share."""
    return f"gsb-{segment}"


def segment_of(bridge: str) -> int | None:
    """Return the segment of the network that has this bridge; None for a bridge that is no network's."""
    prefix, _, number = bridge.partition("-")
    return int(number) if prefix == "gsb" and number.isdecimal() else None


def tap_name(segment: int, ip: str, prefix: int) -> str:
    """Return the name of the host's end of an interface: segment, and how far its address lies from the network's."""
    interface = IPv4Interface(f"{ip}/{prefix}")
    return f"gst-{segment:06x}-{int(interface.ip) - int(interface.network.network_address):04x}"


class NetworkRecords:
    """The records of all networks of a host, a directory each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def directory(self, segment: int) -> Path:
        """Return the directory for the network's files."""
        return self._directory / str(segment)

    def all(self) -> Iterator[NetworkRecord]:
        """Yield every network that the host has. Raises OSError."""
        for path in sorted(self._directory.glob(f"*/{NETWORK}")):
            found = self.get(int(path.parent.name))
            if found is not None:
                yield found

    def get(self, segment: int) -> NetworkRecord | None:
        """Return the network of this segment; None where the host does not have it. Raises OSError."""
        try:
            found = json.loads((self.directory(segment) / NETWORK).read_text())
        except FileNotFoundError:
            return None
        entries = tuple(Entry(**each) for each in found["entries"])
        # An earlier release knew no IPv6.
        mode = Ipv6Mode(found.get("ipv6_mode", Ipv6Mode.SLAAC))
        return NetworkRecord(**{**found, "entries": entries, "ipv6_mode": mode})

    def put(self, record: NetworkRecord) -> None:
        """Keep the network. Raises OSError."""
        directory = self.directory(record.segment)
        directory.mkdir(parents=True, exist_ok=True)
        # The name server of the network has an account of its own, and reads its files there.
        for each in (self._directory, directory):
            each.chmod(0o711)
        whole_file.put(directory / NETWORK, json.dumps(asdict(record)))

    def hosts(self) -> dict[str, str]:
        """Return the hosts that are known, address of the uplink -> public key of its tunnel (empty: it has none); none
        before any were kept. Raises OSError."""
        try:
            found = json.loads((self._directory / HOSTS).read_text())
        except FileNotFoundError:
            return {}
        # An earlier release kept a list of addresses.
        return dict(found) if isinstance(found, dict) else dict.fromkeys(found, "")

    def keep_hosts(self, hosts: Mapping[str, str]) -> None:
        """Keep the hosts that are known, as `hosts` returns them. Raises OSError."""
        whole_file.put(self._directory / HOSTS, json.dumps(dict(sorted(hosts.items()))))

    def ports(self) -> HostPorts:
        """Return what is known of the guests' ports; nothing before any was kept. Raises OSError."""
        try:
            return HostPorts.model_validate_json((self._directory / PORTS).read_bytes())
        except FileNotFoundError:
            return NOTHING_KNOWN

    def keep_ports(self, settings: HostPorts) -> None:
        """Keep what is known of the guests' ports, and what was before, until `ports_in_force`. Raises OSError."""
        if self.ports_before() is None:
            whole_file.put(self._directory / PORTS_BEFORE, self.ports().model_dump_json())
        whole_file.put(self._directory / PORTS, settings.model_dump_json())

    def ports_before(self) -> HostPorts | None:
        """Return what was in force before a change that is not in force everywhere yet; None where there is none.

        Raises OSError.
        """
        try:
            return HostPorts.model_validate_json((self._directory / PORTS_BEFORE).read_bytes())
        except FileNotFoundError:
            return None

    def ports_in_force(self) -> None:
        """Forget what was known of the ports before. Raises OSError."""
        (self._directory / PORTS_BEFORE).unlink(missing_ok=True)

    def half_removed(self) -> Iterator[int]:
        """Yield the segments of networks that are removed, and of which files are left. Raises OSError."""
        for path in sorted(self._directory.glob("*/")):
            if path.name.isdecimal() and not (path / NETWORK).exists():
                yield int(path.name)

    def remove(self, segment: int) -> None:
        """Forget the network; one that is not there is success. Raises OSError."""
        # The record first: what is left of a directory without one is nobody's network.
        (self.directory(segment) / NETWORK).unlink(missing_ok=True)
        shutil.rmtree(self.directory(segment), ignore_errors=True)
