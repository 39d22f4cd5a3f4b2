"""The ways out of networks on a host: a pair of devices from a network's namespace to the host, and who may use it.

How a packet leaves: the guest's gateway, in the namespace of its network, sends it on with an address of the pair as
its sender, which no other network on the host has; so the host's routing table never sees a guest's own address, and
networks with equal ranges go out side by side. The host sends it on by its own routes, as its own.

How a packet comes in: at a floating address, for which the host answers on its uplink and has a route to the pair. In
the namespace the address becomes the guest's, and the sender stays: so the rules of security groups see who it is.

What the host's rules add: nothing that comes by such a pair is for the host itself, for another host, or for whatever
the operator closes; the host is trusted there for its address, which a guest now shares.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from pathlib import Path
from typing import Any

from agent.drivers import host_command
from agent.drivers.driver import DriverError, DriverFault
from agent.drivers.network import namespace
from agent.drivers.network.floating import FloatingAddresses
from agent.drivers.network.forwarding import Forwarding
from agent.drivers.network.services import INSIDE, way_out_name
from agent.drivers.network.vxlan import PORT as VXLAN_PORT
from agent.drivers.network.vxlan import Uplink

logger = logging.getLogger(__name__)

TABLE = "gostack_ways"
OUT = "out"
"""Name of the namespace's end of the pair."""
TRANSIT = IPv4Network("169.254.64.0/18")
"""Addresses of the pairs, two each: of the link's range, which nobody routes; the metadata service's is not in it."""
PREFIX = "gso-"
LINK_RANGE = "169.254.0.0/16"


@dataclass(frozen=True)
class Way:
    """The way out of a network."""

    segment: int
    block: IPv4Network
    """The network's range: what comes from another address does not leave."""
    pid: int
    """Process that is in the network's namespace."""
    mtu: int
    floating: tuple[tuple[str, str], ...] = ()
    """Floating addresses, each with the address of the guest of this host that it leads to."""
    led: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """The same before a change of which it is not known how far it came."""

    def without(self, addresses: frozenset[str]) -> "Way":
        """Return the way without these floating addresses."""
        return replace(self, floating=tuple(each for each in self.floating if each[0] not in addresses))

    @property
    def device(self) -> str:
        """Name of the host's end of the pair."""
        return way_out_name(self.segment)


class WaysOut:
    """Every method blocks, is safe to run twice, and raises DriverError "host-command-failed" and OSError."""

    def __init__(self, uplink: Uplink, directory: Path, closed: Iterable[IPv4Network] = ()) -> None:
        """`closed`: ranges that no guest reaches this way."""
        self._uplink = uplink
        self._closed = tuple(collapse_addresses(closed))
        self._forwarding = Forwarding(directory)
        self._lock = threading.Lock()
        self._made: dict[int, Way] = {}
        """Segment -> its way, as this process made it."""
        self._numbers: dict[int, int] = {}
        self._script = ""
        self._floating = FloatingAddresses(uplink)
        self._nothing_there = False

    def have(self, wanted: Callable[[], Iterable[Way]], hosts: frozenset[str]) -> None:
        """Have the ways that `wanted` returns, and no others; `hosts` are the uplinks of hosts, which no guest reaches
        by them, nor has for a floating address."""
        with self._lock:
            ways = {way.segment: way.without(hosts) for way in wanted()}
            if not ways and self._nothing_there:
                return
            self._nothing_there = False
            present = _present()
            for name in sorted(present.keys() - {way.device for way in ways.values()}):
                namespace.remove(name)
            before, self._made = self._made, {each: way for each, way in self._made.items() if each in ways}
            if ways:
                self._guard(hosts, [address for way in ways.values() for address, _ in way.floating])
            elif self._script != _NO_RULES:
                self._forwarding.switch_on(frozenset())
                host_command.run("nft", "-f", "-", given=_NO_RULES)
                self._script = _NO_RULES
            for segment, way in sorted(ways.items()):
                if way.device not in present or self._made.get(segment) != way:
                    self._open(way, present)
                    _end_connections(way, before.get(segment))
                    self._made[segment] = way
            self._floating.have(
                {
                    address: (way.device, str(_theirs(self._numbers[segment])))
                    for segment, way in ways.items()
                    for address, _ in way.floating
                }
            )
            self._nothing_there = not ways

    def _guard(self, hosts: frozenset[str], floating: Iterable[str]) -> None:
        """Have the host's rules, before anything is forwarded."""
        outward = _outward(self._uplink.name)
        fresh = self._forwarding.to_switch_on(outward)
        script = host_script(outward, fresh, hosts, self._closed, floating, self._uplink.address())
        if script != self._script or not _stands():
            host_command.run("nft", "-f", "-", given=script)
            self._script = script
        self._forwarding.switch_on(fresh)

    def _open(self, way: Way, present: Mapping[str, int | None]) -> None:
        """Make a way, or what of it is missing."""
        number = self._number(way, present)
        theirs, ours = _theirs(number), TRANSIT[2 * number]
        if way.device not in present:
            ends = ("mtu", str(way.mtu), "type", "veth", "peer", "name", OUT, "mtu", str(way.mtu))
            host_command.run("ip", "link", "add", way.device, *ends, "netns", str(way.pid))
        _set("ipv6", way.device, "disable_ipv6", "1")
        _set("ipv4", way.device, "send_redirects", "0")
        host_command.run("ip", "address", "replace", f"{ours}/31", "dev", way.device)
        host_command.run("ip", "link", "set", "dev", way.device, "up")
        _set("ipv4", way.device, "forwarding", "1")
        with namespace.of_process(way.pid):
            # The rules first: without them the namespace would send on whatever comes.
            host_command.run("nft", "-f", "-", given=inside_script(way))
            for name, value in (("send_redirects", "0"), ("accept_redirects", "0")):
                for device in ("all", INSIDE, OUT):
                    _set("ipv4", device, name, value)
            host_command.run("ip", "address", "replace", f"{theirs}/31", "dev", OUT)
            host_command.run("ip", "link", "set", "dev", OUT, "up")
            host_command.run("ip", "route", "replace", "default", "via", str(ours), "dev", OUT)
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")

    def _number(self, way: Way, present: Mapping[str, int | None]) -> int:
        """Return the number of the pair, from which its addresses follow: the one that it has or had, else a free
        one."""
        taken = {number for name, number in present.items() if number is not None and name != way.device}
        taken |= {number for segment, number in self._numbers.items() if segment in self._made}
        before = present.get(way.device)
        number = self._numbers.get(way.segment) if before is None else before
        if number is None or number in taken - {before}:
            free = (each for each in range(TRANSIT.num_addresses // 2) if each not in taken)
            number = next(free, None)
        if number is None:
            raise DriverError(DriverFault.HOST_COMMAND_FAILED, "this host has no more addresses for ways out")
        self._numbers[way.segment] = number
        return number


def _theirs(number: int) -> IPv4Address:
    """Return the address that the namespace has of a pair."""
    return TRANSIT[2 * number + 1]


def _end_connections(way: Way, before: Way | None) -> None:
    """Forget the connections by floating addresses that led to a guest by this way, and do not any more."""
    gone = {*way.led, *(before.floating if before is not None else ())} - set(way.floating)
    for address, _ in gone:
        with namespace.of_process(way.pid):
            for side in ("--orig-dst", "--reply-dst"):
                host_command.run("conntrack", "-D", side, address, fails=(1,))
        for side in ("--orig-dst", "--orig-src"):
            host_command.run("conntrack", "-D", side, address, fails=(1,))


_NO_RULES = f"table inet {TABLE} {{ }}\ndelete table inet {TABLE}\n"


def host_script(
    outward: Iterable[str],
    forwarding: Iterable[str],
    hosts: Iterable[str],
    closed: Iterable[IPv4Network],
    floating: Iterable[str],
    own: str,
) -> str:
    """Return the commands for nft that put the host's rules in place of the present ones, in one transaction.

    `outward`: devices by which packets may leave; `forwarding`: those that forward for this purpose alone; `own`: the
    address of the uplink, empty where there is none.
    """
    among = f'iifname "{PREFIX}*" oifname "{PREFIX}*" ip saddr {TRANSIT}'
    lines = [
        *_NO_RULES.splitlines(),
        f"table inet {TABLE} {{",
        _set_of("hosts", "type ipv4_addr;", hosts),
        _set_of("closed", "type ipv4_addr; flags interval;", map(str, closed)),
        _set_of("floating", "type ipv4_addr;", floating),
        _set_of("outward", "type ifname;", (f'"{each}"' for each in outward)),
        _set_of("forwarding", "type ifname;", (f'"{each}"' for each in forwarding)),
        "  chain input {",
        "    type filter hook input priority 0;",
        f'    iifname "{PREFIX}*" ct state established,related accept',
        f'    iifname "{PREFIX}*" counter drop',
        "  }",
        "  chain from_guests {",
        "    ct state established,related accept",
        "    ip daddr @hosts counter drop",
        "    ip daddr @closed counter drop",
        f"    udp dport {VXLAN_PORT} counter drop",
        "    oifname @outward jump sender",
        # To a guest of this host as to one elsewhere: by its floating address alone.
        f'    oifname "{PREFIX}*" ip daddr @floating jump sender',
        "    counter drop",
        "  }",
        "  chain sender {",
        f"    ip saddr {TRANSIT} accept",
        "    ip saddr @floating accept",
        "  }",
        "  chain to_guests {",
        "    ct state established,related accept",
        "    ip daddr @floating accept",
        "    counter drop",
        "  }",
        "  chain forward {",
        "    type filter hook forward priority 0;",
        f'    iifname "{PREFIX}*" goto from_guests',
        f'    oifname "{PREFIX}*" goto to_guests',
        "    iifname @forwarding counter drop",
        "  }",
        "  chain postrouting {",
        "    type nat hook postrouting priority 100;",
        *([f"    {among} snat ip to {own}"] if own else []),
        f'    iifname "{PREFIX}*" ip saddr {TRANSIT} masquerade',
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def inside_script(way: Way) -> str:
    """Return the commands for nft that put the rules of a network's namespace in place of the present ones."""
    inward, outward = "", ""
    if way.floating:
        inward = f'iifname "{OUT}" dnat to ip daddr map {{ {_mapped(way.floating)} }}'
        # Of several addresses of one guest, the first is the one that it is seen as.
        seen_as = dict(sorted(((guest, address) for address, guest in way.floating), reverse=True))
        outward = f'oifname "{OUT}" snat to ip saddr map {{ {_mapped(seen_as.items())} }}'
    return f"""\
table ip {TABLE} {{ }}
delete table ip {TABLE}
table ip {TABLE} {{
  chain input {{
    type filter hook input priority 0;
    iifname "{OUT}" ct state established,related accept
    iifname "{OUT}" counter drop
    ip daddr {TRANSIT} counter drop
  }}
  chain forward {{
    type filter hook forward priority 0; policy drop;
    tcp flags syn tcp option maxseg size set rt mtu
    ct state established,related accept
    iifname "{INSIDE}" oifname "{OUT}" ip saddr {way.block} ip daddr != {LINK_RANGE} counter accept
    iifname "{OUT}" oifname "{INSIDE}" ct status dnat counter accept
    counter
  }}
  chain prerouting {{
    type nat hook prerouting priority -100;
    {inward}
  }}
  chain postrouting {{
    type nat hook postrouting priority 100;
    {outward}
    oifname "{OUT}" masquerade
  }}
}}
"""


def _mapped(pairs: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{key} : {value}" for key, value in sorted(pairs))


def _set_of(name: str, kind: str, elements: Iterable[str]) -> str:
    listed = ", ".join(sorted(elements))
    return f"  set {name} {{ {kind}{f' elements = {{ {listed} }}' if listed else ''} }}"


def _set(family: str, device: str, name: str, value: str) -> None:
    """Give a device of the calling thread's network namespace a setting of the kernel."""
    Path("/proc/sys/net", family, "conf", device, name).write_text(value)


def _stands() -> bool:
    """Return whether the host's rules are there: whoever flushes the host's rule set takes them away."""
    return host_command.run("nft", "list", "chain", "inet", TABLE, "forward", fails=(1,)) is not None


def _present() -> dict[str, int | None]:
    """Return the numbers of the pairs on this host by the names of their devices; None for one without an address."""
    found: dict[str, int | None] = {}
    for device in _listed("address", "show", "type", "veth"):
        name = str(device.get("ifname", ""))
        if name.startswith(PREFIX):
            local = (IPv4Address(each["local"]) for each in device.get("addr_info", ()) if each["family"] == "inet")
            own = next((each for each in local if each in TRANSIT), None)
            found[name] = None if own is None else (int(own) - int(TRANSIT[0])) // 2
    return found


def _outward(uplink: str) -> frozenset[str]:
    """Return the devices by which the host reaches what is outside: the uplink, and those that lead to a router."""
    routers = {str(each["dev"]) for each in _listed("-4", "route", "show") if "gateway" in each and "dev" in each}
    # Floating addresses have routes of that form, too.
    return frozenset(each for each in (uplink, *routers) if each and not each.startswith(PREFIX))


def _listed(*arguments: str) -> Iterator[dict[str, Any]]:
    yield from json.loads(host_command.run("ip", "-json", *arguments) or "[]")
