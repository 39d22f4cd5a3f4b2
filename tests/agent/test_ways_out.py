"""Ways out of networks on real bridges of two hosts; what is outside is a machine on the wire that is no host."""

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from agent.drivers.network.guest_networks import GuestNetworks
from agent.drivers.network.resolvers import servers
from agent.drivers.network.ways_out import TABLE
from domain.network.port_settings import HostPorts
from domain.security_group import Protocol, RuleDirection, SecurityRule
from infra.local.process import wait_until
from tests.agent.private_host import Machine, Wire, directory, missing
from tests.agent.test_security_groups import (
    GATEWAY,
    NETWORK,
    OTHER,
    OUT,
    PINGS,
    UPLINKS,
    WEB,
    Guest,
    Host,
    Inside,
    port,
    settings,
)

pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(missing()), reason=f"a host of its own needs {missing()}")]

OUTSIDE, CLOSED = "10.78.0.200", "10.78.0.201"
DNS = 53
GROUPS: dict[str, Any] = {"out": (OUT,), "served": (OUT, WEB, PINGS)}
UPLINK_OF_ANOTHER = sorted(UPLINKS)[1]
FLOATING, SECOND = "10.78.0.130", "10.78.0.131"
QUIET = 1.0
"""Seconds after which an answer that has not come is taken for none."""


class Outside(Inside):
    """A machine on the wire, which tells each that connects what its address is."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(Machine())
        self.machine.ip("link", "set", "lo", "up")
        wire.plug(self.machine, f"{OUTSIDE}/24")
        self.machine.ip("address", "add", f"{CLOSED}/24", "dev", "up0")

    def counts(self, what: str) -> None:
        """Count from now on what arrives of this, as nft would have it."""
        rule = f"type filter hook input priority -300; {what} counter"
        subprocess.run(
            ["ip", "netns", "exec", self.machine.name, "nft", "-f", "-"],
            input=f"table inet counted {{\nchain input {{\n{rule}\n}}\n}}\n",
            text=True,
            check=True,
        )

    def counted(self) -> int:
        """How many packets of it have arrived."""
        return int(self.machine.run("nft", "list", "table", "inet", "counted").stdout.split("packets ")[1].split()[0])


class Place:
    """Two hosts, and what is outside."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        wire = Wire()
        stack.callback(wire.close)
        self.outside = Outside(wire)
        stack.callback(self.outside.close)
        self.hosts = []
        for number, uplink in enumerate(sorted(UPLINKS)):
            host = Host(
                directory / f"h{number}", wire, uplink, closed=(IPv4Network(f"{CLOSED}/32"),), host_id=f"h{number}"
            )
            stack.callback(host.close)
            self.hosts.append(host)

    def tell(self, known: HostPorts) -> None:
        for host in self.hosts:
            host.knows(known)


@pytest.fixture
def place() -> Iterator[Place]:
    with directory() as where, ExitStack() as stack:
        yield Place(where, stack)


def external(known: HostPorts, *networks: str, **more: Any) -> HostPorts:
    """The same, of networks that have a way out."""
    return known.but(version=f"{known.version}+", external=networks or (NETWORK,), **more)


def soon(holds: Callable[..., bool], *arguments: Any) -> bool:
    """Whether it holds before long: the first packet over a device that has just come up may be lost."""
    return wait_until(lambda: holds(*arguments), 5 * QUIET)


def address_seen(place: Place, guest: Guest, number: int = 8080, tries: int = 3) -> str:
    """The address that the machine outside sees a guest's connection come from; empty where none comes."""
    with place.outside.do(listening, number) as served:
        opened = next((made for _ in range(tries) if (made := guest.opens(OUTSIDE, number))), None)
        if opened is None:
            return ""
        accepted, (address, _) = place.outside.do(served.accept)
        accepted.close()
        opened.close()
        return str(address)


def listening(number: int) -> socket.socket:
    made = socket.create_server(("0.0.0.0", number))
    made.settimeout(5 * QUIET)
    return made


def test_a_guest_reaches_what_is_outside_as_its_host_and_only_with_a_way_out(place: Place) -> None:
    here, there = place.hosts
    one, two = here.boots(10), there.boots(11)
    inside = settings((one, ("out",)), (two, ("out",)), **GROUPS)
    place.tell(inside)
    assert not one.pings(OUTSIDE)
    place.tell(external(inside))
    assert soon(one.pings, OUTSIDE)
    assert [address_seen(place, each) for each in (one, two)] == sorted(UPLINKS)
    # Nobody outside begins anything with a guest, by whichever address.
    for to in (one.ip, "169.254.64.1"):
        route = f"ip -n {place.outside.machine.name} route replace {to}/32 via {sorted(UPLINKS)[0]}"
        subprocess.run(route.split(), check=True)
        assert place.outside.machine.run("ping", "-c1", "-W1", to, check=False).returncode
    place.tell(inside.but(version="3"))
    assert not one.pings(OUTSIDE)
    assert "gso-" not in here.machine.ip("link", "show")
    assert here.machine.run("cat", "/proc/sys/net/ipv4/conf/up0/forwarding").stdout.strip() == "0"


def test_what_may_not_be_opened_is_not_opened_outside_either(place: Place) -> None:
    here, _ = place.hosts
    guest = here.boots(10)
    only = SecurityRule(id="only", direction=RuleDirection.EGRESS, protocol=Protocol.TCP, port_min=8080, port_max=8080)
    here.knows(external(settings((guest, ("only",)), only=(only,))))
    assert address_seen(place, guest) == "10.78.0.1"
    assert not guest.pings(OUTSIDE)
    assert address_seen(place, guest, 8081) == ""


def test_no_service_of_a_host_is_reached(place: Place) -> None:
    here, there = place.hosts
    guest = here.boots(10)
    here.knows(external(settings((guest, ("out",)), **GROUPS)))
    with here.do(listening, 7490), there.do(listening, 7490), place.outside.do(listening, 7490):
        assert soon(guest.reaches, OUTSIDE, 7490)
        assert not any(guest.reaches(to, 7490) for to in (*UPLINKS, CLOSED, "169.254.64.0", "169.254.64.1"))
    assert not any(guest.pings(to) for to in (*UPLINKS, CLOSED, "169.254.64.0"))
    # Nor is a frame of another network handed to another host, which believes its neighbour.
    guest.machine.ip(
        "link", "add", "trick", "type", "vxlan", "id", "8101", "dstport", "4789", "remote", OUTSIDE, "dev", "eth0"
    )
    guest.machine.ip("address", "add", "10.43.0.77/32", "dev", "trick")
    guest.machine.ip("link", "set", "trick", "up")
    guest.machine.ip("route", "add", "10.43.0.78/32", "dev", "trick")
    place.outside.counts("udp dport 4789")
    guest.machine.run("ping", "-c2", "-W1", "10.43.0.78", check=False)
    assert place.outside.counted() == 0


def test_what_comes_from_no_address_of_the_network_does_not_leave(place: Place) -> None:
    here, _ = place.hosts
    guest = here.boots(10)
    known = settings((guest, ("out",)), **GROUPS)
    unguarded = port(guest, ("out",), port_security=False)
    here.knows(external(known, ports=(unguarded,)))
    for address in ("10.43.0.10", "192.0.2.7"):
        guest.machine.ip("address", "replace", f"{address}/32", "dev", "eth0")
    assert soon(guest.pings, OUTSIDE)
    place.outside.counts("icmp type echo-request")
    assert guest.pings(OUTSIDE)
    assert not guest.pings(OUTSIDE, "-I", "192.0.2.7")
    assert place.outside.counted() == 1


def test_two_networks_of_one_range_go_out_side_by_side(place: Place) -> None:
    here, _ = place.hosts
    one, other = here.boots(10), here.boots(10, OTHER, 8102)
    known = settings((one, ("out",)), (other, ("out",)), **GROUPS)
    here.knows(external(known, NETWORK, OTHER))
    assert address_seen(place, one) == address_seen(place, other) == "10.78.0.1"
    # Neither leads into the other.
    assert not any(guest.pings(to) for guest in (one, other) for to in ("169.254.64.1", "169.254.64.3"))
    here.knows(external(known, OTHER, members={}))
    assert not one.pings(OUTSIDE)
    assert other.pings(OUTSIDE)


def test_a_way_out_outlasts_flushed_rules_a_new_agent_and_a_guest_that_leaves(place: Place) -> None:
    here, _ = place.hosts
    guest, leaving = here.boots(10), here.boots(11)
    here.knows(external(settings((guest, ("out",)), **GROUPS)))
    with place.outside.do(listening, 8080) as served:
        assert soon(guest.pings, OUTSIDE)
        opened = guest.opens(OUTSIDE, 8080)
        assert opened is not None
        accepted, _ = place.outside.do(served.accept)

        def goes_on(what: bytes) -> bool:
            opened.sendall(what)
            accepted.settimeout(5 * QUIET)
            return bool(accepted.recv(10) == what)

        assert goes_on(b"first")
        here.ends(leaving)
        assert goes_on(b"one less")
        here.machine.run("nft", "flush", "ruleset")
        here.do(here.networks.know_hosts, UPLINKS)
        assert goes_on(b"flushed")
        again = GuestNetworks(here.networks.records._directory, here.networks.uplink.name)
        here.do(again.repair)
        assert goes_on(b"again")
        accepted.close()
        opened.close()
    here.machine.run("nft", "delete", "table", "inet", TABLE)
    here.do(again.know_hosts, UPLINKS)
    assert not guest.pings(sorted(UPLINKS)[1])
    here.machine.ip("link", "del", "gso-8101")
    here.do(again.know_hosts, UPLINKS)
    assert soon(guest.pings, OUTSIDE)


def test_a_device_that_forwards_for_guests_forwards_nothing_else(place: Place) -> None:
    here, _ = place.hosts
    guest = here.boots(10)
    here.machine.run("sysctl", "-w", "net.ipv6.conf.all.disable_ipv6=1")
    here.machine.ip("link", "add", "beside", "type", "veth", "peer", "name", "far")
    here.machine.ip("link", "set", "far", "up")
    here.machine.ip("address", "add", "192.0.2.1/24", "dev", "beside")
    here.machine.ip("link", "set", "beside", "up")
    here.machine.ip("neigh", "add", "192.0.2.9", "lladdr", "02:00:00:00:00:09", "dev", "beside")
    place.outside.machine.ip("route", "add", "192.0.2.0/24", "via", "10.78.0.1")

    def sent() -> int:
        place.outside.machine.run("ping", "-c1", "-W1", "192.0.2.9", check=False)
        return int(here.machine.run("cat", "/sys/class/net/beside/statistics/tx_packets").stdout)

    here.knows(external(settings((guest, ("out",)), **GROUPS)))
    before = sent()
    assert sent() == before
    # Where the operator has it forward, it is the operator's.
    here.knows(settings((guest, ("out",)), version="9", **GROUPS))
    here.machine.run("sysctl", "-w", "net.ipv4.ip_forward=1")
    here.knows(external(settings((guest, ("out",)), version="10", **GROUPS)))
    assert soon(lambda: sent() > before)
    assert guest.pings(OUTSIDE)


def test_names_are_asked_of_servers_outside_where_there_is_a_way_out(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, _ = place.hosts
    guest = here.boots(10)
    file = tmp_path / "resolv.conf"
    file.write_text(f"search example.org\nnameserver 127.0.0.53\nnameserver {OUTSIDE}\nnameserver ::1\n")
    assert servers((tmp_path / "none", file)) == (OUTSIDE,)
    monkeypatch.setattr("agent.drivers.network.resolvers.servers", lambda: servers((file,)))
    pid = tmp_path / "dns.pid"
    place.outside.machine.run(
        "dnsmasq", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", f"--pid-file={pid}", "--user=root",
        "--host-record=far.example.org,198.51.100.7",
    )  # fmt: skip

    def resolves(name: str) -> bool:
        done = guest.machine.run("busybox", "nslookup", "-type=a", name, GATEWAY, check=False)
        return "198.51.100.7" in done.stdout or "127.0.0.1" in done.stdout

    try:
        inside = settings((guest, ("out",)), **GROUPS)
        here.knows(inside)
        assert not resolves("far.example.org")
        here.knows(external(inside))
        assert wait_until(lambda: resolves("far.example.org"), 5 * QUIET)
        # What the host has in a file of its own is not the guests' business.
        assert not resolves("localhost")
        here.knows(inside.but(version="3"))
        assert wait_until(lambda: not resolves("far.example.org"), 5 * QUIET)
    finally:
        subprocess.run(["kill", pid.read_text().strip()], check=True)


def led(guest: Guest, host: int, *addresses: str, groups: tuple[str, ...] = ("served",)) -> Any:
    """The settings of a guest's port to which floating addresses lead, on this host."""
    return port(guest, groups, floating=addresses, host_id=f"h{host}")


def reaches(place: Place, to: str = FLOATING, number: int = 80) -> bool:
    """Whether the machine outside gets a connection."""

    def tried() -> bool:
        socket.create_connection((to, number), QUIET).close()
        return True

    try:
        return place.outside.do(tried)
    except OSError:
        return False


def mac_seen(place: Place) -> str:
    """The MAC address that the machine outside has for the floating one."""
    fields = place.outside.machine.ip("neigh", "show", FLOATING, "dev", "up0").split()
    return fields[fields.index("lladdr") + 1] if "lladdr" in fields else ""


def mac_of(host: Host) -> str:
    return host.machine.run("cat", "/sys/class/net/up0/address").stdout.strip()


def test_a_floating_address_leads_in_and_is_what_the_guest_is_seen_as(place: Place) -> None:
    here, _ = place.hosts
    guest, beside = here.boots(10), here.boots(11)
    guest.listens()
    known = external(settings((guest, ("served",)), (beside, ("out",)), **GROUPS))
    with_address = known.but(ports=(led(guest, 0, FLOATING), known.ports[1]))
    here.knows(with_address)
    assert soon(reaches, place)
    accepted, (sender, _) = guest.do(guest.served[0].accept)
    accepted.close()
    assert sender == OUTSIDE
    assert (address_seen(place, guest), address_seen(place, beside)) == (FLOATING, "10.78.0.1")
    # From within, too: to a guest of the same network on the same host.
    assert beside.reaches(FLOATING)
    assert here.machine.run("ping", "-c1", "-W1", FLOATING, check=False).returncode == 0
    # The host itself is not reached at it.
    with here.do(listening, 7490):
        assert not reaches(place, number=7490)
    # What no rule permits does not come in, by whichever address.
    only = SecurityRule(id="only", protocol=Protocol.TCP, port_min=80, port_max=80, cidr="10.78.0.128/25")
    here.knows(with_address.but(version="3", groups={"out": (OUT,), "served": (OUT, only)}))
    assert reaches(place)
    from_elsewhere = SecurityRule(id="only", protocol=Protocol.TCP, port_min=80, port_max=80, cidr="10.78.0.128/26")
    here.knows(with_address.but(version="4", groups={"out": (OUT,), "served": (OUT, from_elsewhere)}))
    assert not reaches(place)


def test_a_connection_ends_when_its_floating_address_goes(place: Place) -> None:
    here, _ = place.hosts
    guest = here.boots(10)
    guest.listens()
    known = external(settings((guest, ("served",)), **GROUPS))
    here.knows(known.but(ports=(led(guest, 0, FLOATING),)))
    assert soon(reaches, place)
    guest.do(guest.served[0].accept)[0].close()
    opened = place.outside.do(socket.create_connection, (FLOATING, 80), 5 * QUIET)
    accepted = guest.do(guest.served[0].accept)[0]
    accepted.settimeout(2 * QUIET)
    opened.sendall(b"one")
    assert accepted.recv(10) == b"one"
    here.knows(known.but(version="3"))
    opened.sendall(b"two")
    with pytest.raises(TimeoutError):
        accepted.recv(10)
    for each in (opened, accepted):
        each.close()
    assert not reaches(place)
    assert FLOATING not in here.machine.ip("route", "show") + here.machine.ip("neigh", "show", "proxy")


def test_a_floating_address_moves_with_its_guest(place: Place) -> None:
    """While a guest moves, both hosts have it and know of its address: the one that its port is bound to answers."""
    here, there = place.hosts
    before = here.boots(10)
    after = there.boots(10, id=before.spec.id)
    for guest in (before, after):
        guest.listens()
    known = external(settings((before, ("served",)), **GROUPS))
    place.tell(known.but(ports=(led(before, 0, FLOATING),)))
    assert soon(reaches, place)
    assert mac_seen(place) == mac_of(here)
    assert FLOATING not in there.machine.ip("neigh", "show", "proxy")
    # The host that it leaves hears of it later.
    bound = known.but(version="3", ports=(led(before, 1, FLOATING),))
    there.knows(bound)
    assert soon(lambda: mac_seen(place) == mac_of(there))
    here.knows(bound)
    assert soon(reaches, place)
    accepted, (sender, _) = after.do(after.served[0].accept)
    accepted.close()
    assert sender == OUTSIDE
    assert FLOATING not in here.machine.ip("neigh", "show", "proxy")


def test_two_networks_of_one_range_have_floating_addresses_each(place: Place) -> None:
    here, _ = place.hosts
    one, other = here.boots(10), here.boots(10, OTHER, 8102)
    for guest in (one, other):
        guest.listens()
    known = external(settings((one, ("served",)), (other, ("served",)), **GROUPS), NETWORK, OTHER)
    here.knows(known.but(ports=(led(one, 0, FLOATING), led(other, 0, SECOND))))
    assert soon(reaches, place, FLOATING)
    assert soon(reaches, place, SECOND)
    assert [address_seen(place, guest) for guest in (one, other)] == [FLOATING, SECOND]
    # As outsiders they reach each other, on one host as on two.
    assert one.reaches(SECOND)
    # The next guest of the port's address, or a port that another guest has, is not answered for.
    here.ends(one)
    again = here.boots(10)
    again.listens()
    assert not reaches(place)
    assert soon(reaches, place, SECOND)


def test_floating_addresses_outlast_flushed_rules_and_a_new_agent(place: Place) -> None:
    here, _ = place.hosts
    guest = here.boots(10)
    guest.listens()
    known = external(settings((guest, ("served",)), **GROUPS))
    here.knows(known.but(ports=(led(guest, 0, FLOATING, SECOND, UPLINK_OF_ANOTHER),)))
    assert soon(reaches, place)
    # The route of a floating address leads to a guest, not out.
    here.do(here.networks.know_hosts, UPLINKS)
    assert "gso-" not in here.machine.run("nft", "list", "set", "inet", TABLE, "outward").stdout
    # Nobody is given the address of a host.
    assert UPLINK_OF_ANOTHER not in here.machine.ip("neigh", "show", "proxy")
    here.machine.run("nft", "flush", "ruleset")
    here.machine.ip("route", "flush", "proto", "85")
    here.machine.ip("neigh", "del", "proxy", FLOATING, "dev", "up0")
    here.do(here.networks.know_hosts, UPLINKS)
    assert soon(reaches, place)
    again = GuestNetworks(here.networks.records._directory, here.networks.uplink.name, host_id="h0")
    here.do(again.repair)
    assert soon(reaches, place)
    here.do(again.know_ports, known.but(version="9", ports=(led(guest, 0, SECOND),)))
    assert not reaches(place)
    assert soon(reaches, place, SECOND)
