"""What a host has of its networks, against its records: each thing that somebody took away is said, and is there again
after the next look; what is too much is said."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from agent.drivers import host_command
from agent.drivers.network.floating import MARK
from agent.drivers.network.guest_networks import GuestNetworks
from agent.drivers.network.services import NetworkServices
from agent.drivers.network.vxlan import UNKNOWN
from domain.network.on_host import HostDifference
from domain.network.state import AddressPair
from tests.agent.private_host import missing
from tests.agent.test_security_groups import (
    GATEWAY,
    NETWORK,
    OTHER,
    OUT,
    PINGS,
    UPLINKS,
    Guest,
    Host,
    hosts,
    port,
    settings,
    tell,
)
from tests.agent.test_ways_out import soon

__all__ = ["hosts"]

pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(missing()), reason=f"a host of its own needs {missing()}")]

SEGMENT = 8101
TAP = f"gst-{SEGMENT:06x}-000a"
OPEN = f"gst-{SEGMENT:06x}-000b"
MAC, OTHER_MAC = "52:54:00:00:00:0a", "52:54:00:00:00:77"
FLOATING = "10.78.0.130"


def nft(host: Host, *words: str) -> None:
    host.machine.run("nft", *words)


def kill(host: Host) -> None:
    """End the network's dnsmasq."""
    services = NetworkServices(host.networks.records.directory(SEGMENT), SEGMENT)
    os.kill(services.pid(), signal.SIGKILL)
    until = time.monotonic() + 5
    while services.pid() and time.monotonic() < until:
        time.sleep(0.01)


def element(verb: str, family: str, name: str, what: str) -> Callable[[Host], None]:
    return lambda host: nft(host, verb, "element", *family.split(), name, f"{{ {what} }}")


def ip(*words: str) -> Callable[[Host], None]:
    def change(host: Host) -> None:
        host.machine.ip(*words)

    return change


def link(*words: str) -> Callable[[Host], None]:
    return ip("link", *words)


def forgets(host: Host, device: str, other: str) -> None:
    """The VXLAN device does not send to another host any more."""
    host.machine.run("bridge", "fdb", "del", UNKNOWN, "dev", device, "dst", other)


def of_host(host: Host) -> list[HostDifference]:
    return list(host.do(host.networks.told).differences)


def pair(hosts: tuple[Host, Host]) -> tuple[Guest, Guest, Guest]:
    """Two guests of the first host, and one of the second, which may ping each other; with all that a port and its
    network may have."""
    here, there = hosts
    guests = one, two, far = here.boots(10), here.boots(11), there.boots(12)
    groups = settings(*((guest, ("all",)) for guest in guests), all=(OUT, PINGS))
    pairs = AddressPair(cidr="10.43.0.96/29"), AddressPair(cidr="10.43.0.99/32", mac=OTHER_MAC)
    ports = (
        port(one, ("all",), allowed_pairs=pairs, floating=(FLOATING,)),
        port(two, ("all",), port_security=False),
        port(far, ("all",), host_id="another"),
    )
    tell(hosts, groups.but(ports=ports, external=(NETWORK,)))
    return guests


def test_the_chain_of_an_earlier_release_is_replaced(hosts: tuple[Host, Host]) -> None:
    """It judged what crosses a bridge after br_netfilter, and so most packets not at all."""
    here, _ = hosts
    chain = ("chain", "bridge", "gostack", "forward")
    nft(here, "flush", *chain)
    nft(here, "delete", *chain)
    nft(here, "add", *chain, "{ type filter hook forward priority 0; }")
    nft(here, "add", "rule", *chain[1:], "counter")
    here.do(here.networks.repair)
    listed = here.machine.run("nft", "-n", "list", *chain).stdout
    assert "priority -200" in listed
    assert 'oifname "gsx-*"' in listed
    assert "counter" not in listed


def test_a_host_that_is_as_it_was_made_differs_in_nothing(hosts: tuple[Host, Host]) -> None:
    here, _ = hosts
    assert [of_host(each) for each in hosts] == [[], []]
    one, *_ = pair(hosts)
    here.boots(10, OTHER, 8102)
    told = here.do(here.networks.told)
    assert told.differences == ()
    assert [(each.segment, len(each.addresses)) for each in told.networks] == [(SEGMENT, 2), (8102, 1)]
    (found,) = [each for each in told.networks[0].addresses if each.ip == one.ip]
    assert (found.mac, found.instance_id) == (MAC, one.spec.id)
    for guest in list(here.guests):
        here.ends(guest)
    # What was known of the ports that are gone is forgotten as soon as the API is asked again.
    tell(hosts, settings(version="2"))
    assert here.do(here.networks.told).networks == ()
    assert [of_host(each) for each in hosts] == [[], []]


TAKEN: dict[str, tuple[Callable[[Host], None], int, str]] = {
    "bridge": (link("del", f"gsb-{SEGMENT}"), SEGMENT, f"bridge gsb-{SEGMENT}"),
    "bridge off": (link("set", f"gsb-{SEGMENT}", "down"), SEGMENT, f"bridge gsb-{SEGMENT} that is up"),
    "VXLAN": (link("del", f"gsx-{SEGMENT}"), SEGMENT, f"VXLAN device gsx-{SEGMENT}"),
    "port": (link("set", TAP, "nomaster"), SEGMENT, f"device {TAP} on bridge gsb-{SEGMENT}"),
    "services": (link("set", f"gsd-{SEGMENT}", "nomaster"), SEGMENT, f"device gsd-{SEGMENT} on bridge gsb-{SEGMENT}"),
    "dnsmasq": (kill, SEGMENT, "dnsmasq"),
    "mac": (
        element("delete", "bridge gostack", "macs", f'"{TAP}" . {MAC}'),
        SEGMENT,
        f"element {TAP} . {MAC} of set macs",
    ),
    "ip": (
        element("delete", "bridge gostack", "ips", f'"{TAP}" . {MAC} . 10.43.0.10'),
        SEGMENT,
        f"element {TAP} . {MAC} . 10.43.0.10 of set ips",
    ),
    "arps": (lambda host: nft(host, "flush", "set", "bridge", "gostack", "arps"), SEGMENT, "of set arps"),
    "zone": (
        element("delete", "inet gostack", "zones", f'"gsb-{SEGMENT}"'),
        SEGMENT,
        f"element gsb-{SEGMENT} of set zones",
    ),
    "secured": (
        element("delete", "bridge gostack_groups", "from", f'"{TAP}"'),
        SEGMENT,
        f"interface {TAP} of table gostack_groups",
    ),
    "groups": (lambda host: nft(host, "delete", "table", "bridge", "gostack_groups"), 0, "table gostack_groups"),
    "chain": (
        lambda host: nft(host, "flush", "chain", "bridge", "gostack", "prerouting"),
        0,
        "chain bridge prerouting of table gostack",
    ),
    "filtered": (
        link("set", f"gsb-{SEGMENT}", "type", "bridge", "nf_call_iptables", "0"),
        SEGMENT,
        f"bridge gsb-{SEGMENT} that hands packets to rules",
    ),
    "way out": (link("del", f"gso-{SEGMENT}"), SEGMENT, f"way out gso-{SEGMENT}"),
    "route": (ip("route", "del", FLOATING), SEGMENT, f"route to floating address {FLOATING}"),
    "answer": (
        ip("neigh", "del", "proxy", FLOATING, "dev", "up0"),
        SEGMENT,
        f"answer at floating address {FLOATING}",
    ),
    "other hosts": (
        lambda host: forgets(host, f"gsx-{SEGMENT}", "10.78.0.2"),
        SEGMENT,
        f"host 10.78.0.2 of VXLAN device gsx-{SEGMENT}",
    ),
    "open": (element("delete", "bridge gostack", "open", f'"{OPEN}"'), SEGMENT, f"element {OPEN} of set open"),
    "pairs": (
        lambda host: nft(host, "flush", "set", "bridge", "gostack", "pairs"),
        SEGMENT,
        f"element {TAP} . {MAC} . 10.43.0.96/29 of set pairs",
    ),
    "pair_arps": (
        lambda host: nft(host, "flush", "set", "bridge", "gostack", "pair_arps"),
        SEGMENT,
        f"element {TAP} . {OTHER_MAC} . 10.43.0.99 of set pair_arps",
    ),
    "services of groups": (
        element("delete", "bridge gostack_groups", "services", f'"gsd-{SEGMENT}" . {GATEWAY}'),
        SEGMENT,
        f"element gsd-{SEGMENT} . {GATEWAY} of set services",
    ),
    "hosts": (lambda host: nft(host, "flush", "set", "inet", "gostack", "hosts"), 0, "element 10.78.0.1 of set hosts"),
    "all rules": (lambda host: nft(host, "flush", "ruleset"), 0, "chain inet input of table gostack"),
}


@pytest.mark.parametrize("what", TAKEN)
def test_what_somebody_took_away_is_said_and_is_there_again(hosts: tuple[Host, Host], what: str) -> None:
    here, there = hosts
    one, two, far = pair(hosts)
    take, segment, said = TAKEN[what]
    take(here)
    found = [each for each in of_host(here) if each.missing]
    assert any(each.segment == segment and said in each.what for each in found), found
    assert of_host(there) == []
    here.do(here.networks.know_hosts, UPLINKS)
    assert of_host(here) == []
    assert one.pings(two.ip)
    assert one.pings(far.ip)
    assert far.pings(two.ip)
    assert one.pings(GATEWAY)


@pytest.mark.parametrize(
    ("add", "segment", "said"),
    [
        (
            element("add", "bridge gostack", "macs", f'"{TAP}" . 52:54:00:00:00:99'),
            SEGMENT,
            f"element {TAP} . 52:54:00:00:00:99 of set macs",
        ),
        (element("add", "inet gostack", "zones", '"gsb-77" : 77'), 77, "element gsb-77 of set zones"),
        (element("add", "inet gostack", "hosts", "10.78.0.9"), 0, "element 10.78.0.9 of set hosts"),
        (link("add", "gsb-77", "type", "bridge"), 77, "device gsb-77"),
        (link("add", "gso-77", "type", "bridge"), 77, "device gso-77"),
        (
            element("add", "bridge gostack", "pairs", f'"{TAP}" . {MAC} . 10.44.0.0/16'),
            SEGMENT,
            f"element {TAP} . {MAC} . 10.44.0.0/16 of set pairs",
        ),
        (
            ip("neigh", "add", "proxy", "10.78.0.131", "dev", "up0", "protocol", MARK),
            0,
            "answer at floating address 10.78.0.131",
        ),
        (link("add", f"gst-{SEGMENT:06x}-0077", "type", "bridge"), SEGMENT, f"device gst-{SEGMENT:06x}-0077"),
    ],
)
def test_what_is_too_much_is_said(
    hosts: tuple[Host, Host], add: Callable[[Host], None], segment: int, said: str
) -> None:
    here, there = hosts
    pair(hosts)
    add(here)
    assert of_host(here) == [HostDifference(segment=segment, what=said, missing=False)]
    assert of_host(there) == []


def test_a_host_that_lost_its_power_has_it_all_again(hosts: tuple[Host, Host]) -> None:
    here, _ = hosts
    one, two, far = pair(hosts)
    here.boots(10, OTHER, 8102)
    known = here.networks._security.known
    for segment in (SEGMENT, 8102):
        os.kill(NetworkServices(here.networks.records.directory(segment), segment).pid(), signal.SIGKILL)
    for name in ("gsb-8101", "gsx-8101", "gsb-8102", "gsx-8102"):
        here.machine.ip("link", "del", name)
    nft(here, "flush", "ruleset")
    here.networks = GuestNetworks(here.directory, here.uplink)
    here.do(here.networks.repair)
    for guest in here.guests:
        # The hypervisor does so when it starts the guest again.
        here.machine.ip("link", "set", "dev", guest.tap, "master", f"gsb-{guest.nic.segment}", "up")
    assert of_host(here) == []
    assert here.networks._security.known == known
    assert one.pings(GATEWAY)
    assert soon(one.pings, two.ip)
    assert soon(far.pings, one.ip)


def test_what_cannot_be_mended_of_one_network_keeps_no_other_from_it(hosts: tuple[Host, Host]) -> None:
    here, _ = hosts
    pair(hosts)
    here.boots(10, OTHER, 8102)
    for segment in (SEGMENT, 8102):
        here.machine.ip("link", "del", f"gsb-{segment}")
    in_the_way = here.networks.records.directory(SEGMENT) / "hosts.new"
    in_the_way.mkdir()
    with pytest.raises(OSError, match=r"hosts\.new"):
        here.do(here.networks.know_hosts, UPLINKS)
    assert {each.segment for each in of_host(here)} == {SEGMENT}
    in_the_way.rmdir()
    here.do(here.networks.know_hosts, UPLINKS)
    assert of_host(here) == []


def test_a_look_costs_the_same_however_many_networks_there_are(
    hosts: tuple[Host, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, _ = hosts
    ran: list[tuple[str, ...]] = []
    run = host_command.run

    def counted(*command: str, **rest: Any) -> str | None:
        ran.append(command)
        return run(*command, **rest)

    pair(hosts)
    monkeypatch.setattr(host_command, "run", counted)
    here.do(here.networks.know_hosts, UPLINKS)
    before = list(ran)
    assert 1 <= len(before) <= 18
    for number in range(2, 6):
        here.boots(10, f"0f1c1f0a-3c7e-4b8a-9d53-0a1b2c3d4e0{number}", 8200 + number)
    ran.clear()
    here.do(here.networks.know_hosts, UPLINKS)
    assert ran == before
