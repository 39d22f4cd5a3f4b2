"""An agent dies before any one of the changes that it makes to a host's networks; the next agent, and the job that is
repeated, leave the host as one that was never disturbed.

Where it dies is not written down anywhere: a process of its own is killed before the first change, another before the
second, and so on, until one gets to the end. A change is whatever Python's audit events say of programs that are run,
files that are written and sockets that are bound, so that lines which come later are covered, too.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from agent.drivers.network import namespace, vxlan
from agent.drivers.network.guest_networks import GuestNetworks
from agent.drivers.network.security import zone_of
from domain.guest_spec import GuestSpec
from domain.network.port_settings import HostPorts, PortSettings
from domain.network.state import AddressPair
from tests.agent.private_host import Wire, directory, missing
from tests.agent.samples import a_guest, a_nic
from tests.agent.test_security_groups import (
    GATEWAY,
    NETWORK,
    OUT,
    PINGS,
    UPLINKS,
    WEB,
    Guest,
    Host,
)
from tests.harness.samples import IMAGE

pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(missing()), reason=f"a host of its own needs {missing()}")]

SEGMENT = 8101
FLOATING = "10.78.0.130"
HOST_ID = "h"
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.kill", "socket.bind")
READS = {"show", "list", "get"}
"""Words of the programs that change nothing."""
MOST = 150
"""Changes of one deed, of which no more are expected."""


def is_change(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether an audit event is of something that is other afterwards."""
    if event == "open":
        path, _, flags = arguments
        return not isinstance(path, int) and bool(flags & WRITES)
    if event == "subprocess.Popen":
        return not READS & set(arguments[1])
    return event in CHANGES


def dies(deed: Callable[[], None], number: int) -> bool:
    """A process as the agent's does this, and dies before the change of this number; whether there were so many."""
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0, "the deed failed; see above"
        return os.WIFSIGNALED(status)
    try:
        left = number

        def audit(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            if is_change(event, arguments):
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(audit)
        deed()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


class Disturbed:
    """A host whose agent dies."""

    def __init__(self, place: Path, stack: ExitStack) -> None:
        wire = Wire()
        stack.callback(wire.close)
        self.host = Host(place / "h", wire, sorted(UPLINKS)[0], host_id=HOST_ID)
        stack.callback(self.close)

    def close(self) -> None:
        """End what outlives an agent, and the host."""
        for record in self.host.networks.records.all():
            self.host.do(self.host.networks._services(record.segment).end)
        self.host.close()

    def starts(self, known: HostPorts) -> None:
        """An agent starts, looks at the host, and asks for the settings of the ports."""
        self.host.networks = GuestNetworks(self.host.directory, self.host.uplink, host_id=HOST_ID)
        self.host.do(self.host.networks.repair)
        self.host.do(self.host.networks.know_hosts, UPLINKS)
        self.knows(known)

    def knows(self, known: HostPorts) -> None:
        """The agent asks for the settings of the ports, which it is told where they are others."""
        version, _ = self.host.do(self.host.networks.ports)
        if version != known.version:
            self.host.knows(known)

    def each_death(self, deed: Callable[[], None], begin: Callable[[], None] = lambda: None) -> Iterator[int]:
        """Yield after each death, with its number, and at last once more, when nobody has died; `begin` is called
        before each."""
        for number in count(1):
            self.host.do(begin)
            died = self.host.do(dies, deed, number)
            yield number
            if not died:
                return
            assert number < MOST

    def state(self) -> dict[str, Any]:
        """All that the host has of networks."""
        return self.host.do(self._state)

    def _state(self) -> dict[str, Any]:
        directory, records = self.host.directory, list(self.host.networks.records.all())
        state: dict[str, Any] = {
            "links": sorted(map(_device, json.loads(_run("ip", "-j", "-d", "link", "show"))), key=str),
            "limits": sorted(map(_limit, json.loads(_run("tc", "-j", "qdisc", "show")))),
            "rules": rules(_run("nft", "-j", "list", "ruleset")),
            "files": sorted(str(each.relative_to(directory)) for each in directory.rglob("*") if each.suffix != ".new"),
            "ports": self.host.networks.records.ports(),
            "networks": sorted(records, key=lambda each: each.segment),
            "routes": _run("ip", "route", "show"),
            "answered": _run("ip", "neigh", "show", "proxy"),
            "sent to": sorted(vxlan.sent_to()),
        }
        for record in records:
            pid = self.host.networks._services(record.segment).pid()
            state[f"services of {record.segment}"] = bool(pid)
            if pid and self.host.networks._security.known.external:
                with namespace.of_process(pid):
                    state[f"rules within {record.segment}"] = rules(_run("nft", "-j", "list", "ruleset"))
        return state

    def served(self) -> int:
        """How many processes serve the host's networks."""
        return sum(f"{self.host.directory}/" in _text(path) for path in Path("/proc").glob("[0-9]*/cmdline"))


def _device(link: dict[str, Any]) -> tuple[Any, ...]:
    said = link.get("linkinfo", {}).get("info_data", {})
    switches = [Path("/proc/sys/net", each) for each in ("ipv6/conf/{}/disable_ipv6", "ipv4/conf/{}/forwarding")]
    return (
        *(link.get(name, "") for name in ("ifname", "master", "mtu")),
        "UP" in link["flags"],
        *(said.get(name) for name in ("nf_call_iptables", "id", "local")),
        *(Path(str(each).format(link["ifname"])).read_text() for each in switches),
    )


def _limit(discipline: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(discipline.get(name, "")) for name in ("dev", "kind", "options"))


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""


def rules(printed: str) -> list[str]:
    """The rules and sets that nft lists, without what differs from time to time."""
    found: list[tuple[str, str]] = []
    for each in json.loads(printed)["nftables"]:
        ((kind, what),) = each.items()
        if kind != "metainfo":
            place = " ".join(str(what.get(name, "")) for name in ("family", "table", "chain"))
            found.append((f"{place} {kind}", json.dumps(_steady(what), sort_keys=True)))
    rank = [(place, "" if place.endswith(" rule") else text, text) for place, text in found]
    return [f"{place} {text}" for place, _, text in sorted(rank, key=lambda each: each[:2])]


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: _steady(each) for name, each in value.items() if name not in ("handle", "packets", "bytes")}
        return kept | {
            name: sorted(kept[name], key=json.dumps) for name in ("elem",) if isinstance(kept.get(name), list)
        }
    return [_steady(each) for each in value] if isinstance(value, list) else value


@pytest.fixture
def disturbed() -> Iterator[Disturbed]:
    with directory() as place, ExitStack() as stack:
        yield Disturbed(place, stack)


@contextmanager
def runs(host: Host, spec: GuestSpec) -> Iterator[Guest]:
    """A guest that is plugged runs for a while."""
    guest = Guest(host, spec)
    try:
        yield guest
    finally:
        guest.close()


def a_spec(number: int) -> GuestSpec:
    return a_guest(IMAGE, (a_nic(number, NETWORK, GATEWAY, SEGMENT),), hostname=f"g{number}")


PAIRS = AddressPair(cidr="10.43.0.96/29"), AddressPair(cidr="10.43.0.99/32", mac="52:54:00:00:00:77")
ONE, TWO = a_spec(10), a_spec(11)
ADDRESS = ONE.nics[0].ip


def known_of(*specs: GuestSpec, version: str = "1", **more: Any) -> HostPorts:
    """All kinds of settings that a port may have."""
    ports = tuple(
        PortSettings(
            network_id=NETWORK,
            ip=spec.nics[0].ip,
            instance_id=spec.id,
            host_id=HOST_ID,
            security_groups=("all", "friends"),
            egress_kbit=9000,
            allowed_pairs=(
                AddressPair(cidr="10.43.0.96/29"),
                AddressPair(cidr="10.43.0.99/32", mac="52:54:00:00:00:77"),
            ),
        )
        for spec in specs
    )
    members = {"friends": {NETWORK: tuple(each.ip for each in ports)}}
    return HostPorts(version=version, ports=ports, groups={"all": (OUT, PINGS)}, members=members).but(**more)


def connect(source: str, to: str, *options: str) -> None:
    """Have the calling thread's network namespace track a connection, as a packet would."""
    _run(
        *("conntrack", "-I", "-p", "tcp", "-s", source, "-d", to, "--sport", "1000", "--dport", "80"),
        *("--state", "ESTABLISHED", "-t", "600", "-u", "SEEN_REPLY,ASSURED", *options),
    )


def connected(*options: str) -> list[str]:
    """The connections that are tracked in the calling thread's network namespace."""
    return _run("conntrack", "-L", *options).splitlines()


ZONE = ("-w", str(zone_of(SEGMENT)))


@pytest.mark.parametrize("beside", [(), (TWO,)], ids=["first", "second"])
def test_dies_while_a_guest_is_plugged_in_and_out(disturbed: Disturbed, beside: tuple[GuestSpec, ...]) -> None:
    host, known, without = disturbed.host, known_of(ONE, *beside), known_of(*beside, version="2")

    def come() -> None:
        host.networks.plug(ONE)
        host.networks.know_ports(known)

    def go() -> None:
        host.networks.unplug(ONE)
        host.networks.know_ports(without)

    for spec in beside:
        host.do(host.networks.plug, spec)
    host.do(come)
    plugged = disturbed.state()
    host.do(go)
    unplugged, served = disturbed.state(), disturbed.served()

    for number in disturbed.each_death(lambda: host.networks.plug(ONE), go):
        disturbed.starts(without)
        host.do(come)
        assert disturbed.state() == plugged, number
        if number % 8 == 1:
            with runs(host, ONE) as guest:
                assert guest.pings(GATEWAY), number
                assert host.do(host.networks.told).differences == (), number
    host.do(go)
    assert disturbed.state() == unplugged

    def begin() -> None:
        come()
        connect(ADDRESS, "10.43.0.12", *ZONE)

    for number in disturbed.each_death(lambda: host.networks.unplug(ONE), begin):
        disturbed.starts(known)
        host.do(go)
        assert disturbed.state() == unplugged, number
        assert host.do(connected, *ZONE) == [], number
    assert host.do(host.networks.told).differences == ()
    assert disturbed.served() == served


def test_dies_while_permissions_change(disturbed: Disturbed) -> None:
    host, known = disturbed.host, known_of(ONE, TWO)
    for spec in (ONE, TWO):
        host.do(host.networks.plug, spec)
    with runs(host, ONE) as one, runs(host, TWO) as two:
        host.knows(known)
        before = disturbed.state()
        fewer = known_of(TWO, version="2", groups={"all": (OUT, WEB)})
        host.knows(fewer)
        after = disturbed.state()
        host.knows(known)
        assert disturbed.state() == before
        assert one.pings(two.ip)

        def begin() -> None:
            host.networks.know_ports(known)
            connect(ADDRESS, "10.43.0.12", *ZONE)

        for number in disturbed.each_death(lambda: host.networks.know_ports(fewer), begin):
            disturbed.starts(fewer)
            assert disturbed.state() == after, number
            assert host.do(connected, *ZONE, "-s", ADDRESS) == [], number
        assert host.do(host.networks.told).differences == ()
        assert not one.pings(two.ip)
        host.knows(known)
        assert disturbed.state() == before
        assert one.pings(two.ip)


def test_dies_while_ways_out_and_floating_addresses_change(disturbed: Disturbed) -> None:
    host = disturbed.host
    for spec in (ONE, TWO):
        host.do(host.networks.plug, spec)
    ports = tuple(each.but(egress_kbit=0, allowed_pairs=()) for each in known_of(ONE, TWO).ports)
    known = known_of(ONE, TWO, ports=ports)

    def leads(version: str, *ips: str) -> HostPorts:
        to = tuple(each.but(floating=(FLOATING,) if each.ip in ips else ()) for each in ports)
        return known.but(version=version, ports=to, external=(NETWORK,))

    def old() -> list[str]:
        """Connections that were begun by the floating address when it led to the first guest."""
        services = host.networks._services(SEGMENT)
        with namespace.of_process(services.pid()):
            return connected("-d", FLOATING)

    to_one, to_two = leads("2", ADDRESS), leads("3", TWO.nics[0].ip)
    host.knows(known)
    inside = disturbed.state()
    for begun, wanted in ((known, to_one), (to_one, to_two), (to_two, known)):
        host.knows(wanted)
        after = disturbed.state()
        same = [after[each] == inside[each] for each in ("links", "routes", "answered")]
        assert all(same) if wanted is known else not any(same)
        assert host.do(host.networks.told).differences == ()

        def begin() -> None:
            host.networks.know_ports(begun)  # noqa: B023
            if begun is to_one:  # noqa: B023
                with namespace.of_process(host.networks._services(SEGMENT).pid()):
                    connect("10.78.0.200", FLOATING, "--dst-nat", ADDRESS)

        for number in disturbed.each_death(lambda: host.networks.know_ports(wanted), begin):  # noqa: B023
            disturbed.starts(wanted)
            assert disturbed.state() == after, number
            assert host.do(old) == [], number
        assert host.do(host.networks.told).differences == ()


def test_dies_while_other_hosts_come_and_go(disturbed: Disturbed) -> None:
    host, known = disturbed.host, known_of(ONE)
    host.do(host.networks.plug, ONE)
    host.knows(known)
    before = disturbed.state()
    more = {**UPLINKS, "10.78.0.3": ""}
    host.do(host.networks.know_hosts, more)
    after = disturbed.state()
    assert before != after
    for number in disturbed.each_death(
        lambda: host.networks.know_hosts(UPLINKS), lambda: host.networks.know_hosts(more)
    ):
        disturbed.starts(known)
        assert disturbed.state() == before, number
    assert host.do(host.networks.told).differences == ()
