"""Security groups on a host: which new connections cross its bridges.

How, where the bridge family of nftables cannot track connections: as a frame crosses a bridge, its port and its
destination's port are known, and the rules of their groups set two bits of its mark, for what the sender may open and
for what the receiver may be opened. The same packet then passes the IP family's forward hook (br_netfilter, switched on
for these bridges alone), where connections are tracked: what belongs to one passes, what has both bits begins one, and
all else is dropped. What is not known here, a port or a group, permits nothing. By what IPv6 needs to find neighbours
(RFC 4861, RFC 2710) no connection begins, so it passes without a rule.
"""

import json
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from agent.drivers import host_command
from agent.drivers.driver import DriverError
from agent.drivers.network import bandwidth
from agent.drivers.network.record import Entry, NetworkRecord, NetworkRecords
from agent.drivers.network.routes import METADATA_ADDRESS
from domain.network.port_settings import HostPorts, PortSettings
from domain.security_group import EVERYWHERE, Protocol, RuleDirection, SecurityRule

logger = logging.getLogger(__name__)

TABLE = "gostack_groups"
RENEWED = (TABLE, *(f"set {name}" for name in ("services", "services6", "open", "pairs", "pair_arps", "pairs6")))
"""Ends of what is said to be missing, where applying what is known of ports makes it again."""
EGRESS, INGRESS = 1, 2
"""Bits of a packet's mark: the sender may open the connection, the receiver may be opened."""
PRIORITY = -190
"""Before br_netfilter's hook on a bridge's forwarding (-1), which hands the packet to the IP family's."""
SIDES = ((RuleDirection.EGRESS, "out", EGRESS, "daddr"), (RuleDirection.INGRESS, "in", INGRESS, "saddr"))
FAMILIES = (("ip", "m", "ipv4_addr"), ("ip6", "m6", "ipv6_addr"))
"""For each version of IP its name, how the names of sets of groups' members begin, and the type of their elements."""


@dataclass(frozen=True)
class SecuredPort:
    """A guest's interface on this host, with the settings of its port."""

    tap: str
    segment: int
    mac: str
    settings: PortSettings
    ip6: str = ""
    """IPv6 address of the guest; empty where its network has no range."""

    @property
    def places(self) -> tuple[tuple[int, str], ...]:
        """Segment of the port's network, with each address of the guest there."""
        return tuple((self.segment, ip) for ip in (self.settings.ip, self.ip6) if ip)


Permitted = dict[tuple[int, str], frozenset[tuple[object, ...]]]
"""Segment and address -> all that is permitted there."""


class SecurityGroups:
    """Applies what is known of ports; every method blocks and raises DriverError "host-command-failed"."""

    def __init__(self, records: NetworkRecords) -> None:
        self._records = records
        self._lock = threading.Lock()
        self._known = records.ports()
        self._before = records.ports_before()
        self._put: HostPorts | None = None
        """The settings by which rules were last applied in this process."""
        self._applied: dict[str, str] = {}
        """Tap -> id of the instance whose permissions it has."""
        self._permitted: Permitted | None = None
        """Permissions when rules were last applied; None before the first time in this process."""

    @property
    def version(self) -> str:
        """The version of what is in force; empty while a change is not in force everywhere, so that the API tells it
        again."""
        return self._known.version if self._before is None else ""

    @property
    def known(self) -> HostPorts:
        """The settings of ports that are known."""
        return self._known

    @property
    def before(self) -> HostPorts | None:
        """The settings that were in force before a change that is not in force everywhere yet, if there is one."""
        return self._before

    def know(self, settings: HostPorts) -> None:
        """Apply these settings, and keep them."""
        with self._lock:
            if settings != self._known:
                self._records.keep_ports(settings)
                self._before = self._records.ports_before()
                self._known = settings
            elif settings == self._put and self._applied == _owners(self._ports(self._records.all())):
                return
            self._apply()

    def in_force(self) -> None:
        """Forget what was known before: the present settings are in force everywhere on the host."""
        with self._lock:
            self._records.ports_in_force()
            self._before = None

    def renew(self) -> None:
        """Apply what is known to the ports that there are now."""
        with self._lock:
            self._apply()

    def limit(self) -> None:
        """Have the limits of bandwidth on the interfaces that there are now."""
        with self._lock:
            bandwidth.apply(_limits(self._ports(self._records.all())))

    def came(self, record: NetworkRecord, entry: Entry) -> None:
        """Let an interface that came have what it is known to have, and nothing of an earlier one of the same name."""
        place = (record.id, entry.ip, entry.instance_id)
        known = any(place == (each.network_id, each.ip, each.instance_id) for each in self._known.ports)
        if self._applied.get(record.tap(entry)) != (entry.instance_id if known else None):
            self.renew()

    def counted(self, group: str = "") -> dict[str, tuple[int, int]]:
        """Return packets and bytes that each rule of a group has permitted, by the rule's id; of all groups that ports
        of this host are in, where none is named."""
        found = counted()
        if not group:
            return found
        return {rule.id: found[rule.id] for rule in self._known.groups.get(group, ()) if rule.id in found}

    def ports(self) -> tuple[SecuredPort, ...]:
        """Return the interfaces of which the ports' settings are known."""
        with self._lock:
            return tuple(self._ports(self._records.all()))

    def _ports(self, records: Iterable[NetworkRecord], settings: HostPorts | None = None) -> Iterator[SecuredPort]:
        known = {(each.network_id, each.ip): each for each in (settings or self._known).ports}
        for record in records:
            for entry in record.entries:
                found = known.get((record.id, entry.ip))
                if found is not None and found.instance_id == entry.instance_id:
                    yield SecuredPort(record.tap(entry), record.segment, entry.mac, found, record.ip6(entry))

    def _apply(self) -> None:
        records = list(self._records.all())
        ports = list(self._ports(records))
        groups = {ident for port in ports for ident in port.settings.security_groups}
        rules = {ident: rules for ident in groups if (rules := self._known.groups.get(ident))}
        counts = counted()
        members = (self._known.members, self._known.members6)
        given = script(ports, records, rules, members, counts)
        try:
            host_command.run("nft", "-f", "-", given=given)
        except DriverError as error:
            sound = {ident: tuple(filter(_can_be_applied, each)) for ident, each in rules.items()}
            if sound == rules:
                raise
            logger.error("rules of security groups that this host cannot apply are left out: %s", error)
            host_command.run("nft", "-f", "-", given=script(ports, records, sound, members, counts))
        permitted = self._permissions_of(ports, self._known)
        if self._permitted is None:
            # An agent that ended in the middle of a change may have ended no connections.
            settings = self._before or self._known
            self._permitted = self._permissions_of(self._ports(records, settings), settings)
        end_connections(
            place for place, before in self._permitted.items() if before - permitted.get(place, frozenset())
        )
        bandwidth.apply(_limits(ports))
        self._permitted, self._put = permitted, self._known
        self._applied = _owners(ports)

    @staticmethod
    def _permissions_of(ports: Iterable[SecuredPort], settings: HostPorts) -> Permitted:
        return {place: _permissions(port, settings) for port in ports for place in port.places}


def _permissions(port: SecuredPort, settings: HostPorts) -> frozenset[tuple[object, ...]]:
    if not port.settings.port_security:
        return frozenset({("all",)})
    found: set[tuple[object, ...]] = set()
    for group in port.settings.security_groups:
        for rule in settings.groups.get(group, ()):
            known = (settings.members, settings.members6)
            members = [each.get(rule.remote_group, {}).get(port.settings.network_id, ()) for each in known]
            others = (*members[0], *members[1]) or (rule.cidr,)
            found |= {(*rule.permission, other) for other in others}
    return frozenset(found)


def _owners(ports: Iterable[SecuredPort]) -> dict[str, str]:
    return {port.tap: port.settings.instance_id for port in ports}


def script(
    ports: Iterable[SecuredPort],
    records: Iterable[NetworkRecord],
    groups: Mapping[str, Iterable[SecurityRule]],
    members: Sequence[Mapping[str, Mapping[str, Iterable[str]]]],
    counts: Mapping[str, tuple[int, int]],
) -> str:
    """Return the commands for nft that put these rules in place of the present ones, in one transaction.

    `members` are the groups' addresses in each network, those of IPv4 first, then those of IPv6; `counts` are packets
    and bytes that each rule has permitted so far, by its id.
    """
    ports, records = list(ports), list(records)
    networks = {
        (group, port.segment): port.settings.network_id for port in ports for group in port.settings.security_groups
    }
    lines = [f"table bridge {TABLE} {{ }}", f"delete table bridge {TABLE}", f"table bridge {TABLE} {{"]
    for rule in (each for rules in groups.values() for each in rules):
        packets, size = counts.get(rule.id, (0, 0))
        lines.append(f"  counter r-{rule.id} {{ packets {packets} bytes {size} }}")
    named = {rule.remote_group for rules in groups.values() for rule in rules if rule.remote_group}
    for segment, network_id in sorted({(segment, network) for (_, segment), network in networks.items()}):
        for group in sorted(named):
            for (_, begins, kind), known in zip(FAMILIES, members, strict=True):
                lines.append(_set(f"{begins}-{group}-{segment}", kind, known.get(group, {}).get(network_id, ())))
    for group in sorted({group for group, _ in networks}):
        lines += _chains(f"g-{group}", 0, (rule for rule in groups.get(group, ()) if not rule.remote_group))
    for group, segment in sorted(networks):
        # Whom a group has as members differs from network to network; all else is the same in each, and is there once.
        lines += _chains(f"g-{group}-{segment}", segment, (rule for rule in groups.get(group, ()) if rule.remote_group))
    lines += [*_per_port(ports), *_forward(records), "}"]
    return "\n".join([*lines, *_beside(ports)]) + "\n"


def _chains(name: str, segment: int, rules: Iterable[SecurityRule]) -> Iterator[str]:
    """Yield a chain with these rules for each direction."""
    rules = list(rules)
    for direction, side, bit, other in SIDES:
        yield f"  chain {name}-{side} {{"
        for rule in rules:
            if rule.direction is direction:
                for match in _matches(rule, segment, other):
                    yield f"    {match} counter name r-{rule.id} meta mark set meta mark | {bit} return"
        yield "  }"


NEIGHBOURS = (
    *("nd-router-solicit", "nd-router-advert", "nd-neighbor-solicit", "nd-neighbor-advert"),
    *("mld-listener-query", "mld-listener-report", "mld-listener-done", "mld2-listener-report"),
)
_FORWARD = """\
{services}
  chain forward {{
    type filter hook forward priority {priority};
    ether type != {{ ip, ip6 }} accept
    meta mark set meta mark & 0xfffffffc
    icmpv6 type {{ {neighbours} }} meta mark set meta mark | 3 accept
    iifname != "gst-*" meta mark set meta mark | 1
    oifname != "gst-*" meta mark set meta mark | 2
    oifname . ip daddr @services meta mark set meta mark | 1
    oifname . ip6 daddr @services6 meta mark set meta mark | 1
    oifname "gsd-*" udp sport 68 udp dport 67 meta mark set meta mark | 1
    iifname "gsd-*" udp sport 67 udp dport 68 meta mark set meta mark | 2
    oifname "gsd-*" ether type ip6 udp sport 546 udp dport 547 meta mark set meta mark | 1
    iifname "gsd-*" ether type ip6 udp sport 547 udp dport 546 meta mark set meta mark | 2
    iifname . ip saddr @services ip protocol icmp meta mark set meta mark | 2
    iifname . ip6 saddr @services6 meta l4proto ipv6-icmp meta mark set meta mark | 2
    iifname vmap @from
    oifname vmap @to
  }}"""


def _forward(records: Iterable[NetworkRecord]) -> list[str]:
    """Return the chain that every packet passes which crosses a bridge, and its sets."""
    return _FORWARD.format(
        services=_services(records), neighbours=", ".join(NEIGHBOURS), priority=PRIORITY
    ).splitlines()


def _per_port(ports: Iterable[SecuredPort]) -> Iterator[str]:
    """Yield a chain a port and direction, and the maps that lead to them."""
    ports = list(ports)
    for port in ports:
        for _, side, bit, _ in SIDES:
            yield f"  chain p-{port.tap}-{side} {{"
            if not port.settings.port_security:
                yield f"    meta mark set meta mark | {bit}"
            else:
                for group in port.settings.security_groups:
                    yield f"    jump g-{group}-{side}"
                    yield f"    jump g-{group}-{port.segment}-{side}"
            yield "  }"
    for name, side in (("from", "out"), ("to", "in")):
        jumps = [f'"{port.tap}" : jump p-{port.tap}-{side}' for port in ports]
        elements = f" elements = {{ {', '.join(jumps)} }}" if jumps else ""
        yield f"  map {name} {{ type ifname : verdict;{elements} }}"


def services(record: NetworkRecord) -> dict[str, list[tuple[str, str]]]:
    """Return what the sets have of a network's own services: the name of a set -> their device with each address that
    they answer at."""
    device = f"gsd-{record.segment}"
    return {
        "services": [(device, ip) for ip in (record.gateway, METADATA_ADDRESS)],
        "services6": [(device, ip) for ip in record.gateways6],
    }


def _services(records: Iterable[NetworkRecord]) -> str:
    """Return the sets of what each network's own services answer at, which every guest may use."""
    records = list(records)
    return "\n".join(
        _places(name, field, (place for each in records for place in services(each)[name]))
        for name, field in (("services", "ip"), ("services6", "ip6"))
    )


def _places(name: str, field: str, places: Iterable[tuple[str, str]]) -> str:
    listed = ", ".join(f'"{device}" . {ip}' for device, ip in places)
    return f"  set {name} {{ typeof oifname . {field} daddr;{f' elements = {{ {listed} }}' if listed else ''} }}"


def _beside(ports: Iterable[SecuredPort]) -> Iterator[str]:
    """Yield the commands that renew what a guest may send from besides its own addresses (see firewall)."""
    for name, found in beside(ports).items():
        yield f"flush set bridge gostack {name}"
        if found:
            listed = ", ".join(" . ".join((f'"{tap}"', *rest)) for tap, *rest in found)
            yield f"add element bridge gostack {name} {{ {listed} }}"


def beside(ports: Iterable[SecuredPort]) -> dict[str, list[tuple[str, ...]]]:
    """Return what the sets have of addresses besides the guests' own: the name of a set -> its elements, the host's end
    of an interface first."""
    ports = list(ports)
    pairs = [(port.tap, mac, block) for port in ports for mac, blocks in _pairs(port).items() for block in blocks]
    pairs4 = [(tap, mac, str(block)) for tap, mac, block in pairs if isinstance(block, IPv4Network)]
    pairs6 = [(tap, mac, block) for tap, mac, block in pairs if isinstance(block, IPv6Network)]
    unsecured: list[tuple[str, ...]] = [(port.tap,) for port in ports if not port.settings.port_security]
    return {
        "open": unsecured,
        "pairs": [*pairs4],
        "pair_arps": [*pairs4],
        "pairs6": [(tap, mac, str(block)) for tap, mac, block in pairs6],
        "pair_targets6": [(tap, mac, _targets(block)) for tap, mac, block in pairs6],
    }


def _targets(block: IPv6Network) -> str:
    """Return a range of IPv6 as what neighbour discovery is about."""
    first, last = (hex(int(each)) for each in (block[0], block[-1]))
    return first if first == last else f"{first}-{last}"


def _limits(ports: Iterable[SecuredPort]) -> list[bandwidth.Limit]:
    return [
        bandwidth.Limit(port.tap, port.settings.egress_kbit, port.settings.ingress_kbit)
        for port in ports
        if port.settings.egress_kbit or port.settings.ingress_kbit
    ]


def _pairs(port: SecuredPort) -> dict[str, list[IPv4Network | IPv6Network]]:
    """Return the port's further addresses by MAC address; ranges that overlap are one, as nftables wants them."""
    found: dict[str, tuple[list[IPv4Network], list[IPv6Network]]] = {}
    for pair in port.settings.allowed_pairs:
        of_4, of_6 = found.setdefault(pair.mac or port.mac, ([], []))
        block = ip_network(pair.cidr)
        if isinstance(block, IPv4Network):
            of_4.append(block)
        elif port.ip6:
            of_6.append(block)
    return {mac: [*collapse_addresses(of_4), *collapse_addresses(of_6)] for mac, (of_4, of_6) in found.items()}


def _set(name: str, kind: str, elements: Iterable[str]) -> str:
    listed = ", ".join(elements)
    return f"  set {name} {{ type {kind};{f' elements = {{ {listed} }}' if listed else ''} }}"


def _matches(rule: SecurityRule, segment: int, other: str) -> list[str]:
    """Return what packets of a connection that the rule permits look like, of which each is one or the other; `other`:
    the header field that has the other side's address."""
    if rule.remote_group:
        others = [f"{family} {other} @{begins}-{rule.remote_group}-{segment}" for family, begins, _ in FAMILIES]
    elif rule.cidr == EVERYWHERE:
        others = [""]
    else:
        others = [f"{'ip6' if ':' in rule.cidr else 'ip'} {other} {rule.cidr}"]
    if rule.protocol is Protocol.ANY:
        return others
    if rule.protocol is Protocol.ICMP:
        wanted = "meta l4proto { icmp, ipv6-icmp }"
    else:
        ports = f"{rule.port_min}-{rule.port_max}" if rule.port_max else "0-65535"
        wanted = f"{rule.protocol.value} dport {ports}"
    return [f"{each} {wanted}".strip() for each in others]


def _can_be_applied(rule: SecurityRule) -> bool:
    """Return whether the host takes the rule, which is tried by itself and not applied."""
    alone = _without_group(rule)
    lines = "".join(f"    {match} counter\n" for match in _matches(alone, 0, "saddr"))
    tried = f"table bridge {TABLE}_tried {{\n  chain c {{\n{lines}  }}\n}}\n"
    if host_command.run("nft", "-c", "-f", "-", given=tried, fails=(1,)) is not None:
        return True
    logger.error("rule %s cannot be applied on this host: %s", rule.id, ", ".join(_matches(rule, 0, "saddr")))
    return False


def _without_group(rule: SecurityRule) -> SecurityRule:
    """Return the rule with a range in place of the group that it names, whose set is not there when it is tried."""
    return rule.but(remote_group="", cidr="192.0.2.0/24") if rule.remote_group else rule


def counted() -> dict[str, tuple[int, int]]:
    """Return how many packets and bytes each rule has permitted on this host, by the rule's id."""
    printed = host_command.run("nft", "-j", "list", "counters", "table", "bridge", TABLE, fails=(1,))
    found = (each.get("counter") for each in json.loads(printed or "{}").get("nftables", ()))
    return {
        each["name"].removeprefix("r-"): (each["packets"], each["bytes"])
        for each in found
        if each is not None and each["name"].startswith("r-")
    }


def end_connections(places: Iterable[tuple[int, str]]) -> None:
    """Forget the connections of these addresses, each given with its network's segment, so that what goes on of them is
    judged anew by the rules."""
    lines = [f"-D -w {zone_of(segment)} {side} {ip}" for segment, ip in places for side in ("--orig-src", "--orig-dst")]
    if lines:
        host_command.run("conntrack", "-R", "-", given="\n".join(lines) + "\n", fails=(1,))


def zone_of(segment: int) -> int:
    """Return the connection tracking zone of a network, 16 bits: ranges repeat from network to network."""
    return segment % 65535 + 1
