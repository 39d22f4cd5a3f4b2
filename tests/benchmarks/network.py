"""Networks of guests: what their rules cost a stream from host to host, how long a port takes, and what many cost.

Two hosts of their own (network namespaces on one wire), guests as network namespaces, on one machine. Beside each
figure stands the same without GoStack, in turn in the same run: a stream over a veth pair, a bridge and VXLAN that has
no rule, and the bare commands that make a network's devices.
"""

import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from statistics import median
from typing import Any

from agent.drivers.network.guest_networks import GuestNetworks
from domain import catalog
from domain.guest_spec import GuestSpec
from domain.network.port_settings import HostPorts, PortSettings
from domain.security_group import Protocol, RuleDirection, SecurityRule
from tests.agent.private_host import Machine, Wire, directory, missing
from tests.agent.samples import a_guest, a_nic
from tests.agent.test_security_groups import UPLINKS, Host
from tests.benchmarks.processes import spread, yardstick
from tests.harness.samples import IMAGE

SECONDS = 2.0
"""How long a stream is measured."""
PORT = 5001
NETWORKS, PORTS_EACH, GROUPS, RULES_EACH = 200, 2, 5, 200
TAKEN_FROM = 80
"""Ports from which permissions are taken at once."""
ADDRESSES = sorted(UPLINKS)
RECEIVE = """
import socket, sys, time
with socket.create_server(("0.0.0.0", int(sys.argv[1]))) as served:
    print("ready", flush=True)
    stream, _ = served.accept()
    room, size, begin = bytearray(1 << 20), 0, time.perf_counter()
    while got := stream.recv_into(room):
        size += got
print(size * 8 / (time.perf_counter() - begin) / 1e9)
"""
SEND = """
import socket, sys, time
block, until = bytes(1 << 20), time.perf_counter() + float(sys.argv[3])
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as stream:
    while time.perf_counter() < until:
        stream.sendall(block)
"""


@dataclass(frozen=True)
class Ends:
    """Two guests, on two hosts, between which a stream goes."""

    sender: Machine
    receiver: Machine
    to: str

    def gbit(self) -> float:
        """What a stream carries, in Gbit/s."""
        within = ["ip", "netns", "exec"]
        listen = [*within, self.receiver.name, sys.executable, "-c", RECEIVE, str(PORT)]
        send = [*within, self.sender.name, sys.executable, "-c", SEND, self.to, str(PORT), str(SECONDS)]
        with subprocess.Popen(listen, stdout=subprocess.PIPE, text=True) as receiving:
            assert receiving.stdout is not None
            assert receiving.stdout.readline() == "ready\n"
            subprocess.run(send, check=True, timeout=60)
            return float(receiving.stdout.readline())


@contextmanager
def bare_ends() -> Iterator[Ends]:
    """Guests that are joined as ours are, by bridges that have no rules."""
    with ExitStack() as stack:
        wire = Wire()
        stack.callback(wire.close)
        guests = []
        for address, other, own in (
            (ADDRESSES[0], ADDRESSES[1], "10.43.0.10"),
            (ADDRESSES[1], ADDRESSES[0], "10.43.0.11"),
        ):
            host, guest = Machine(), Machine()
            stack.callback(host.close)
            stack.callback(guest.close)
            wire.plug(host, f"{address}/24")
            for command in (
                "link add br0 mtu 1450 type bridge stp_state 0",
                "link set br0 up",
                f"link add vx0 mtu 1450 type vxlan id 42 dev up0 local {address} dstport 4789",
                "link set vx0 master br0 up",
                f"link add tap0 mtu 1450 type veth peer name eth0 mtu 1450 netns {guest.name}",
                "link set tap0 master br0 up",
            ):
                host.ip(*command.split())
            host.run("bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "vx0", "dst", other)
            guest.ip("link", "set", "eth0", "up")
            guest.ip("address", "add", f"{own}/24", "dev", "eth0")
            guests.append(guest)
        yield Ends(guests[0], guests[1], "10.43.0.11")


@contextmanager
def two_hosts(encrypt: bool = False) -> Iterator[tuple[Host, Host]]:
    """Two hosts that know each other."""
    with directory() as place, ExitStack() as stack:
        wire = Wire()
        stack.callback(wire.close)
        made = []
        for number, address in enumerate(ADDRESSES):
            host = Host(place / f"h{number}", wire, address, encrypt=encrypt)
            stack.callback(host.close)
            if encrypt:
                # Its process outlives an agent, and goes with the device.
                stack.callback(host.machine.ip, "link", "del", host.networks.tunnel.name)
            made.append(host)
        known = {host.address: host.networks.tunnel.key for host in made}
        for host in made:
            host.do(host.networks.know_hosts, known)
        yield made[0], made[1]


def _rules(count: int = RULES_EACH, prefix: str = "r") -> tuple[SecurityRule, ...]:
    """Rules that permit one port each of TCP, the last of them the one of the stream."""
    ports = [*range(PORT + 1, PORT + count), PORT]
    return tuple(
        SecurityRule(id=f"{prefix}-{port}", protocol=Protocol.TCP, port_min=port, port_max=port, cidr="10.0.0.0/8")
        for port in ports
    )


OUT = SecurityRule(id="out", direction=RuleDirection.EGRESS, cidr="0.0.0.0/0")


def _port(spec: GuestSpec, *groups: str, **more: Any) -> PortSettings:
    nic = spec.nics[0]
    return PortSettings(network_id=nic.network_id, ip=nic.ip, instance_id=spec.id, security_groups=groups, **more)


@contextmanager
def our_ends(secured: bool, encrypt: bool = False) -> Iterator[Ends]:
    """Guests of two hosts; where they are not `secured`, they may send from any address, and are in no group."""
    with two_hosts(encrypt) as (here, there):
        sender, receiver = here.boots(10), there.boots(11)
        ports = tuple(_port(each.spec, "web", port_security=secured) for each in (sender, receiver))
        known = HostPorts(version="1", ports=ports, groups={"web": (OUT, *_rules(10))})
        for host in (here, there):
            host.knows(known)
        yield Ends(sender.machine, receiver.machine, receiver.ip)


def _throughput(rounds: int) -> dict[str, Any]:
    """What a stream carries each way, in turn, and what that is of the bare one's in the same turn."""
    with ExitStack() as stack:
        ways: dict[str, Ends] = {
            "bare": stack.enter_context(bare_ends()),
            "unsecured": stack.enter_context(our_ends(secured=False)),
            "secured": stack.enter_context(our_ends(secured=True)),
        }
        if which("wireguard-go"):
            ways["encrypted"] = stack.enter_context(our_ends(secured=True, encrypt=True))
        for ends in ways.values():
            ends.gbit()
        found = [{name: ends.gbit() for name, ends in ways.items()} for _ in range(rounds)]
    return {
        name: {
            "gbit_per_second": spread(each[name] for each in found),
            "of_bare": spread(each[name] / each["bare"] for each in found),
        }
        for name in ways
    }


BARE_FIRST = """
ip link add b0 type bridge && ip link set b0 type bridge nf_call_iptables 1 && ip link set b0 up
ip link add x0 type vxlan id 77 dev up0 local {own} dstport 4790 && ip link set x0 master b0 up
bridge fdb append 00:00:00:00:00:00 dev x0 dst {other}
unshare --net sh -c 'ip link set lo up; ip link add net type veth peer name d0 netns /proc/$1/ns/net
ip address add 10.43.0.1/24 dev net; ip address add 169.254.169.254/32 dev net; ip link set net up
exec dnsmasq --conf-file=/dev/null --pid-file={pid} --interface=net --except-interface=lo --bind-interfaces \\
 --no-hosts --no-resolv --dhcp-range=10.43.0.0,static,255.255.255.0 --leasefile-ro' services $$
ip link set d0 master b0 up
"""
BARE_MORE = """
add element bridge gostack macs {{ "gst-bare" . 52:54:00:00:00:{number:02x} }}
add element bridge gostack ips {{ "gst-bare" . 52:54:00:00:00:{number:02x} . 10.43.0.{number} }}
add element bridge gostack arps {{ "gst-bare" . 52:54:00:00:00:{number:02x} . 10.43.0.{number} }}
"""


def _ms(work: Callable[..., object], *arguments: Any) -> float:
    begin = time.perf_counter()
    work(*arguments)
    return (time.perf_counter() - begin) * 1000


def _plugging(rounds: int) -> dict[str, Any]:
    """Milliseconds until a network has its first port, and one more, each beside the commands for its devices alone."""
    found: dict[str, list[float]] = {name: [] for name in ("first", "bare_first", "more", "bare_more")}
    with two_hosts() as (host, _), directory() as place:
        script, pid = place / "first.sh", place / "pid"
        script.write_text(BARE_FIRST.format(own=ADDRESSES[0], other=ADDRESSES[1], pid=pid))
        for number in range(2, rounds + 3):
            first, more = (a_guest(IMAGE, (a_nic(each, gateway="10.43.0.1", segment=900),)) for each in (10, 11))
            elements = place / "more.nft"
            elements.write_text(BARE_MORE.format(number=number))
            took = {
                "first": _ms(host.do, host.networks.plug, first),
                "more": _ms(host.do, host.networks.plug, more),
                "bare_first": _ms(host.machine.run, "sh", str(script)),
                "bare_more": _ms(host.machine.run, "nft", "-f", str(elements)),
            }
            subprocess.run(["kill", pid.read_text().strip()], check=True)
            for name in ("x0", "b0"):
                host.machine.ip("link", "del", name)
            for spec in (more, first):
                host.do(host.networks.unplug, spec)
            # The first time, programs come from the disk.
            if number > 2:
                for name, ms in took.items():
                    found[name].append(ms)
    return {f"{name}_ms": spread(ms) for name, ms in found.items()}


def _many() -> dict[str, Any]:
    """What a host with many networks, ports and rules takes for a change and a start, and what it holds for them."""
    with two_hosts() as (host, _):
        specs = [
            a_guest(IMAGE, (a_nic(10 + each, str(uuid.UUID(int=number + 1)), "10.43.0.1", 1000 + number),))
            for number in range(NETWORKS)
            for each in range(PORTS_EACH)
        ]
        plugged = [_ms(host.do, host.networks.plug, spec) for spec in specs]
        ports = tuple(_port(spec, f"g{number % GROUPS}") for number, spec in enumerate(specs))
        groups = {f"g{number}": (OUT, *_rules(RULES_EACH - 1, f"g{number}")) for number in range(GROUPS)}
        known = HostPorts(version="0", ports=ports, groups=groups)
        all_of_it = _ms(host.knows, known)
        changes, taken = [], []
        for turn in range(5):
            more = SecurityRule(id=f"more-{turn}", protocol=Protocol.ICMP, cidr="10.0.0.0/8")
            changed = known.but(version=f"{turn}+", groups=groups | {"g0": (*groups["g0"], more)})
            changes.append(_ms(host.knows, changed))
            # The rule goes again from all ports of the group, of which there are as many.
            taken.append(_ms(host.knows, known.but(version=f"{turn}-")))
        held = [_resident(host.networks._services(1000 + number).pid()) for number in range(NETWORKS)]
        look = [_ms(host.do, host.networks.know_hosts, dict.fromkeys(ADDRESSES, "")) for _ in range(3)]
        networks = GuestNetworks(host.directory, host.uplink)
        start = _ms(host.do, networks.repair)
        assert host.do(networks.told).differences == ()
        for number in range(NETWORKS):
            host.do(networks._services(1000 + number).end)
    assert len(ports) // GROUPS == TAKEN_FROM
    return {
        "networks": NETWORKS,
        "ports": len(specs),
        "rules": sum(map(len, groups.values())),
        "plugged_ms": spread(plugged),
        "all_rules_ms": round(all_of_it),
        "change_ms": spread(changes),
        "taken_from": TAKEN_FROM,
        "taken_ms": spread(taken),
        "look_ms": spread(look),
        "start_ms": round(start),
        "dnsmasq_mib": round(sum(held) / 1024, 1),
        "dnsmasq_each_mib": round(median(held) / 1024, 2),
    }


def _resident(pid: int) -> int:
    """KiB of a process that are in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def measure(rounds: int = 7) -> dict[str, Any]:
    """All figures; empty where this machine cannot have hosts of its own."""
    assert catalog.MESSAGES
    if missing():
        return {}
    before = yardstick()
    return {
        "rounds": rounds,
        "stream_seconds": SECONDS,
        # Twice, so that it shows how far two measurements of the same run differ.
        "throughput": [_throughput(rounds), _throughput(rounds)],
        "plug": _plugging(rounds),
        "many": _many(),
        "yardstick_ms": spread([before, yardstick()]),
    }


if __name__ == "__main__":
    print(measure())
