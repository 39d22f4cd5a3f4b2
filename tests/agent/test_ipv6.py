"""IPv6 on real bridges of two hosts: how guests learn their addresses, what they may send, and what groups permit; a
guest is a network namespace, whose kernel does what a guest's does."""

import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from agent.drivers.network.record import NetworkRecord
from domain.core.ipv6 import Ipv6Mode, link_local
from domain.network.port_settings import HostPorts, Ipv6Range
from domain.network.state import AddressPair
from domain.security_group import Protocol, RuleDirection, SecurityRule
from tests.agent import frames6
from tests.agent.private_host import missing
from tests.agent.test_security_groups import EACH_OTHER, NETWORK, Guest, Host, hosts, port, settings, tell

__all__ = ["hosts"]

LACKING = missing() or ("" if shutil.which("busybox") else "busybox")
pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(LACKING), reason=f"a host of its own needs {LACKING}")]

RANGE = "fd00:1::/64"
GATEWAY6 = "fd00:1::1"
SEGMENT = 8101
SIX = {"cidr6": RANGE}
STATEFUL = {"cidr6": RANGE, "ipv6_mode": Ipv6Mode.DHCPV6}
PATIENCE = 20.0
MANAGED = 0xC0
"""Flags of a router's advertisement: addresses, and all else, are told by DHCPv6."""
OUT = SecurityRule(id="out", direction=RuleDirection.EGRESS)
PINGS = SecurityRule(id="pings", protocol=Protocol.ICMP)
ANYTHING = SecurityRule(id="anything")


def until(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not (found := holds()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def addresses(guest: Guest) -> set[str]:
    """The guest's IPv6 addresses that no duplicate is looked for any more."""
    lines = guest.machine.ip("-6", "-oneline", "address", "show", "dev", "eth0", "-tentative").splitlines()
    return {line.split()[3].partition("/")[0] for line in lines}


def gets(guest: Guest, *wanted: str) -> bool:
    """Wait until these are the guest's addresses."""
    return until(lambda: addresses(guest) == set(wanted))


def booted(*wanted: tuple[Host, int]) -> list[Guest]:
    """Return guests of the network, with the last number of their IPv4 addresses, which have made their addresses."""
    guests = [host.boots(number, of_nic=SIX) for host, number in wanted]
    for guest in guests:
        assert gets(guest, guest.nic.ip6, link_local(guest.nic.mac)), addresses(guest)
    return guests


def open_to_all(hosts: tuple[Host, Host], *guests: Guest) -> HostPorts:
    """Let these guests open whatever they like to each other."""
    groups: dict[str, Any] = {"all": (OUT, ANYTHING)}
    known = settings(*((each, ("all",)) for each in guests), **groups)
    tell(hosts, known)
    return known


@contextmanager
def hearing(guest: Guest) -> Iterator[list[bytes]]:
    """Gather the frames of IPv6 that a guest receives."""
    heard: list[bytes] = []
    raw = guest.do(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86DD)))
    raw.bind(("eth0", 0x86DD))
    raw.settimeout(0.3)
    yield heard
    with suppress(TimeoutError):
        while True:
            frame, come = raw.recvfrom(2000)
            if come[2] != socket.PACKET_OUTGOING:
                heard.append(frame)
    raw.close()


def advertised(guest: Guest) -> tuple[int, int]:
    """Return the flags and the lifetime of the router that the guest hears when it asks for one."""
    own = link_local(guest.nic.mac)
    body = frames6.icmp(own, frames6.ALL_ROUTERS, 133, bytes(4))
    with hearing(guest) as heard:
        sends(guest, frames6.frame(guest.nic.mac, own, frames6.ALL_ROUTERS, socket.IPPROTO_ICMPV6, body))
    (found,) = {(each[59], int.from_bytes(each[60:62], "big")) for each in heard if each[54] == frames6.ROUTER_ADVERT}
    return found


def sends(guest: Guest, *frames: bytes) -> None:
    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("eth0", 0))
            for each in frames:
                raw.send(each)

    guest.do(send)


def counted(host: Host, chain: str, words: str) -> int:
    """How many packets the first rule with these words has met."""
    rules = host.machine.run("nft", "list", "chain", "bridge", "gostack", chain).stdout.splitlines()
    return int(next(each for each in rules if words in each).split("packets ")[1].split()[0])


def test_guests_make_their_addresses_and_reach_each_other(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    one, two, far = booted((here, 10), (here, 11), (there, 12))
    open_to_all(hosts, one, two, far)
    assert one.nic.ip6 == "fd00:1::5054:ff:fe00:a"
    for guest in (two, far):
        assert one.pings(guest.nic.ip6)
        assert one.pings(guest.nic.ip6, "-s", "4000"), "in fragments"
        assert one.pings(f"{link_local(guest.nic.mac)}%eth0")
    for guest in (one, far):
        assert guest.pings(GATEWAY6)
        assert "default" not in guest.machine.ip("-6", "route"), "there is no way out"
        assert advertised(guest) == (0, 0), "neither DHCPv6 nor a way out"
    two.machine.run("busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-s", "/bin/true")
    asked = ("busybox", "nslookup", "-type=aaaa", f"{two.spec.hostname}.internal", GATEWAY6)
    assert until(lambda: two.nic.ip6 in one.machine.run(*asked, check=False).stdout), "a name has an address of IPv6"
    for host in hosts:
        assert host.do(host.networks.told).differences == ()
        assert counted(host, "prerouting", "ether saddr & ff") == 0, "frames of a gateway cross to another host"
        own = host.machine.ip("-6", "-oneline", "address", "show")
        assert not any(each in own for each in ("gsb-", "gsx-", "gsd-")), "the host has an address in the network"


def test_guests_are_told_their_addresses_by_dhcp(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    guests = [host.boots(number, of_nic=STATEFUL) for host, number in ((here, 10), (there, 11))]
    open_to_all(hosts, *guests)
    for guest in guests:
        assert gets(guest, link_local(guest.nic.mac))
        assert advertised(guest) == (MANAGED, 0)
        assert RANGE in guest.machine.ip("-6", "route"), "the router says the prefix"
        assert addresses(guest) == {link_local(guest.nic.mac)}, "and that no address is to be made of it"
        assert guest.do(frames6.leased, guest.nic.mac) == guest.nic.ip6
        guest.machine.ip("address", "add", f"{guest.nic.ip6}/64", "dev", "eth0")
    assert until(lambda: guests[0].pings(guests[1].nic.ip6))
    for host in hosts:
        assert counted(host, "prerouting", "ether saddr & ff") == 0, "frames of a gateway cross to another host"


def test_a_guest_sends_what_is_its_own_and_nothing_else(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    attacker, near, far = booted((here, 10), (here, 11), (there, 12))
    open_to_all(hosts, attacker, near, far)
    mac, own, own_link = attacker.nic.mac, attacker.nic.ip6, link_local(attacker.nic.mac)
    stolen, stolen_link = near.nic.ip6, link_local(near.nic.mac)
    for victim in (near, far):
        assert attacker.pings(victim.nic.ip6)
    echo = {
        source: frames6.frame(mac, source, frames6.ALL_NODES, 58, frames6.icmp(source, frames6.ALL_NODES, 128, b"mark"))
        for source in (own, own_link, stolen, stolen_link, "fd00:1::dead", "fe80::dead", GATEWAY6, "2001:db8::1")
    }
    forged = [frame for source, frame in echo.items() if source not in (own, own_link)]
    other_mac = "52:54:00:00:00:77"
    forged += [
        frames6.frame(other_mac, own, frames6.ALL_NODES, 58, frames6.icmp(own, frames6.ALL_NODES, 128, b"mark")),
        frames6.advert(mac, own, stolen),
        frames6.advert(mac, own_link, stolen_link),
        frames6.advert(mac, own, GATEWAY6),
        frames6.solicit(mac, frames6.NOBODY, stolen),
        frames6.solicit(mac, frames6.NOBODY, "fd00:1::dead"),
        frames6.router(mac, own_link, "fd00:bad::"),
        frames6.frame(mac, own_link, "ff02::1", 58, frames6.icmp(own_link, "ff02::1", frames6.REDIRECT, bytes(36))),
        frames6.frame(mac, own_link, "ff02::1", 58, frames6.icmp(own_link, "ff02::1", 130, bytes(20))),
        frames6.udp(mac, own_link, frames6.ALL_NODES, (547, 546), b"\x07\0\0\x01"),
        echo[own][:12] + b"\x81\x00\x00\x05" + echo[own][12:],
    ]
    for options in range(3):
        for hidden in (frames6.advert(mac, own, far.nic.ip6), frames6.router(mac, own_link, "fd00:bad::")):
            forged += frames6.in_fragments(hidden, options)[:1]
    with hearing(near) as heard_near, hearing(far) as heard_far:
        sends(attacker, *forged)
    for heard in (heard_near, heard_far):
        assert [each for each in heard if each[6:12].hex(":") in (mac, other_mac)] == []
    with hearing(near) as heard_near, hearing(far) as heard_far:
        sends(attacker, echo[own], frames6.advert(mac, own, own), frames6.solicit(mac, frames6.NOBODY, own))
    for heard in (heard_near, heard_far):
        # The echo request too: it is one that the groups permit.
        assert len([each for each in heard if each[6:12].hex(":") == mac]) == 3
    for guest in (near, far):
        assert "fd00:bad" not in guest.machine.ip("-6", "address")
        assert attacker.pings(guest.nic.ip6)
    assert near.pings(far.nic.ip6)
    known = far.machine.ip("-6", "neigh", "show", near.nic.ip6)
    assert mac not in known


def test_what_comes_from_another_host_is_no_router_and_no_dhcp_server(hosts: tuple[Host, Host]) -> None:
    """The other host lets its guest send anything, as one would that was broken into."""
    here, there = hosts
    rogue, victim = booted((there, 10), (here, 11))
    known = open_to_all(hosts, rogue, victim)
    tell(hosts, known.but(version="2", ports=(port(rogue, ("all",), port_security=False), known.ports[1])))
    mac, own = rogue.nic.mac, link_local(rogue.nic.mac)
    gateway = NetworkRecord.of(rogue.nic)
    forged = [
        frames6.router(mac, own, "fd00:bad::"),
        frames6.router(gateway.gateway_mac, gateway.gateways6[1], "fd00:bad::"),
        frames6.udp(mac, own, frames6.ALL_NODES, (547, 546), b"\x07\0\0\x01"),
        frames6.advert(gateway.gateway_mac, gateway.gateways6[0], GATEWAY6),
    ]
    with hearing(victim) as heard:
        sends(rogue, *forged)
    ours = [each for each in heard if each[6:12].hex(":") == mac or b"\xfd\x00\x0b\xad" in each]
    # The gateway of the victim's host answers the one who asks, and tells nothing to all.
    ours += [each for each in heard if each[54] == frames6.NEIGHBOUR_ADVERT and each[:4] == b"\x33\x33\x00\x00"]
    assert ours == []
    assert "fd00:bad" not in victim.machine.ip("-6", "address")
    assert victim.pings(GATEWAY6)
    with hearing(victim) as heard:
        sends(rogue, frames6.advert(mac, own, own))
    assert [each for each in heard if each[6:12].hex(":") == mac], "nothing at all crosses"


def test_without_a_range_no_ipv6_passes_until_the_network_gets_one(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    one, two = here.boots(10), there.boots(11)
    known = open_to_all(hosts, one, two)
    assert gets(one, link_local(one.nic.mac))
    assert not one.pings(f"{link_local(two.nic.mac)}%eth0")
    assert one.pings(two.ip)
    later = {NETWORK: Ipv6Range(cidr=RANGE)}
    tell(hosts, known.but(version="2", ranges6=later))
    wanted = [each.nic.but(cidr6=RANGE).ip6 for each in (one, two)]
    for guest, ip6 in zip((one, two), wanted, strict=True):
        assert gets(guest, ip6, link_local(guest.nic.mac)), "a guest that runs hears of it"
    assert until(lambda: one.pings(wanted[1]))
    for host in hosts:
        assert host.do(host.networks.told).differences == ()
        assert host.do(host.networks.told).networks[0].cidr6 == RANGE
    third = here.boots(12)
    assert until(lambda: len(addresses(third)) == 2), "one that was specified before has the range, too"


def test_groups_hold_for_ipv6(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    client, near, far = booted((here, 10), (here, 11), (there, 12))
    for server in (near, far):
        server.listens()
        server.listens6()
        server.listens6(443)

    def web(cidr: str) -> SecurityRule:
        return SecurityRule(id="web", protocol=Protocol.TCP, port_min=80, port_max=80, cidr=cidr)

    def known(version: str, *rules: SecurityRule, egress: SecurityRule = OUT) -> None:
        groups: dict[str, Any] = {"out": (egress,), "web": rules}
        ports = ((client, ("out",)), (near, ("web",)), (far, ("web",)))
        tell(hosts, settings(*ports, version=version, **groups))

    def reached(number: int = 80) -> set[bool]:
        return {client.reaches(server.nic.ip6, number) for server in (near, far)}

    def reached4() -> set[bool]:
        return {client.reaches(server.ip) for server in (near, far)}

    known("1")
    assert (reached(), reached4()) == ({False}, {False})
    known("2", web("::/0"))
    assert (reached(), reached(443), reached4()) == ({True}, {False}, {False})
    assert not client.pings(far.nic.ip6)
    known("3", web("0.0.0.0/0"))
    assert (reached(), reached4()) == ({False}, {True})
    known("4", web(f"{client.nic.ip6}/128"))
    assert (reached(), reached4()) == ({True}, {False})
    known("5", web("fd00:2::/64"))
    assert reached() == {False}
    known("6", web(""), PINGS)
    assert (reached(), reached4()) == ({True}, {True})
    assert client.pings(far.nic.ip6)
    known("7", web(""), egress=OUT.but(cidr="0.0.0.0/0"))
    assert (reached(), reached4()) == ({False}, {True}), "rules of before there was IPv6 permit none"


def test_members_of_a_group_reach_each_other_by_ipv6(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    one, two, stranger = booted((here, 10), (there, 11), (here, 12))
    groups: dict[str, Any] = {"friends": (OUT, EACH_OTHER), "strangers": (OUT,)}
    ports = ((one, ("friends",)), (two, ("friends",)), (stranger, ("strangers",)))
    tell(hosts, settings(*ports, **groups))
    assert one.pings(two.nic.ip6)
    assert two.pings(one.nic.ip6)
    assert not stranger.pings(one.nic.ip6)
    assert not stranger.pings(two.nic.ip6)


def test_a_connection_of_ipv6_ends_when_its_rule_goes(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    client, server = booted((here, 10), (there, 11))
    server.listens6()
    web = SecurityRule(id="web", protocol=Protocol.TCP, port_min=80, port_max=80, cidr="::/0")
    ports = ((client, ("out",)), (server, ("web",)))
    tell(hosts, settings(*ports, out=(OUT,), web=(web,)))
    opened = client.opens(server.nic.ip6)
    assert opened is not None
    accepted = server.do(lambda: server.served[0].accept()[0])
    accepted.settimeout(2.0)
    for version, rules in (("2", (web, PINGS)), ("3", (web,))):
        tell(hosts, settings(*ports, version=version, out=(OUT,), web=rules))
        opened.sendall(b"goes on")
        assert accepted.recv(10) == b"goes on"
    tell(hosts, settings(*ports, version="4", out=(OUT,), web=(PINGS,)))
    opened.sendall(b"ends")
    with pytest.raises(TimeoutError):
        accepted.recv(10)
    opened.close()
    accepted.close()


def test_further_addresses_and_ports_without_security(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    router, peer = booted((here, 10), (there, 11))
    known = open_to_all(hosts, router, peer)
    router.machine.ip("address", "add", "fd00:1::99/128", "dev", "eth0", "nodad")
    router.machine.ip("address", "add", "fd00:9::1/128", "dev", "eth0", "nodad")
    peer.machine.ip("route", "add", "fd00:9::/64", "dev", "eth0")

    def reached(version: str, **more: Any) -> list[bool]:
        tell(hosts, known.but(version=version, ports=(port(router, ("all",), **more), known.ports[1])))
        peer.machine.ip("neigh", "flush", "dev", "eth0")
        # The neighbour is found from the own address first: from another one the question is dropped.
        sources = (router.nic.ip6, "fd00:1::99", "fd00:9::1")
        return [router.pings(peer.nic.ip6, "-I", source) for source in sources]

    assert reached("1") == [True, False, False]
    one, many = AddressPair(cidr="fd00:1::99/128"), AddressPair(cidr="fd00:9::/64")
    assert reached("2", allowed_pairs=(one,)) == [True, True, False]
    assert reached("3", allowed_pairs=(one, many)) == [True, True, True]
    assert reached("4") == [True, False, False]
    assert reached("5", port_security=False) == [True, True, True]


def test_what_somebody_took_away_of_ipv6_is_there_again(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    guest, peer = booted((here, 10), (there, 11))
    open_to_all(hosts, guest, peer)
    tap, ip6 = f"gst-{SEGMENT:06x}-000a", guest.nic.ip6
    taken = (
        f"nft delete element bridge gostack ips6 {{ {tap} . {guest.nic.mac} . {ip6} }}",
        "nft flush set bridge gostack targets6",
        "nft flush chain bridge gostack claims6",
        f"ip link set gsb-{SEGMENT} type bridge nf_call_ip6tables 0",
    )
    for command in taken:
        here.machine.run(*command.split())
        assert here.do(here.networks.told).differences != (), command
        here.do(here.networks.know_hosts, here.networks._hosts)
        assert here.do(here.networks.told).differences == (), command
        assert guest.pings(peer.nic.ip6)
    nft = f"nft add element bridge gostack ips6 {{ {tap} . {guest.nic.mac} . fd00:1::dead }}"
    here.machine.run(*nft.split())
    (much,) = here.do(here.networks.told).differences
    assert (much.segment, much.missing) == (SEGMENT, False)
    here.ends(guest)
    elements = here.machine.run("nft", "list", "ruleset").stdout
    assert ip6 not in elements
