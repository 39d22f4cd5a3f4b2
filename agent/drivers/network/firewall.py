"""The frames that a guest may send, and those that may cross from one host to another.

Why by bridge port: a guest writes whatever it likes into a frame; the port that the frame came in by is the host's own
knowledge. A port's MAC and addresses are in sets, so that the rules are the same however many guests there are.
"""

from collections.abc import Iterable
from ipaddress import IPv6Address

from agent.drivers import host_command
from agent.drivers.network.record import NetworkRecord
from agent.drivers.network.security import zone_of
from agent.drivers.network.vxlan import PORT as VXLAN_PORT
from domain.core import ipv6
from domain.core.mac import GATEWAY_OCTET

TABLE = "gostack"
CHAINS = (
    *("inet input", "inet output", "inet prerouting", "inet forward"),
    *("bridge from_guest", "bridge from_guest6", "bridge claims6"),
    *("bridge prerouting", "bridge forward", "bridge input"),
)
"""Family and name of each chain, all of which have rules."""
SETS = ("macs", "ips", "arps", "macs6", "ips6", "targets6")
"""Names of the sets that have what is the guests' own."""
GATEWAY_MACS = f"& ff:00:00:00:00:00 == {GATEWAY_OCTET:02x}:00:00:00:00:00"
BEFORE_NETFILTER = -200
TARGET = "@th,64,128"
"""The address that a neighbour solicitation or advertisement is about (RFC 4861)."""

# Declared, then emptied of rules, then filled: applying it again changes nothing, and the sets keep their elements.
# Nothing reaches the host's own IP stack from a bridge: DHCP, DNS and metadata answer in a namespace behind a port.
# What crosses a bridge is judged before br_netfilter, which hands no packet on to hooks at its own priority, 0. There
# an earlier release had the chain, whose priority cannot be changed.
_RULES = f"""
table bridge {TABLE} {{
  chain forward {{ }}
}}
flush chain bridge {TABLE} forward
delete chain bridge {TABLE} forward
table inet {TABLE} {{
  set hosts {{ type ipv4_addr; }}
  map zones {{ typeof iifname : ct zone; }}
  chain input {{ type filter hook input priority 0; }}
  chain output {{ type filter hook output priority 0; }}
  chain prerouting {{ type filter hook prerouting priority -300; }}
  chain forward {{ type filter hook forward priority 0; }}
}}
flush chain inet {TABLE} input
flush chain inet {TABLE} output
flush chain inet {TABLE} prerouting
flush chain inet {TABLE} forward
table inet {TABLE} {{
  chain input {{
    udp dport {VXLAN_PORT} ip saddr != @hosts counter drop
    udp dport {VXLAN_PORT} meta nfproto ipv6 counter drop
  }}
  chain output {{
    udp dport {VXLAN_PORT} meta nfproto ipv6 counter drop
  }}
  chain prerouting {{
    ct zone set iifname map @zones
  }}
  chain forward {{
    iifname "gsb-*" ct state established,related accept
    iifname "gsb-*" meta mark & 3 == 3 accept
    iifname "gsb-*" counter drop
  }}
}}
table bridge {TABLE} {{
  set macs {{ typeof iifname . ether saddr; }}
  set ips {{ typeof iifname . ether saddr . ip saddr; }}
  set arps {{ typeof iifname . arp saddr ether . arp saddr ip; }}
  set open {{ type ifname; }}
  set pairs {{ typeof iifname . ether saddr . ip saddr; flags interval; }}
  set pair_arps {{ typeof iifname . arp saddr ether . arp saddr ip; flags interval; }}
  set macs6 {{ typeof iifname . ether saddr; }}
  set ips6 {{ typeof iifname . ether saddr . ip6 saddr; }}
  set targets6 {{ typeof iifname . ether saddr . {TARGET}; }}
  set pairs6 {{ typeof iifname . ether saddr . ip6 saddr; flags interval; }}
  set pair_targets6 {{ typeof iifname . ether saddr . {TARGET}; flags interval; }}
  chain from_guest {{ }}
  chain from_guest6 {{ }}
  chain claims6 {{ }}
  chain prerouting {{ type filter hook prerouting priority -300; }}
  chain forward {{ type filter hook forward priority {BEFORE_NETFILTER}; }}
  chain input {{ type filter hook input priority 0; }}
}}
flush chain bridge {TABLE} from_guest
flush chain bridge {TABLE} from_guest6
flush chain bridge {TABLE} claims6
flush chain bridge {TABLE} prerouting
flush chain bridge {TABLE} input
table bridge {TABLE} {{
  chain from_guest {{
    iifname @open accept
    ether type ip6 goto from_guest6
    ether type arp iifname . arp saddr ether . arp saddr ip @pair_arps accept
    ether type arp iifname . ether saddr @macs iifname . arp saddr ether . arp saddr ip @arps accept
    ether type arp iifname . ether saddr @macs arp saddr ip 0.0.0.0 accept
    ether type ip udp sport 67 counter drop
    ether type ip iifname . ether saddr . ip saddr @ips accept
    ether type ip iifname . ether saddr . ip saddr @pairs accept
    ether type ip iifname . ether saddr @macs ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept
    counter drop
  }}
  chain from_guest6 {{
    jump claims6
    iifname . ether saddr . ip6 saddr @ips6 accept
    iifname . ether saddr . ip6 saddr @pairs6 accept
    ip6 saddr != :: counter drop
    icmpv6 type nd-neighbor-solicit iifname . ether saddr . {TARGET} @targets6 accept
    icmpv6 type nd-neighbor-solicit iifname . ether saddr . {TARGET} @pair_targets6 accept
    icmpv6 type {{ nd-router-solicit, mld2-listener-report }} iifname . ether saddr @macs6 accept
    counter drop
  }}
  chain claims6 {{
    icmpv6 type {{ nd-router-advert, nd-redirect, mld-listener-query }} counter drop
    udp sport 547 counter drop
    meta l4proto != ipv6-icmp return
    icmpv6 type != nd-neighbor-advert return
    iifname . ether saddr . {TARGET} @targets6 return
    iifname . ether saddr . {TARGET} @pair_targets6 return
    counter drop
  }}
  chain prerouting {{
    iifname "gst-*" goto from_guest
    iifname "gsx-*" ether saddr {GATEWAY_MACS} counter drop
    iifname "gsx-*" udp sport 67 counter drop
    iifname "gsx-*" ether type ip6 udp sport 547 counter drop
    iifname "gsx-*" icmpv6 type {{ nd-router-advert, nd-redirect }} counter drop
  }}
  chain forward {{
    oifname "gsx-*" ether daddr {GATEWAY_MACS} drop
    oifname "gsx-*" udp dport 67 drop
    oifname "gsx-*" ether type ip6 udp dport 547 drop
    oifname "gsx-*" icmpv6 type nd-router-solicit drop
    iifname "gsd-*" oifname "gsx-*" drop
  }}
  chain input {{
    iifname {{ "gst-*", "gsx-*", "gsd-*" }} counter drop
  }}
}}
"""


def guard(uplinks: Iterable[str], tunnel: str = "") -> None:
    """Have the rules, and take frames of guest networks from the hosts at these addresses and from no others; where
    `tunnel` names a device, by that alone, and send none by another.

    Raises DriverError "host-command-failed".
    """
    known = ", ".join(sorted(uplinks))
    hosts = [f"flush set inet {TABLE} hosts"]
    hosts += [f"add element inet {TABLE} hosts {{ {known} }}"] if known else []
    for chain, way in (("input", "iifname"), ("output", "oifname")) if tunnel else ():
        hosts.append(f'add rule inet {TABLE} {chain} udp dport {VXLAN_PORT} {way} != "{tunnel}" counter drop')
    host_command.run("nft", "-f", "-", given="\n".join([_RULES, *hosts]))


def admit(record: NetworkRecord) -> None:
    """Let the network's guests send what is their own, and have its connections tracked apart from those of other
    networks, whose ranges may be the same.

    Raises DriverError "host-command-failed".
    """
    _run(_zone("add", record), *_elements("add", record))


def forget(record: NetworkRecord) -> None:
    """Let the network's guests send nothing; where they could not, nothing changes."""
    # What is not there cannot be deleted; added before, it is there.
    _run(*_elements("add", record), *_elements("delete", record))


def leave(record: NetworkRecord) -> None:
    """Track connections of a network that the host does not have any more as those of no network.

    Raises DriverError "host-command-failed".
    """
    # What is not there cannot be deleted; added before, it is there.
    _run(_zone("add", record), _zone("delete", record))


def _run(*commands: str) -> None:
    host_command.run("nft", "-f", "-", given="\n".join(commands) + "\n")


def _zone(verb: str, record: NetworkRecord) -> str:
    return f'{verb} element inet {TABLE} zones {{ "{record.bridge}" : {zone_of(record.segment)} }}'


def elements(record: NetworkRecord) -> dict[str, list[tuple[str, ...]]]:
    """Return what the sets have of the network: the name of a set -> its elements, the host's end of an interface
    first."""
    entries = [(record.tap(each), each.mac, each.ip) for each in record.entries]
    own6 = [
        (record.tap(each), each.mac, ip)
        for each in record.entries
        if record.cidr6
        for ip in (record.ip6(each), ipv6.link_local(each.mac))
    ]
    return {
        "macs": [(tap, mac) for tap, mac, _ in entries],
        "ips": [*entries],
        "arps": [*entries],
        "macs6": [(tap, mac) for tap, mac, _ in entries] if record.cidr6 else [],
        "ips6": [*own6],
        "targets6": [(tap, mac, target(ip)) for tap, mac, ip in own6],
    }


def target(ip: str) -> str:
    """Return an IPv6 address as an element of a set of what neighbour discovery is about."""
    return hex(int(IPv6Address(ip)))


def _elements(verb: str, record: NetworkRecord) -> Iterable[str]:
    for name, found in elements(record).items():
        if not found:
            continue
        listed = ", ".join(" . ".join((f'"{tap}"', *rest)) for tap, *rest in found)
        yield f"{verb} element bridge {TABLE} {name} {{ {listed} }}"
