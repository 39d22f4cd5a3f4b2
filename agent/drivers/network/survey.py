"""A look at all that a host has of its guest networks, and how it differs from what its records say.

Why everything at once: to ask for one device or one set at a time costs programs for each network, every few seconds;
the host is asked a few questions, however many networks it has.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from agent.drivers import host_command
from agent.drivers.network import firewall, floating, security, services, vxlan
from agent.drivers.network.record import NetworkRecord
from domain.network.on_host import HostDifference

PREFIXES = ("gsb-", "gsx-", "gsd-", "gst-", "gso-")
HOSTS, ZONES = "hosts", "zones"
SERVICES = ("services", "services6")
NOT_THERE = 1
"""Exit code of nft where there is no such table or map."""


@dataclass(frozen=True)
class Survey:
    """The devices, sets and rules of guest networks that are on a host."""

    links: Mapping[str, Mapping[str, Any]]
    """Name of a device of a guest network -> what ip tells of it."""
    elements: Mapping[str, frozenset[str]]
    """Name of a set or map of the rules -> its elements."""
    lacking: frozenset[str]
    """Chains of the rules that are missing or have no rule, as `FAMILY NAME`."""
    secured: frozenset[str] | None
    """Host's ends of interfaces that have rules of security groups; None where there are no such rules at all."""
    sent_to: frozenset[tuple[str, str]]
    """VXLAN devices, each with a host that it sends to."""
    led: Set[str]
    """Floating addresses for which there is a route to a network."""
    answered: Set[str]
    """Floating addresses at which the host answers on its uplink."""


@dataclass(frozen=True)
class NetworksWanted:
    """The guest networks as they should be on a host."""

    records: Collection[NetworkRecord]
    hosts: frozenset[str]
    """Uplinks of the hosts that frames are taken from."""
    reached: frozenset[str]
    """Uplinks of the hosts that frames are sent to."""
    secured: Collection[security.SecuredPort]
    """Interfaces of which the ports' settings are known."""
    serving: frozenset[int]
    """Segments of the networks whose dnsmasq runs."""
    uplink: bool
    """Whether the host is joined to others."""
    external: frozenset[int]
    """Segments of the networks that have a way out."""
    floating: Mapping[str, int]
    """Floating addresses that lead to guests of the host, each with the segment of its network."""


def look(uplink: str) -> Survey:
    """Ask the host what it has, its uplink being the device of this name. Raises DriverError "host-command-failed"."""
    printed = json.loads(host_command.run("ip", "-json", "-details", "link", "show") or "[]")
    links = {str(each["ifname"]): each for each in printed if str(each.get("ifname", "")).startswith(PREFIXES)}
    elements: dict[str, frozenset[str]] = {}
    rules: dict[str, int] = {}
    for family in ("bridge", "inet"):
        for each in _listed("table", family, firewall.TABLE):
            for kind in ("set", "map"):
                if found := each.get(kind):
                    elements[found["name"]] = _elements(found)
            if found := each.get("rule"):
                chain = f"{family} {found['chain']}"
                rules[chain] = rules.get(chain, 0) + 1
    for name in SERVICES:
        for each in _listed("set", "bridge", security.TABLE, name):
            if found := each.get("set"):
                elements[name] = _elements(found)
    jumps = _listed("map", "bridge", security.TABLE, "from")
    secured = frozenset().union(*(_elements(each["map"]) for each in jumps if "map" in each)) if jumps else None
    lacking = frozenset(firewall.CHAINS) - rules.keys()
    led, answered = floating.led().keys(), floating.answered_at(uplink)
    return Survey(links, elements, lacking, secured, vxlan.sent_to(), led, answered)


def differences(survey: Survey, wanted: NetworksWanted) -> Iterator[HostDifference]:
    """Yield how what the host has differs from what it should have."""
    for chain in sorted(survey.lacking):
        yield HostDifference(what=f"chain {chain} of table {firewall.TABLE}", missing=True)
    yield from _of_set(survey, HOSTS, dict.fromkeys(wanted.hosts, 0))
    segments = {each.segment: each for each in wanted.records}
    for record in wanted.records:
        yield from _devices(survey, wanted, record)
    taps = {record.tap(entry) for record in wanted.records for entry in record.entries}
    for name in sorted(survey.links):
        segment = _segment(name)
        if segment not in segments or (name.startswith("gst-") and name not in taps):
            yield HostDifference(segment=segment, what=f"device {name}", missing=False)
    for name, of in _expected(wanted).items():
        if name not in SERVICES or survey.secured is not None:
            yield from _of_set(survey, name, of)
    yield from _secured(survey, wanted)
    for kind, there in (("route to", survey.led), ("answer at", survey.answered if wanted.uplink else None)):
        if there is not None:
            yield from _compared(f"{kind} floating address {{}}", there, wanted.floating)


def _expected(wanted: NetworksWanted) -> dict[str, dict[str, int]]:
    """Return the elements that each set should have, each with the segment of its network."""
    expected: dict[str, dict[str, int]] = {name: {} for name in (*firewall.SETS, ZONES, *SERVICES)}
    for record in wanted.records:
        expected[ZONES][record.bridge] = record.segment
        for name, places in security.services(record).items():
            expected[name] |= dict.fromkeys(map(" . ".join, places), record.segment)
        for name, found in firewall.elements(record).items():
            expected[name] |= dict.fromkeys(map(" . ".join, found), record.segment)
    for name, found in security.beside(wanted.secured).items():
        # One is filled with the other, and nft lists it as numbers.
        if name != "pair_targets6":
            expected[name] = {_joined(each): _segment(each[0]) for each in found}
    return expected


def _joined(element: tuple[str, ...]) -> str:
    """Return an element as nft lists it: a range of one address is the address."""
    return " . ".join(each.removesuffix("/128" if ":" in each else "/32") for each in element)


def _devices(survey: Survey, wanted: NetworksWanted, record: NetworkRecord) -> Iterator[HostDifference]:
    """Yield the devices and the process that the network lacks."""
    parts = [("bridge", record.bridge, ""), ("device", services.outside_name(record.segment), record.bridge)]
    if wanted.uplink and record.segment:
        parts.append(("VXLAN device", vxlan.device_name(record.segment), record.bridge))
    if record.segment in wanted.external:
        parts.append(("way out", services.way_out_name(record.segment), ""))
    for kind, name, master in parts:
        what, link = f"{kind} {name}", survey.links.get(name)
        if link is None:
            yield HostDifference(segment=record.segment, what=what, missing=True)
        elif "UP" not in link.get("flags", ()):
            yield HostDifference(segment=record.segment, what=f"{what} that is up", missing=True)
        elif kind == "bridge" and not _judged(link):
            yield HostDifference(segment=record.segment, what=f"{what} that hands packets to rules", missing=True)
        elif master and link.get("master") != master:
            yield HostDifference(segment=record.segment, what=f"{what} on bridge {master}", missing=True)
    for tap in sorted(map(record.tap, record.entries)):
        # A guest that is off has none.
        if tap in survey.links and survey.links[tap].get("master") != record.bridge:
            yield HostDifference(segment=record.segment, what=f"device {tap} on bridge {record.bridge}", missing=True)
    name = vxlan.device_name(record.segment)
    if name in survey.links:
        to = {other for device, other in survey.sent_to if device == name}
        of_all = dict.fromkeys(wanted.reached, record.segment)
        yield from _compared(f"host {{}} of VXLAN device {name}", to, of_all, record.segment)
    if record.segment not in wanted.serving:
        yield HostDifference(segment=record.segment, what="dnsmasq", missing=True)


def _judged(bridge: Mapping[str, Any]) -> bool:
    """Return whether what crosses the bridge passes the rules of the IP family, of IPv4 and of IPv6."""
    info = bridge.get("linkinfo", {}).get("info_data", {})
    return bool(info.get("nf_call_iptables") and info.get("nf_call_ip6tables"))


def _of_set(survey: Survey, name: str, expected: Mapping[str, int]) -> Iterator[HostDifference]:
    """Yield how a set differs from the elements that it should have, each with the segment of its network."""
    yield from _compared(f"element {{}} of set {name}", survey.elements.get(name, frozenset()), expected)


def _compared(
    what: str, found: Set[str], expected: Mapping[str, int], segment: int | None = None
) -> Iterator[HostDifference]:
    """Yield how what was found differs from what was expected, each with the segment of its network; `segment`: that of
    what is too much, where its name does not say it."""
    for each in sorted(expected.keys() - found):
        yield HostDifference(segment=expected[each], what=what.format(each), missing=True)
    for each in sorted(found - expected.keys()):
        of = _segment(each) if segment is None else segment
        yield HostDifference(segment=of, what=what.format(each), missing=False)


def _secured(survey: Survey, wanted: NetworksWanted) -> Iterator[HostDifference]:
    if survey.secured is None:
        yield HostDifference(what=f"table {security.TABLE}", missing=True)
        return
    taps = {port.tap: port.segment for port in wanted.secured}
    yield from _compared(f"interface {{}} of table {security.TABLE}", survey.secured, taps)


def rejoin(record: NetworkRecord, survey: Survey) -> None:
    """Have the network's bridge up, and the interfaces of guests that run on it: a bridge that is made again has none.

    Raises DriverError "host-command-failed".
    """
    host_command.run("ip", "link", "set", "dev", record.bridge, "up")
    for tap in map(record.tap, record.entries):
        if tap in survey.links:
            # A guest may have been turned off meanwhile.
            host_command.run("ip", "link", "set", "dev", tap, "master", record.bridge, "up", fails=(1,))


def _listed(*what: str) -> list[dict[str, Any]]:
    """Return what nft lists; nothing where it is not there."""
    printed = host_command.run("nft", "-j", "list", *what, fails=(NOT_THERE,))
    return list(json.loads(printed)["nftables"]) if printed else []


def _elements(found: Mapping[str, Any]) -> frozenset[str]:
    """Return the elements of a set as nft lists it, or the keys of a map."""
    return frozenset(map(_text, found.get("elem", ())))


def _text(element: Any) -> str:
    if isinstance(element, list):
        return _text(element[0])
    if isinstance(element, Mapping):
        if "elem" in element:
            return _text(element["elem"]["val"])
        if "prefix" in element:
            return "{addr}/{len}".format_map(element["prefix"])
        return " . ".join(map(_text, element["concat"]))
    return str(element)


def _segment(text: str) -> int:
    """Return the segment in the name of a device, with which an element begins, too; 0 where there is none."""
    name = text.partition(" ")[0]
    kind, _, rest = name.partition("-")
    if kind == "gst":
        digits = rest.partition("-")[0]
        try:
            return int(digits, 16)
        except ValueError:
            return 0
    return int(rest) if rest.isdecimal() else 0
