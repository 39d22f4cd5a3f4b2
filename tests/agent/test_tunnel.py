"""What guests send from host to host, encrypted: real bridges and tunnels of hosts that a wire joins, and strangers on
that wire."""

import os
import shutil
import signal
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from agent.drivers.network.guest_networks import GuestNetworks
from agent.drivers.network.tunnel import KEY, LOG, LOG_AT_MOST, SOCKETS, Tunnel
from agent.drivers.network.vxlan import PORT as VXLAN
from domain.network.port_settings import HostPorts
from domain.security_group import SecurityRule
from infra.local.process import wait_until
from tests.agent.private_host import Machine, Wire, directory, missing
from tests.agent.test_security_groups import NETWORK, OUT, PINGS, UPLINKS, WEB, Guest, Host, Inside, settings, tell

pytestmark = pytest.mark.real
lacking = missing() or " ".join(each for each in ("wg", "wireguard-go") if shutil.which(each) is None)
needs_hosts = pytest.mark.skipif(bool(lacking), reason=f"hosts with a tunnel need {lacking}")

PLAIN_UPLINK, PLAIN_MTU, ENCRYPTED_MTU = 1500, 1450, 1390
HEADERS = 28
"""Bytes of an echo request's headers, IP's and its own."""
WIREGUARD, DISCARD = 51820, 9
ECHO_SECONDS = 5.0
"""Five times the longest that the first echo took on a machine that does nothing else."""


class Encrypting(Host):
    """A host that can turn encryption on and off, as an agent does that starts again with the setting changed."""

    def __init__(self, directory: Path, wire: Wire, address: str, encrypt: bool = True) -> None:
        super().__init__(directory, wire, address, encrypt=encrypt)
        # Some systems are strict about the way by which a packet comes in.
        self.machine.run("sysctl", "-q", "-w", "net.ipv4.conf.all.rp_filter=1")

    def starts_again(self, encrypt: bool) -> None:
        self.networks = GuestNetworks(self.directory, self.uplink, encrypt=encrypt)
        self.do(self.networks.repair)

    @property
    def key(self) -> str:
        return self.networks.tunnel.key

    def pids(self) -> list[int]:
        """The processes of the host's own tunnels."""
        found = self.machine.run("ip", "netns", "pids", self.machine.name).stdout.split()
        commands = {int(pid): Path(f"/proc/{pid}/cmdline") for pid in found}
        return [pid for pid, path in commands.items() if path.exists() and b"wireguard-go" in path.read_bytes()]

    def tunnels(self) -> list[str]:
        return [line.split(":")[1].strip() for line in self.machine.ip("-o", "link").splitlines() if ": gsw-" in line]

    def close(self) -> None:
        for guest in list(self.guests):
            self.ends(guest)
        for each in self.tunnels():
            self.machine.ip("link", "del", each)
            assert wait_until(lambda each=each: not (SOCKETS / f"{each}.sock").exists(), 10)  # type: ignore[misc]
        super().close()


class Watch:
    """All that passes an interface from now on."""

    def __init__(self, host: Inside, device: str) -> None:
        self._socket = host.do(socket.socket, socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        self._socket.bind((device, 3))
        self._socket.setblocking(False)
        self.parts = 0
        """Packets that were parts of larger ones."""

    def seen(self) -> list[tuple[str, int, bytes]]:
        """Sender, port and content of the UDP packets since, some of which may be the first part only."""
        found = []
        with suppress(BlockingIOError):
            while True:
                packet = self._socket.recv(65536)
                if packet[0] != 0x45:
                    continue
                part = struct.unpack("!H", packet[6:8])[0] & 0x3FFF
                self.parts += part != 0
                if packet[9] == socket.IPPROTO_UDP and part & 0x1FFF == 0:
                    sender, port = socket.inet_ntoa(packet[12:16]), struct.unpack("!H", packet[22:24])[0]
                    found.append((sender, port, packet[28:]))
        return found

    def ports(self) -> Counter[int]:
        return Counter(port for _, port, _ in self.seen())

    def close(self) -> None:
        self._socket.close()


@contextmanager
def watched(host: Inside, device: str = "up0") -> Iterator[Watch]:
    """The interface by which a host is on the wire, or another."""
    made = Watch(host, device)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


@pytest.fixture
def host(wire: Wire) -> Iterator[Callable[..., Encrypting]]:
    """Makes hosts, the first at the first address."""
    with directory() as place, ExitStack() as stack:
        addresses = iter([*UPLINKS, "10.78.0.3"])

        def made(encrypt: bool = True) -> Encrypting:
            address = next(addresses)
            new = Encrypting(place / address, wire, address, encrypt)
            stack.callback(new.close)
            return new

        yield made


def meet(*hosts: Encrypting) -> None:
    for each in hosts:
        each.do(each.networks.know_hosts, {other.address: other.key for other in hosts})


def friends(*guests: Guest) -> HostPorts:
    return settings(*((each, ("all",)) for each in guests), all=(OUT, PINGS, WEB))


def reaches(one: Guest, two: Guest, *options: str) -> bool:
    return wait_until(lambda: one.pings(two.ip, *options), ECHO_SECONDS)


def whole(mtu: int) -> tuple[str, ...]:
    """Options of an echo request that fills a packet, which may not be cut into parts."""
    return ("-M", "do", "-s", str(mtu - HEADERS))


@needs_hosts
def test_guests_reach_each_other_and_the_wire_tells_nothing(host: Callable[..., Encrypting]) -> None:
    here, there = host(), host()
    meet(here, there)
    one, two = here.boots(10), there.boots(11)
    tell((here, there), friends(one, two))
    with watched(here) as wire:
        assert reaches(one, two)
        assert here.do(here.networks.uplink.mtu) == ENCRYPTED_MTU
        assert reaches(one, two, *whole(ENCRYPTED_MTU))
        two.listens()
        assert one.reaches(two.ip)
        seen = wire.seen()
        assert wire.parts == 0
    assert {port for _, port, _ in seen} == {WIREGUARD}
    assert not any(socket.inet_aton(two.ip) in content for _, _, content in seen)
    # One that has nothing new to learn leaves all as it is.
    before = here.pids(), here.machine.ip("-o", "link")
    meet(here, there)
    here.starts_again(True)
    assert (here.pids(), here.machine.ip("-o", "link")) == before
    assert one.pings(two.ip)


@needs_hosts
def test_packets_of_guests_are_such_that_none_is_cut_in_two_on_a_smaller_wire(host: Callable[..., Encrypting]) -> None:
    here, there = host(), host()
    for each in (here, there):
        each.machine.ip("link", "set", each.uplink, "mtu", "1430")
        each.starts_again(True)
    meet(here, there)
    one, two = here.boots(10), there.boots(11)
    tell((here, there), friends(one, two))
    mtu = here.do(here.networks.uplink.mtu)
    assert mtu <= 1430 - (PLAIN_UPLINK - ENCRYPTED_MTU)
    with watched(here) as wire:
        assert reaches(one, two, *whole(mtu))
        assert wire.ports()[WIREGUARD] > 0
        assert wire.parts == 0


@needs_hosts
@pytest.mark.parametrize("encrypt", [False, True])
def test_a_stranger_that_gives_itself_a_hosts_address(
    host: Callable[..., Encrypting], wire: Wire, encrypt: bool
) -> None:
    here, there = host(encrypt), host(encrypt)
    meet(here, there)
    victim, friend = here.boots(10), there.boots(11)
    anything = SecurityRule(id="anything", cidr="0.0.0.0/0")
    tell((here, there), settings((victim, ("all",)), (friend, ("all",)), all=(OUT, anything)))
    assert reaches(friend, victim)
    there.machine.ip("link", "set", there.uplink, "down")
    here.machine.ip("neigh", "flush", "all")
    stranger = Inside(Machine())
    try:
        wire.plug(stranger.machine, f"{there.address}/24")
        for command in (
            f"ip link add gsx address {friend.nic.mac} type vxlan id 8101 dstport {VXLAN} local {there.address}",
            "ip link set gsx up",
            f"bridge fdb append 00:00:00:00:00:00 dev gsx dst {here.address}",
            f"ip address add {friend.ip}/24 dev gsx",
            f"ip neigh replace {victim.ip} lladdr {victim.nic.mac} dev gsx",
        ):
            stranger.machine.run(*command.split())

        def says() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as said:
                said.sendto(b"word", (victim.ip, DISCARD))

        with watched(here) as arrives, watched(victim, "eth0") as heard:
            stranger.do(says)
            assert wait_until(lambda: arrives.ports()[VXLAN] >= 1, ECHO_SECONDS), "it sent nothing"
            # Without encryption it is taken for the host: nothing else stands in its way.
            assert wait_until(lambda: heard.ports()[DISCARD] >= 1, 1.0 if encrypt else ECHO_SECONDS) is not encrypt
    finally:
        stranger.close()


@needs_hosts
def test_a_host_speaks_for_itself_alone(host: Callable[..., Encrypting]) -> None:
    here, there, third = host(), host(), host()
    meet(here, there, third)
    there.machine.ip("address", "add", f"{third.address}/32", "dev", there.networks.tunnel.name)

    def says(sender: str) -> None:
        there.do(send, sender, here.address)

    with watched(here, here.networks.tunnel.name) as inside:
        says(third.address)
        says(there.address)
        senders: set[str] = set()

        def heard() -> bool:
            senders.update(sender for sender, _, _ in inside.seen())
            return there.address in senders

        assert wait_until(heard, ECHO_SECONDS)
        assert senders == {there.address}


def send(sender: str, receiver: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as said:
        said.bind((sender, 0))
        said.sendto(b"a frame", (receiver, VXLAN))


@needs_hosts
def test_others_are_heard_soon_that_knew_a_tunnel_that_died(host: Callable[..., Encrypting]) -> None:
    here, there = host(), host()
    meet(here, there)

    def heard() -> bool:
        with watched(here, here.networks.tunnel.name) as inside:
            there.do(send, there.address, here.address)
            return wait_until(lambda: inside.ports()[VXLAN] >= 1, 0.2, pause=0.02)

    assert wait_until(heard, ECHO_SECONDS)
    for pid in here.pids():
        os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not here.tunnels(), 10)
    meet(here, there)
    # Nothing is sent from here, and 15 s are what it would take the other side to begin anew by itself.
    assert wait_until(heard, ECHO_SECONDS)


@needs_hosts
def test_a_tunnel_that_died_is_back_and_nothing_leaves_without_it(host: Callable[..., Encrypting]) -> None:
    here, there = host(), host()
    meet(here, there)
    one, two = here.boots(10), there.boots(11)
    tell((here, there), friends(one, two))
    assert reaches(one, two)
    if not here.pids():
        pytest.skip("the kernel has WireGuard: there is no process that could die")
    for pid in here.pids():
        os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not here.tunnels(), 10)
    lacks = [each.what for each in here.do(here.networks.told).differences if each.missing]
    assert lacks == [f"tunnel {here.networks.tunnel.name}"]
    with watched(here) as wire:
        assert not one.pings(two.ip)
        # Also where somebody takes the rules away that would drop it.
        here.machine.run("nft", "flush", "ruleset")
        assert not one.pings(two.ip)
        assert wire.ports()[VXLAN] == 0
    meet(here, there)
    assert reaches(one, two)
    assert here.do(here.networks.told).differences == ()
    here.machine.ip("rule", "del", "pref", "4789")
    with watched(here) as wire:
        assert not one.pings(two.ip)
        assert wire.ports()[VXLAN] == 0
    meet(here, there)
    assert reaches(one, two)


@needs_hosts
def test_a_host_that_was_made_anew_and_one_that_is_no_more(host: Callable[..., Encrypting]) -> None:
    here, there = host(), host()
    meet(here, there)
    one, two = here.boots(10), there.boots(11)
    tell((here, there), friends(one, two))
    assert reaches(one, two)
    before = there.key
    (there.directory / KEY).unlink()
    there.starts_again(True)
    assert there.key != before
    assert there.tunnels() == [there.networks.tunnel.name], "the tunnel of the old key is left"
    assert not one.pings(two.ip)
    meet(here, there)
    assert reaches(one, two)
    peers = here.machine.run("wg", "show", here.networks.tunnel.name, "peers").stdout.split()
    assert peers == [there.key]
    here.do(here.networks.know_hosts, {here.address: here.key})
    assert here.machine.run("wg", "show", here.networks.tunnel.name, "peers").stdout == ""
    assert not one.pings(two.ip)


@needs_hosts
def test_encryption_is_turned_on_and_off_while_guests_run(host: Callable[..., Encrypting]) -> None:
    here, there = host(encrypt=False), host(encrypt=False)
    meet(here, there)
    one, two = here.boots(10), there.boots(11)
    tell((here, there), friends(one, two))

    def turn(encrypt: bool) -> Counter[int]:
        for each in (here, there):
            each.starts_again(encrypt)
        meet(here, there)
        with watched(here) as wire:
            assert reaches(one, two)
            # They keep what they were told of packets when they started.
            assert reaches(one, two, *whole(PLAIN_MTU))
            found = wire.ports()
            assert (wire.parts > 0) is encrypt
        return found

    devices = here.machine.ip("-o", "link", "show", "gsx-8101")
    assert set(turn(False)) == {VXLAN}
    assert here.machine.ip("-o", "link", "show", "gsx-8101") == devices
    assert set(turn(True)) == {WIREGUARD}
    assert told_mtu(here) == ENCRYPTED_MTU
    new = there.boots(12)
    tell((here, there), friends(one, two, new).but(version="2"))
    assert reaches(one, new, *whole(ENCRYPTED_MTU))
    assert set(turn(False)) == {VXLAN}
    assert told_mtu(here) == PLAIN_MTU
    for each in (here, there):
        assert each.tunnels() == []
        assert "4789" not in each.machine.ip("rule")
        assert each.machine.run("ip", "route", "show", "table", "4789", check=False).stdout == ""
        assert wait_until(lambda each=each: not each.pids(), 10)  # type: ignore[misc]


def told_mtu(host: Host) -> int:
    """What DHCP tells the host's guests."""
    pid = host.networks._services(8101).pid()
    option = b"--dhcp-option=option:mtu,"
    (found,) = [each for each in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") if each.startswith(option)]
    return int(found.removeprefix(option))


@needs_hosts
def test_a_host_without_a_key_is_not_reached_and_the_log_says_so_once(
    host: Callable[..., Encrypting], caplog: pytest.LogCaptureFixture
) -> None:
    here, there = host(), host(encrypt=False)
    meet(here, there)
    one, two = here.boots(10), there.boots(11)
    tell((here, there), friends(one, two))
    with watched(here) as wire:
        assert not one.pings(two.ip)
        assert not two.pings(one.ip)
        assert {sender for sender, port, _ in wire.seen() if port == VXLAN} <= {there.address}
    here.do(here.networks.repair)
    said = [each for each in caplog.messages if "do not reach each other" in each]
    assert [each.split(":")[0] for each in said] == [
        f"the host at {there.address} has told no key to encrypt with",
        f"the host at {here.address} encrypts, and this host does not",
    ]
    here.do(here.networks.know_hosts, {here.address: here.key, there.address: "no key at all"})
    here.do(here.networks.know_hosts, {here.address: here.key, there.address: ""})
    assert sum("has told no key" in each for each in caplog.messages) == 1


@needs_hosts
def test_what_a_tunnel_complains_is_bounded(host: Callable[..., Encrypting]) -> None:
    here = host()
    meet(here)
    if not here.pids():
        pytest.skip("the kernel has WireGuard: there is no process that could complain")
    with (here.directory / LOG).open("ab") as log:
        log.write(bytes(LOG_AT_MOST + 1))
    meet(here)
    assert (here.directory / LOG).stat().st_size == 0


def test_a_hosts_key_is_made_once_and_is_nobody_elses_business(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / NETWORK
    made = Tunnel(place, encrypt=True)
    # Whoever has a driver has not opened it yet: its directories are not there.
    assert not place.exists()
    assert made.key
    assert (place / KEY).stat().st_mode & 0o777 == 0o600
    assert (Tunnel(place, encrypt=True).key, Tunnel(place, encrypt=True).name) == (made.key, made.name)
    assert len(made.name) <= 15
    assert caplog.messages == []
    (place / KEY).write_bytes((place / KEY).read_bytes()[:20])
    assert Tunnel(place, encrypt=True).key not in ("", made.key)
    assert "holds no key: a new one is made" in caplog.text
    without = Tunnel(tmp_path / "without", encrypt=False)
    assert (without.key, without.name, (tmp_path / "without").exists()) == ("", "", False)
