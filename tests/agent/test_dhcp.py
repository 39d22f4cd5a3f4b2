"""What the real dnsmasq gives a guest, in namespaces of the test's own: a name, an address, routes, and answers."""

import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.drivers.driver import Secrets
from agent.drivers.libvirt import guest_metadata
from agent.drivers.network.guest_networks import GuestNetworks
from agent.drivers.network.record import bridge_name, tap_name
from agent.drivers.network.services import NetworkServices
from domain.guest_spec import GuestSpec, ImageRef
from domain.network.port_settings import HostPorts
from tests.agent import private_host
from tests.agent.samples import GATEWAY, a_guest, a_nic

LACKING = private_host.missing() or ("" if shutil.which("busybox") else "busybox")
pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(LACKING), reason=f"needs {LACKING}")]

IMAGE = ImageRef(id="i-1", name="tiny", checksum="ab" * 32, format="qcow2", size=1, virtual_size=1)
SEGMENT = 31337
PATIENCE = 20.0
WORDS = ("ignore", "60", "infinite", "2h", "60m", "1w", "internal")
"""Host names by RFC 1123, of which dnsmasq takes some for something else where they stand alone."""
SCRIPT = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip address add "$ip/$mask" dev "$interface"
for each in ip hostname domain dns router staticroutes mtu; do eval "echo $each=\\$$each"; done
"""


class Site:
    """A host with one network, and guests that are namespaces with an interface in it."""

    def __init__(self, directory: Path, host: private_host.Machine) -> None:
        self.host = host
        self.networks = GuestNetworks(directory / "networks", "")
        self.services = NetworkServices(self.networks.records.directory(SEGMENT), SEGMENT)
        self.thread = ThreadPoolExecutor(1, initializer=lambda: private_host.enter(host.name))
        self.script = directory / "lease"
        self.script.write_text(SCRIPT)
        self.script.chmod(0o755)

    def plug(self, guest: GuestSpec) -> None:
        self.thread.submit(self.networks.plug, guest).result(30)
        # As the agent does every few seconds: without any rules nothing passes.
        self.thread.submit(self.networks.know_ports, HostPorts(version="1")).result(30)

    def unplug(self, guest: GuestSpec) -> None:
        self.thread.submit(self.networks.unplug, guest).result(30)

    @contextmanager
    def wired(self, guest: GuestSpec) -> Iterator[private_host.Machine]:
        """The guest as a machine, its interface in the network's bridge."""
        (nic,) = guest.nics
        machine = private_host.Machine()
        try:
            tap = tap_name(nic.segment, nic.ip, nic.prefix)
            self.host.ip(
                "link", "add", tap, "type", "veth", "peer", "name", "eth0", "address", nic.mac, "netns", machine.name
            )  # fmt: skip
            self.host.ip("link", "set", "dev", tap, "master", bridge_name(nic.segment), "up")
            for device in ("lo", "eth0"):
                machine.ip("link", "set", "dev", device, "up")
            yield machine
        finally:
            machine.close()

    def lease(self, machine: private_host.Machine) -> dict[str, str]:
        """What a guest is told that asks for all it understands."""
        asking = ("busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "10", "-O", "mtu", "-O", "staticroutes")
        done = machine.run(*asking, "-s", str(self.script))
        return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


@pytest.fixture
def site() -> Iterator[Site]:
    with private_host.directory() as directory:
        host = private_host.Machine()
        made = Site(directory, host)
        try:
            yield made
        finally:
            made.thread.submit(made.services.end).result(30)
            made.thread.shutdown()
            host.close()


def guest_named(name: str, number: int = 10) -> GuestSpec:
    return a_guest(IMAGE, (a_nic(number, segment=SEGMENT),), hostname=name)


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until, "not within the time"
        time.sleep(0.02)


def test_a_name_that_is_a_word_of_dnsmasq_is_a_name(site: Site) -> None:
    guests = {name: guest_named(name, number) for number, name in enumerate(WORDS, 10)}
    for guest in guests.values():
        site.plug(guest)
    for name, guest in guests.items():
        with site.wired(guest) as machine:
            lease = site.lease(machine)
            assert (lease["hostname"], lease["ip"], lease["domain"]) == (name, guest.nics[0].ip, "internal")
            asked = machine.run("busybox", "nslookup", f"{name}.internal", GATEWAY).stdout
            assert guest.nics[0].ip in asked, asked


def test_dhcp_gives_the_routes_that_the_metadata_has_and_no_router(site: Site) -> None:
    guest = guest_named("web")
    site.plug(guest)
    with site.wired(guest) as machine:
        lease = site.lease(machine)
    found = json.loads(guest_metadata.documents(guest, Secrets(), int(lease["mtu"]))["network_data.json"])
    assert found["links"][0]["mtu"] == int(lease["mtu"])
    (network,) = found["networks"]
    assert network["routes"] == [{"network": "169.254.169.254", "netmask": "255.255.255.255", "gateway": GATEWAY}]
    assert lease["staticroutes"] == f"169.254.169.254/32 {GATEWAY}"
    assert lease["router"] == "", "nothing is to be reached by it"
    assert [each["address"] for each in network["services"]] == [lease["dns"]] == [GATEWAY]


def test_dhcp_gives_a_default_route_where_the_network_leads_out(site: Site) -> None:
    guest = guest_named("web")
    site.plug(guest)
    for version, external in (("2", (guest.nics[0].network_id,)), ("3", ())):
        told = HostPorts(version=version, external=external)
        site.thread.submit(site.networks.know_ports, told).result(30)
        # Told again after the agent was restarted, it is still so.
        site.plug(guest)
        site.thread.submit(site.networks.know_ports, told).result(30)
        with site.wired(guest) as machine:
            lease = site.lease(machine)
        leads_out = f" 0.0.0.0/0 {GATEWAY}" if external else ""
        assert lease["staticroutes"] == f"169.254.169.254/32 {GATEWAY}{leads_out}"
        assert lease["router"] == (GATEWAY if external else "")


def test_services_that_an_earlier_release_started_are_started_anew(site: Site) -> None:
    guest = guest_named("web")
    site.plug(guest)
    pid = site.services.pid()
    site.plug(guest)
    assert site.services.pid() == pid, "they run as they should"
    command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
    earlier = [each for each in command if "router" not in each and "route" not in each]
    namespace = os.readlink(f"/proc/{pid}/ns/net")
    # Else the namespace is gone with its last process.
    with subprocess.Popen(["nsenter", f"--net=/proc/{pid}/ns/net", "sleep", "60"]) as holding:
        eventually(lambda: os.readlink(f"/proc/{holding.pid}/ns/net") == namespace)
        ends = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        # Its sockets are closed only then; its command line is gone before.
        assert select.select([ends], [], [], PATIENCE)[0]
        os.close(ends)
        subprocess.run(["nsenter", f"--net=/proc/{holding.pid}/ns/net", *earlier], check=True, timeout=30)
        holding.kill()
    assert site.services.pid() not in (0, pid)
    with site.wired(guest) as machine:
        assert site.lease(machine)["router"] == GATEWAY
    site.plug(guest)
    with site.wired(guest) as machine:
        assert site.lease(machine)["router"] == ""
