"""Security groups, further addresses and limits of bandwidth on real bridges of two hosts; a guest is a network
namespace whose interface is joined as a hypervisor would."""

import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agent.drivers.network.guest_networks import GuestNetworks
from agent.drivers.network.record import NetworkRecord
from agent.drivers.network.security import TABLE, counted
from domain.guest_spec import GuestSpec, Nic
from domain.network.on_host import RuleCount
from domain.network.port_settings import HostPorts, PortSettings
from domain.network.state import AddressPair
from domain.security_group import Protocol, RuleDirection, SecurityRule
from tests.agent.private_host import Machine, Wire, directory, enter, missing
from tests.agent.samples import a_guest, a_nic
from tests.harness.samples import IMAGE

pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(missing()), reason=f"a host of its own needs {missing()}")]

T = TypeVar("T")
NETWORK, OTHER = "0f1c1f0a-3c7e-4b8a-9d53-0a1b2c3d4e01", "0f1c1f0a-3c7e-4b8a-9d53-0a1b2c3d4e02"
GATEWAY = "10.43.0.1"
UPLINKS = dict.fromkeys(("10.78.0.1", "10.78.0.2"), "")
PORT = 80
OUT = SecurityRule(id="out", direction=RuleDirection.EGRESS, cidr="0.0.0.0/0")
WEB = SecurityRule(id="web", protocol=Protocol.TCP, port_min=PORT, port_max=PORT, cidr="0.0.0.0/0")
PINGS = SecurityRule(id="pings", protocol=Protocol.ICMP, cidr="0.0.0.0/0")
EACH_OTHER = SecurityRule(id="each-other", remote_group="friends")


class Inside:
    """A network namespace, in which this process does things in threads."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.threads = ThreadPoolExecutor(8, initializer=lambda: enter(machine.name))

    def do(self, work: Callable[..., T], *arguments: Any) -> T:
        return self.threads.submit(work, *arguments).result(60)

    def close(self) -> None:
        self.threads.shutdown()
        self.machine.close()


class Guest(Inside):
    """A guest that is plugged into a host's network."""

    def __init__(self, host: "Host", spec: GuestSpec) -> None:
        super().__init__(Machine())
        self.host, self.spec, self.nic = host, spec, spec.nics[0]
        self.ip = self.nic.ip
        record = NetworkRecord.of(self.nic)
        self.tap = tap = record.tap(host.entry_of(self.nic))
        mtu = host.do(host.networks.uplink.mtu)
        for command in (
            f"ip -n {host.machine.name} link add {tap} type veth peer name eth0 netns {self.machine.name}",
            f"ip -n {host.machine.name} link set {tap} master {record.bridge} up",
            f"ip -n {self.machine.name} link set eth0 address {self.nic.mac} mtu {mtu} up",
            f"ip -n {self.machine.name} address add {self.ip}/24 dev eth0",
            f"ip -n {self.machine.name} route add default via {self.nic.gateway}",
        ):
            subprocess.run(command.split(), check=True)
        self.served: list[socket.socket] = []

    def listens(self, port: int = PORT) -> None:
        self.served.append(self.do(socket.create_server, ("0.0.0.0", port)))

    def listens6(self, port: int = PORT) -> None:
        self.served.append(self.do(partial(socket.create_server, family=socket.AF_INET6), ("::", port)))

    def opens(self, to: str, port: int = PORT) -> socket.socket | None:
        """The connection; None where nobody answers within a second."""
        try:
            return self.do(lambda: socket.create_connection((to, port), 1.0))
        except OSError:
            return None

    def reaches(self, to: str, port: int = PORT) -> bool:
        made = self.opens(to, port)
        if made is not None:
            made.close()
        return made is not None

    def pings(self, to: str, *options: str) -> bool:
        return self.machine.run("ping", "-c", "1", "-W", "1", *options, to, check=False).returncode == 0

    def close(self) -> None:
        for each in self.served:
            each.close()
        super().close()


class Host(Inside):
    """A host with the networks of its guests."""

    def __init__(self, directory: Path, wire: Wire, address: str, **more: Any) -> None:
        super().__init__(Machine())
        self.machine.ip("link", "set", "lo", "up")
        self.directory, self.address = directory, address
        self.uplink = wire.plug(self.machine, f"{address}/24")
        self.networks = GuestNetworks(directory, self.uplink, **more)
        self.do(self.networks.know_hosts, UPLINKS)
        self.guests: list[Guest] = []

    def entry_of(self, nic: Nic) -> Any:
        record = self.networks.records.get(nic.segment)
        assert record is not None
        return next(each for each in record.entries if each.ip == nic.ip)

    def boots(
        self, number: int, network: str = NETWORK, segment: int = 8101, *, of_nic: Any = None, **fields: Any
    ) -> Guest:
        nic = a_nic(number, network, GATEWAY, segment).but(**(of_nic or {}))
        spec = a_guest(IMAGE, (nic,), hostname=f"g{number}-{uuid.uuid4().hex[:6]}", **fields)
        self.do(self.networks.plug, spec)
        guest = Guest(self, spec)
        self.guests.append(guest)
        return guest

    def ends(self, guest: Guest) -> None:
        self.guests.remove(guest)
        self.do(self.networks.unplug, guest.spec)
        guest.close()

    def knows(self, settings: HostPorts) -> None:
        self.do(self.networks.know_ports, settings)

    def close(self) -> None:
        for guest in list(self.guests):
            self.ends(guest)
        super().close()


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with directory() as place, two_hosts(place) as found:
        yield found


@contextmanager
def two_hosts(place: Path) -> Iterator[tuple[Host, Host]]:
    with ExitStack() as stack:
        wire = Wire()
        stack.callback(wire.close)
        made = []
        for number, uplink in enumerate(sorted(UPLINKS)):
            host = Host(place / f"h{number}", wire, uplink)
            stack.callback(host.close)
            made.append(host)
        yield made[0], made[1]


def settings(*ports: tuple[Guest, tuple[str, ...]], version: str = "1", **groups: Any) -> HostPorts:
    """What hosts know: which groups these guests are in, and the groups' rules."""
    members: dict[str, dict[str, tuple[str, ...]]] = {}
    members6: dict[str, dict[str, tuple[str, ...]]] = {}
    for guest, wanted in ports:
        for group in wanted:
            within = members.setdefault(group, {})
            within[guest.nic.network_id] = (*within.get(guest.nic.network_id, ()), guest.ip)
            if guest.nic.ip6:
                within6 = members6.setdefault(group, {})
                within6[guest.nic.network_id] = (*within6.get(guest.nic.network_id, ()), guest.nic.ip6)
    return HostPorts(
        version=version,
        ports=tuple(port(*each) for each in ports),
        groups=groups,
        members=members,
        members6=members6,
    )


def port(guest: Guest, groups: tuple[str, ...], **more: Any) -> PortSettings:
    return PortSettings(
        network_id=guest.nic.network_id, ip=guest.ip, instance_id=guest.spec.id, security_groups=groups, **more
    )


def tell(hosts: tuple[Host, Host], known: HostPorts) -> None:
    for host in hosts:
        host.knows(known)


def test_nothing_is_permitted_until_a_rule_permits_it(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    client, server, far = here.boots(10), here.boots(11), there.boots(12)
    for each in (server, far):
        each.listens()
    assert not any(client.reaches(each.ip) or client.pings(each.ip) for each in (server, far))
    groups: dict[str, Any] = {"out": (OUT,), "web": (OUT, WEB)}
    tell(hosts, settings((client, ("out",)), (server, ("web",)), (far, ("web",)), **groups))
    assert all(client.reaches(each.ip) for each in (server, far))
    assert not any(client.pings(each.ip) for each in (server, far))
    assert not server.reaches(client.ip)
    tell(hosts, settings((client, ("out",)), (server, ()), (far, ("web",)), version="2", **groups))
    assert not client.reaches(server.ip)
    assert client.reaches(far.ip)
    # A guest may always ask its network's own services.
    assert server.pings(GATEWAY)
    assert there.do(counted)["web"][0] >= 1


def test_what_a_rule_has_permitted_is_counted_and_survives_a_change_of_rules(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    client, server = here.boots(10), there.boots(11)
    server.listens()
    groups: dict[str, Any] = {"out": (OUT,), "web": (WEB, PINGS)}
    tell(hosts, settings((client, ("out",)), (server, ("web",)), **groups))
    assert here.do(here.networks.counted, "web") == {}
    assert there.do(there.networks.counted, "web") == dict.fromkeys(("web", "pings"), RuleCount())
    assert client.pings(server.ip)
    assert client.reaches(server.ip)
    before = there.do(there.networks.counted, "web")
    assert (before["pings"].packets, before["pings"].bytes) == (1, 84)
    assert before["web"].packets >= 3
    assert here.do(here.networks.counted)["out"].packets >= 4
    tell(
        hosts,
        settings((client, ("out",)), (server, ("web",)), version="2", **groups | {"web": (PINGS, WEB, EACH_OTHER)}),
    )
    assert client.pings(server.ip)
    after = there.do(there.networks.counted, "web")
    assert after["pings"].packets == 2
    assert after["web"] == before["web"]
    assert after["each-other"] == RuleCount()


def test_a_network_s_own_services_need_no_rule(hosts: tuple[Host, Host]) -> None:
    here, _ = hosts
    guest = here.boots(10)
    assert guest.pings(GATEWAY)
    pid = here.do(here.networks._services(8101).pid)
    ping = ["nsenter", f"--net=/proc/{pid}/ns/net", "ping", "-c", "1", "-W", "2", guest.ip]
    assert subprocess.run(ping, check=False, capture_output=True).returncode == 0


def test_what_may_not_be_sent_is_not_sent(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    client, server = here.boots(10), there.boots(11)
    server.listens()
    server.listens(443)
    only = SecurityRule(id="only", direction=RuleDirection.EGRESS, protocol=Protocol.TCP, port_min=443, port_max=443)
    tell(hosts, settings((client, ("only",)), (server, ("all",)), only=(only,), all=(WEB, PINGS, every_port())))
    assert client.reaches(server.ip, 443)
    assert not client.reaches(server.ip, 80)
    assert not client.pings(server.ip)


def every_port() -> SecurityRule:
    return SecurityRule(id="every-port", protocol=Protocol.TCP, cidr="0.0.0.0/0")


def test_members_of_a_group_reach_each_other_on_their_network_alone(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    one, two, stranger = here.boots(10), there.boots(11), here.boots(12)
    # The same range and the same addresses, of another network.
    others = here.boots(10, OTHER, 8102), here.boots(11, OTHER, 8102)
    friends: dict[str, Any] = {"friends": (OUT, EACH_OTHER), "strangers": (OUT,)}
    known = settings((one, ("friends",)), (two, ("friends",)), (stranger, ("strangers",)), **friends)
    apart = settings((others[0], ("strangers",)), (others[1], ("strangers",)), **friends)
    tell(hosts, known.but(ports=(*known.ports, *apart.ports)))
    assert one.pings(two.ip)
    assert two.pings(one.ip)
    assert stranger.pings(one.ip) is False
    assert others[0].pings(others[1].ip) is False


def test_a_connection_ends_when_its_rule_goes_and_lasts_otherwise(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    client, server = here.boots(10), there.boots(11)
    server.listens()
    tell(hosts, settings((client, ("out",)), (server, ("web",)), out=(OUT,), web=(WEB,)))
    opened = client.opens(server.ip)
    assert opened is not None
    accepted = server.do(lambda: server.served[0].accept()[0])
    accepted.settimeout(2.0)
    opened.sendall(b"one")
    assert accepted.recv(10) == b"one"
    tell(hosts, settings((client, ("out",)), (server, ("web",)), version="2", out=(OUT,), web=(WEB, PINGS)))
    opened.sendall(b"two")
    assert accepted.recv(10) == b"two"
    tell(hosts, settings((client, ("out",)), (server, ("web",)), version="3", out=(OUT,), web=(PINGS,)))
    opened.sendall(b"three")
    with pytest.raises(TimeoutError):
        accepted.recv(10)
    opened.close()
    accepted.close()


def test_a_rule_that_cannot_be_applied_leaves_itself_out_alone(
    hosts: tuple[Host, Host], caplog: pytest.LogCaptureFixture
) -> None:
    here, _ = hosts
    client, server = here.boots(10), here.boots(11)
    server.listens()
    wrong = SecurityRule(id="wrong", cidr="no range at all")
    here.knows(settings((client, ("out",)), (server, ("web",)), out=(OUT,), web=(wrong, WEB)))
    assert client.reaches(server.ip)
    assert "rule wrong cannot be applied on this host" in caplog.text


def test_the_next_guest_with_an_address_has_nothing_of_the_last_ones(hosts: tuple[Host, Host]) -> None:
    here, _ = hosts
    client, server = here.boots(10), here.boots(11)
    tell(hosts, settings((client, ("out",)), (server, ("web",)), out=(OUT,), web=(WEB, PINGS)))
    assert client.pings(server.ip)
    here.ends(server)
    again = here.boots(11)
    assert not client.pings(again.ip)


def test_further_addresses_and_ports_without_security(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    router, peer = here.boots(10), there.boots(11)
    known = settings((router, ("all",)), (peer, ("all",)), all=(OUT, PINGS))

    def with_router(version: str, **more: Any) -> HostPorts:
        return known.but(version=version, ports=(port(router, ("all",), **more), *known.ports[1:]))

    tell(hosts, known)
    router.machine.ip("address", "add", "10.43.0.99/32", "dev", "eth0")
    assert router.pings(peer.ip)
    assert not router.pings(peer.ip, "-I", "10.43.0.99")
    pair = AddressPair(cidr="10.43.0.96/29")
    tell(hosts, with_router("2", allowed_pairs=(pair, AddressPair(cidr="10.43.0.99/32"))))
    assert router.pings(peer.ip, "-I", "10.43.0.99")
    tell(hosts, known.but(version="3"))
    assert not router.pings(peer.ip, "-I", "10.43.0.99")
    tell(hosts, with_router("4", port_security=False))
    assert router.pings(peer.ip, "-I", "10.43.0.99")


def test_rules_that_somebody_flushed_and_an_agent_that_starts_again(hosts: tuple[Host, Host]) -> None:
    here, _ = hosts
    client, server = here.boots(10), here.boots(11)
    server.listens()
    here.knows(settings((client, ("out",)), (server, ("web",)), out=(OUT,), web=(WEB,)))
    here.machine.run("nft", "flush", "ruleset")
    here.do(here.networks.know_hosts, UPLINKS)
    assert client.reaches(server.ip)
    assert not client.pings(server.ip)
    here.machine.run("nft", "delete", "table", "bridge", TABLE)
    again = GuestNetworks(here.networks.records._directory, here.networks.uplink.name)
    here.do(again.repair)
    assert client.reaches(server.ip)
    assert not client.pings(server.ip)


def test_bandwidth_is_limited_each_way(hosts: tuple[Host, Host]) -> None:
    here, there = hosts
    sender, receiver = here.boots(10), there.boots(11)
    receiver.listens()
    free = settings((sender, ("all",)), (receiver, ("all",)), all=(OUT, WEB))
    tell(hosts, free)
    size = 16 << 20

    def seconds() -> float:
        opened = sender.opens(receiver.ip)
        assert opened is not None
        opened.settimeout(60)
        accepted = receiver.do(lambda: receiver.served[0].accept()[0])
        begin = time.monotonic()
        sending = sender.threads.submit(opened.sendall, bytes(size))
        left = size
        accepted.settimeout(20)
        while left:
            left -= len(accepted.recv(1 << 20))
        sending.result(5)
        opened.close()
        accepted.close()
        return time.monotonic() - begin

    assert seconds() < 2.3
    kbit = 32_000  # 16 MiB take 4.2 s
    limited = port(sender, ("all",), egress_kbit=kbit)
    tell(hosts, free.but(version="2", ports=(limited, free.ports[1])))
    assert 3.0 < seconds() < 20
    limited = port(receiver, ("all",), ingress_kbit=kbit)
    tell(hosts, free.but(version="3", ports=(free.ports[0], limited)))
    assert 3.0 < seconds() < 20
    tell(hosts, free.but(version="4"))
    assert seconds() < 2.3


def test_a_thousand_rules(hosts: tuple[Host, Host]) -> None:
    here, _ = hosts
    guests = [here.boots(number) for number in range(10, 15)]
    rules: dict[str, Any] = {
        f"g{group}": tuple(
            SecurityRule(
                id=f"{group}-{number}", protocol=Protocol.TCP, port_min=number, port_max=number, cidr="10.0.0.0/8"
            )
            for number in range(1, 201)
        )
        for group in range(5)
    }
    known = settings(*((guest, (f"g{number}",)) for number, guest in enumerate(guests)), **rules)
    here.knows(known)
    assert len(here.do(counted)) == 1000
    assert here.do(here.networks.told).differences == ()
