"""Guests that answer: the tiny image on two hosts that a wire joins, each with libvirt and name spaces of its own."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.drivers.driver import DriverError, Secrets
from agent.drivers.libvirt.driver import LibvirtDriver
from agent.drivers.network.services import NetworkServices
from agent.jobs import HANDLERS, Context
from agent.metadata.link import MetadataProcess
from domain.guest_spec import AttachedVolume, GuestSpec, ImageRef, Nic, Power
from domain.jobs.guest import DefineGuest, StartGuest, TellGuest, UndefineGuest
from domain.network.port_settings import HostPorts, PortSettings
from domain.security_group import RuleDirection, SecurityRule
from infra.images.build import build
from infra.images.disk import ToolMissing
from infra.process.settings import Http
from tests.agent import private_host
from tests.agent.samples import a_guest, a_nic, in_store
from tests.agent.test_metadata import running

pytestmark = [pytest.mark.e2e, pytest.mark.real]

BOOT_TIMEOUT = 60.0
GRACE = 40.0
GATEWAY = "10.42.0.1"
UPLINKS = ("10.77.0.1", "10.77.0.2")
CLOSED_PORT = 8099


@dataclass
class Host:
    """A host and what an agent has on it."""

    real: private_host.PrivateHost
    state: Path
    uplink: str
    encrypt: bool = False

    def driver(self, store: Path) -> LibvirtDriver:
        return LibvirtDriver(
            self.real.uri,
            self.state,
            str(store),
            uplink=self.uplink,
            executor=self.real.executor(),
            encrypt=self.encrypt,
        )


@dataclass
class Place:
    """Two hosts and an image."""

    hosts: tuple[Host, Host]
    store: Path
    image: ImageRef
    wire: private_host.Wire

    @contextmanager
    def stranger(self, address: str) -> Iterator[private_host.Machine]:
        """A machine on the wire between the hosts that is none."""
        machine = private_host.Machine()
        try:
            self.wire.plug(machine, address)
            yield machine
        finally:
            machine.close()


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if lacking := private_host.missing():
        pytest.skip(f"a host of its own needs {lacking}")
    assert request.config.cache is not None
    built = request.config.cache.mkdir("guest-image") / "guest.qcow2"
    try:
        build(built)
    except ToolMissing as problem:
        pytest.skip(str(problem))
    with private_host.directory() as directory, wire() as joined:
        store = directory / "store"
        store.mkdir()
        image = in_store(store, built, "tiny")
        hosts = []
        try:
            for number in (1, 2):
                real = private_host.PrivateHost(directory / f"h{number}")
                hosts.append(Host(real, directory / f"h{number}" / "state", joined.plug(real, f"10.77.0.{number}/24")))
            yield Place((hosts[0], hosts[1]), store, image, joined)
        finally:
            for host in hosts:
                host.real.close()


@pytest.fixture(autouse=True)
def umask(place: Place) -> Iterator[None]:
    """The agent's own: a hypervisor that runs guests as another user must do with what it makes."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@contextmanager
def wire() -> Iterator[private_host.Wire]:
    made = private_host.Wire()
    try:
        yield made
    finally:
        made.close()


async def ignore(_: str) -> None:
    """Nothing follows from what guests do by themselves."""


@asynccontextmanager
async def opened(host: Host, store: Path) -> AsyncIterator[LibvirtDriver]:
    """A driver on the host; what it still has at the end is removed."""
    driver = host.driver(store)
    await driver.open(ignore)
    await driver.know_hosts(dict.fromkeys(UPLINKS, ""))
    try:
        yield driver
    finally:
        for instance_id in await driver.guests():
            await driver.undefine(instance_id)
        await driver.close()


EVERYTHING = HostPorts(
    version="",
    groups={
        "everything": (
            SecurityRule(id="out", direction=RuleDirection.EGRESS, cidr="0.0.0.0/0"),
            SecurityRule(id="in", direction=RuleDirection.INGRESS, cidr="0.0.0.0/0"),
        )
    },
)
"""A security group that permits everything, for guests to which nothing else is said."""


async def permit(driver: LibvirtDriver, guest: GuestSpec) -> None:
    """Have the guest's ports on this host in a group that permits everything."""
    version, _ = await driver.ports()
    before = HostPorts.model_validate_json(version) if version else EVERYTHING
    ports = tuple(
        PortSettings(network_id=nic.network_id, ip=nic.ip, instance_id=guest.id, security_groups=("everything",))
        for nic in guest.nics
    )
    settings = before.but(ports=(*before.ports, *ports))
    # As the version, so that whoever comes next begins with what is known.
    await driver.know_ports(settings.but(version=settings.model_dump_json()))


async def run(driver: LibvirtDriver, guest: GuestSpec, secrets: Secrets) -> None:
    await driver.prepare_image(guest.image)
    await driver.create_disk(guest)
    await driver.write_config_drive(guest, secrets)
    await driver.plug(guest)
    await permit(driver, guest)
    await driver.define(guest)
    await driver.start(guest.id)


async def remove(driver: LibvirtDriver, guest: GuestSpec) -> None:
    await driver.undefine(guest.id)
    await driver.unplug(guest)
    await driver.delete_disk(guest.id)


async def said(driver: LibvirtDriver, guest: GuestSpec, text: str, since: int = 0) -> str:
    """The console from this byte on, once the text stands on it."""
    until = time.monotonic() + BOOT_TIMEOUT
    while True:
        console = (await driver.console_log(guest.id, 1 << 16))[since:].decode(errors="replace")
        if text in console:
            return console
        assert time.monotonic() < until, f"no {text!r} in\n{console}"
        await asyncio.sleep(0.2)


def nic(place: Place, host: int, number: int, network: str, segment: int) -> Nic:
    return a_nic(number, network, GATEWAY, segment)


def reaching(address: str, size: int = 56) -> Secrets:
    """Have a guest say on its console, every second, whether a packet of this many bytes gets there and back."""
    ping = f"ping -c 1 -W 1 -s {size} {address} >/dev/null 2>&1 && echo reached {address} || echo missed {address}"
    loop = f"while :; do {ping}; sleep 1; done >/dev/console </dev/null &"
    return Secrets(user_data=f"#!/bin/sh\n{loop}\n".encode())


async def answers(host: Host, segment: int, address: str) -> bool:
    """Whether a guest of the host answers its network's gateway."""
    pid = NetworkServices(host.state / "networks" / str(segment), segment).pid()
    ping = ["nsenter", f"--net=/proc/{pid}/ns/net", "ping", "-c", "3", "-i", "0.3", "-W", "2", address]
    done = await asyncio.to_thread(host.real.run, *ping, check=False)
    return " 0% packet loss" in done.stdout


async def reached(driver: LibvirtDriver, guest: GuestSpec, address: str) -> None:
    """The guest says from now on that it reaches the address."""
    before = len(await driver.console_log(guest.id, 1 << 16))
    await said(driver, guest, f"reached {address}", before)


async def test_guests_of_two_hosts_are_on_one_network(place: Place) -> None:
    network = str(uuid.uuid4())
    first = a_guest(place.image, (nic(place, 0, 10, network, 70001),), hostname="one", disk=1 << 30)
    second = a_guest(
        place.image,
        (nic(place, 1, 11, network, 70001),),
        hostname="two",
        disk=1 << 30,
        core=2,
        mode="strict",
        multi_queue=2,
    )
    async with opened(place.hosts[0], place.store) as here, opened(place.hosts[1], place.store) as there:
        await asyncio.gather(
            run(here, first, reaching(second.nics[0].ip, 1450 - 28)), run(there, second, reaching(first.nics[0].ip))
        )
        for driver, guest in ((here, first), (there, second)):
            console = await said(driver, guest, "gostack-guest: ready")
            assert f"gostack-guest: hostname={guest.hostname} uuid={guest.id}" in console
            assert f"gostack-guest: address={guest.nics[0].ip}/24 dev=eth0 mac={guest.nics[0].mac}" in console
        disk = place.hosts[0].state / "instances" / first.id / "disk.qcow2"
        assert not disk.stat().st_mode & 0o077, "others may read what the guest wrote"
        await reached(here, first, second.nics[0].ip)
        await reached(there, second, first.nics[0].ip)
        for host in place.hosts:
            routes = await asyncio.to_thread(host.real.ip, "route")
            assert "10.42." not in routes, "the host's own traffic would go into the network"
            addresses = await asyncio.to_thread(host.real.ip, "-brief", "address", "show", "dev", "gsb-70001")
            assert addresses.split()[2:] == [], "the bridge has an address of the host"

        # As after a restart of the host: nothing of the network is there.
        await there.stop(second.id, 0.3)
        await asyncio.to_thread(tear_down, place.hosts[1], 70001)
        await there.start(second.id)
        await said(there, second, "gostack-guest: boots=2")
        await reached(here, first, second.nics[0].ip)

        await remove(here, first)
        await remove(there, second)
    for host in place.hosts:
        assert "70001" not in await asyncio.to_thread(host.real.ip, "link")
        assert "10.42." not in await asyncio.to_thread(host.real.nft, "list", "ruleset")


def tear_down(host: Host, segment: int) -> None:
    """Take away all that a host has of a network, but not what it keeps of it."""
    services = NetworkServices(host.state / "networks" / str(segment), segment)
    os.kill(services.pid(), signal.SIGKILL)
    host.real.ip("link", "del", f"gsx-{segment}")
    host.real.ip("link", "del", f"gsb-{segment}")
    host.real.nft("flush", "ruleset")


async def test_a_guest_hears_its_power_button_and_its_console_outlives_the_daemon(place: Place) -> None:
    host = place.hosts[0]
    guest = a_guest(place.image, (nic(place, 0, 20, str(uuid.uuid4()), 120),), disk=1 << 30)
    secrets = Secrets(
        password="geheim",
        user_data=f"#!/bin/sh\nnc -w 2 {GATEWAY} {CLOSED_PORT} </dev/null && echo open || echo closed\n".encode(),
    )
    listener = await asyncio.to_thread(serve_something, host)
    async with opened(host, place.store) as driver:
        await run(driver, guest, secrets)
        console = await said(driver, guest, "gostack-guest: ready")
        assert "\nclosed" in console, "a guest reaches what listens on its host"

        await asyncio.to_thread(host.real.end_daemon)
        with pytest.raises(DriverError) as caught:
            await driver.power(guest.id)
        assert caught.value.code == "hypervisor-unreachable"
        await asyncio.to_thread(host.real.start_daemon)
        assert await driver.guests() == {guest.id: Power.RUNNING}

        await driver.reboot(guest.id, GRACE)
        console = await said(driver, guest, "gostack-guest: boots=2")
        assert console.count("gostack-guest: powering off") == 1, "it was asked, and not reset"
        await said(driver, guest, "boots=2")
        before = time.monotonic()
        await driver.stop(guest.id, GRACE)
        assert time.monotonic() - before < GRACE
        assert await driver.power(guest.id) is Power.SHUTDOWN
        assert (await said(driver, guest, "ready")).count("powering off") == 2
        await remove(driver, guest)
    listener.kill()
    listener.wait(10)


TICKS = """#!/bin/sh
while :; do echo; echo uptime=$(cut -d. -f1 /proc/uptime); sleep 1; done >/dev/console </dev/null &
"""
"""Has a guest say every second for how long it is up."""


async def uptime(driver: LibvirtDriver, guest: GuestSpec) -> int:
    """Seconds that the guest says it is up."""
    console = await said(driver, guest, "uptime=")
    return int(re.findall(r"uptime=(\d+)\r?\n", console)[-1])


async def test_a_guest_that_was_paused_or_suspended_goes_on_where_it_was(place: Place) -> None:
    host = place.hosts[0]
    guest = a_guest(place.image, (nic(place, 0, 60, str(uuid.uuid4()), 160),), disk=1 << 30)
    async with opened(host, place.store) as driver:
        await run(driver, guest, Secrets(user_data=TICKS.encode()))
        await said(driver, guest, "gostack-guest: ready")

        await driver.pause(guest.id)
        await asyncio.sleep(1)
        stood = await uptime(driver, guest)
        await asyncio.sleep(4)
        assert await uptime(driver, guest) == stood
        await driver.unpause(guest.id)
        await later(driver, guest, stood)

        await driver.suspend(guest.id)
        assert not await asyncio.to_thread(host.real.runs, guest.id)
        stood = await uptime(driver, guest)
        await asyncio.sleep(4)
        await driver.resume(guest.id)
        went_on = await later(driver, guest, stood)
        assert went_on < stood + 4, "what it was suspended for does not count"
        assert "boots=2" not in await said(driver, guest, "boots=1")
        assert await answers(host, guest.nics[0].segment, guest.nics[0].ip)
        await remove(driver, guest)


async def later(driver: LibvirtDriver, guest: GuestSpec, than: int) -> int:
    """Seconds that the guest says it is up, once they are more."""
    until = time.monotonic() + BOOT_TIMEOUT
    while True:
        now = await uptime(driver, guest)
        if now > than:
            return now
        assert time.monotonic() < until, f"it stands at {now} s"
        await asyncio.sleep(0.2)


async def test_saved_memory_that_is_damaged_is_kept_until_the_guest_starts_anew(place: Place) -> None:
    host = place.hosts[1]
    guest = a_guest(place.image, (nic(place, 1, 61, str(uuid.uuid4()), 161),), disk=1 << 30)
    async with opened(host, place.store) as driver:
        await run(driver, guest, Secrets())
        await said(driver, guest, "gostack-guest: ready")
        await driver.suspend(guest.id)
        await asyncio.to_thread(host.real.damage_saved_memory, guest.id)
        for _ in range(2):
            with pytest.raises(DriverError) as caught:
                await driver.resume(guest.id)
            assert caught.value.code == "saved-memory-unusable"
            assert await driver.power(guest.id) is Power.SUSPENDED
        await driver.undefine(guest.id)
        await driver.define(guest)
        await driver.start(guest.id)
        await said(driver, guest, "gostack-guest: boots=2")
        await remove(driver, guest)


async def test_a_rescued_guest_boots_from_another_disk_and_then_from_its_own_again(place: Place) -> None:
    host = place.hosts[0]
    guest = a_guest(place.image, (nic(place, 0, 62, str(uuid.uuid4()), 162),), disk=1 << 30)
    async with opened(host, place.store) as driver:
        await run(driver, guest, Secrets())
        await said(driver, guest, "gostack-guest: ready")
        await driver.stop(guest.id, GRACE)

        await driver.create_rescue_disk(guest.id, place.image)
        await driver.define(guest.but(rescue_image=place.image))
        before = len(await driver.console_log(guest.id, 1 << 16))
        await driver.start(guest.id)
        console = await said(driver, guest, "gostack-guest: ready", since=before)
        assert "boots=1" in console, "what counts the boots of its own disk is on its own disk"
        assert f"disk=vdb bytes={1 << 30}" in console
        assert f"uuid={guest.id}" in console
        assert f"address={guest.nics[0].ip}/24" in console
        await driver.stop(guest.id, GRACE)

        await driver.define(guest)
        await driver.delete_rescue_disk(guest.id)
        before = len(await driver.console_log(guest.id, 1 << 16))
        await driver.start(guest.id)
        console = await said(driver, guest, "gostack-guest: ready", since=before)
        assert "boots=2" in console
        assert "disk=vdb" not in console
        await remove(driver, guest)


async def test_a_volume_comes_to_a_guest_that_runs_keeps_its_data_and_is_gone_when_it_is_detached(place: Place) -> None:
    host = place.hosts[0]
    guest = a_guest(place.image, (nic(place, 0, 64, str(uuid.uuid4()), 164),), disk=1 << 30)
    volume = AttachedVolume(id=str(uuid.uuid4()), size=64 << 20)
    shown = f"bytes={volume.size} serial={volume.serial}"
    async with opened(host, place.store) as driver:
        await driver.create_volume(volume.id, volume.size)
        await run(driver, guest, Secrets())
        await said(driver, guest, "gostack-guest: ready")
        for disk in ("vdb", "vdb"):
            before = len(await driver.console_log(guest.id, 1 << 16))
            await driver.attach_volume(guest.id, volume)
            await said(driver, guest, f"gostack-guest: disk={disk} {shown}", since=before)
            before = len(await driver.console_log(guest.id, 1 << 16))
            await driver.detach_volume(guest.id, volume.id)
            assert host.real.serials(guest.id) == []
            await said(driver, guest, f"gostack-guest: disk={disk} removed", since=before)
        await driver.attach_volume(guest.id, volume)

        await driver.undefine(guest.id)
        await driver.define(guest.but(volumes=(volume,)))
        before = len(await driver.console_log(guest.id, 1 << 16))
        await driver.start(guest.id)
        console = await said(driver, guest, "gostack-guest: ready", since=before)
        assert f"disk=vdb {shown}" in console
        await remove(driver, guest)
        await driver.delete_volume(volume.id)


async def test_an_interface_comes_to_a_guest_that_runs_and_is_gone_when_it_is_detached(place: Place) -> None:
    host = place.hosts[0]
    first, second = nic(place, 0, 65, str(uuid.uuid4()), 165), a_nic(66, str(uuid.uuid4()), "10.43.0.1", 70066)
    guest = a_guest(place.image, (first,), disk=1 << 30)
    more = guest.but(nics=(first, second))
    seen = f"gostack-guest: address={second.ip}/24 dev=eth1 mac={second.mac}"
    # One more, whose user chose its MAC address.
    third = a_nic(67, str(uuid.uuid4()), "10.44.0.1", 70067).but(mac="06:54:00:ab:cd:67")
    all_of_them = guest.but(nics=(first, second, third))
    async with opened(host, place.store) as driver:
        await run(driver, guest, Secrets())
        await said(driver, guest, "gostack-guest: ready")
        for _ in range(2):
            before = len(await driver.console_log(guest.id, 1 << 16))
            await driver.attach_interface(more, second)
            await permit(driver, more)
            await said(driver, guest, seen, since=before)
            assert await answers(host, second.segment, second.ip)
            before = len(await driver.console_log(guest.id, 1 << 16))
            await driver.detach_interface(more, second)
            assert host.real.interfaces(guest.id) == 1
            await said(driver, guest, "gostack-guest: interface=eth1 removed", since=before)
            assert not await answers(host, second.segment, second.ip)
        await driver.attach_interface(more, second)
        also_seen = f"gostack-guest: address={third.ip}/24 dev=eth2 mac={third.mac}"
        before = len(await driver.console_log(guest.id, 1 << 16))
        await driver.attach_interface(all_of_them, third)
        await permit(driver, all_of_them)
        await said(driver, guest, also_seen, since=before)
        assert await answers(host, third.segment, third.ip)
        told = await driver.networks()
        assert told is not None
        assert told.differences == ()
        of_guest = {(each.ip, each.mac) for network in told.networks for each in network.addresses}
        assert {(each.ip, each.mac) for each in all_of_them.nics} <= of_guest
        before = len(await driver.console_log(guest.id, 1 << 16))
        await driver.stop(guest.id, 0.3)
        await driver.start(guest.id)
        console = await said(driver, guest, "gostack-guest: ready", since=before)
        assert seen in console
        assert also_seen in console
        await remove(driver, all_of_them)


async def test_a_rebuilt_guest_has_a_fresh_disk_and_is_who_it_was(place: Place) -> None:
    host = place.hosts[1]
    guest = a_guest(place.image, (nic(place, 1, 63, str(uuid.uuid4()), 163),), hostname="kept", disk=1 << 30)
    async with opened(host, place.store) as driver:
        await run(driver, guest, Secrets())
        await said(driver, guest, "gostack-guest: ready")
        await driver.stop(guest.id, GRACE)

        await driver.replace_disk(guest)
        await driver.define(guest)
        before = len(await driver.console_log(guest.id, 1 << 16))
        await driver.start(guest.id)
        console = await said(driver, guest, "gostack-guest: ready", since=before)
        assert "boots=1" in console
        assert f"hostname=kept uuid={guest.id}" in console
        assert f"address={guest.nics[0].ip}/24" in console

        await driver.stop(guest.id, GRACE)
        await driver.restore_disk(guest.id)
        before = len(await driver.console_log(guest.id, 1 << 16))
        await driver.start(guest.id)
        assert "boots=2" in await said(driver, guest, "gostack-guest: ready", since=before)
        await remove(driver, guest)


@pytest.mark.parametrize("config_drive", [True, False])
async def test_a_guest_that_is_started_again_has_the_name_that_it_was_told_last(
    place: Place, config_drive: bool
) -> None:
    host = place.hosts[0]
    secrets = Secrets(password="geheim", user_data=b"#!/bin/sh\necho user data of $(hostname)\n")
    guest = a_guest(place.image, (nic(place, 0, 64, str(uuid.uuid4()), 164),), hostname="first", disk=1 << 30)
    guest = guest.but(config_drive=config_drive)
    async with opened(host, place.store) as driver, telling(driver):
        await run(driver, guest, secrets)
        await said(driver, guest, "gostack-guest: ready")
        told = await driver.told(guest.id)
        assert told == secrets
        await driver.write_config_drive(guest.but(hostname="second"), told)
        await driver.stop(guest.id, GRACE)
        before = len(await driver.console_log(guest.id, 1 << 16))
        await driver.start(guest.id)
        console = await said(driver, guest, "gostack-guest: ready", since=before)
        assert f"hostname=second uuid={guest.id}" in console
        assert "user data of second" in console, "what it was told once it is told again"

        # A process that comes after, whose API has forgotten the secrets: what was told is kept on the host.
        later = Context(driver=host.driver(place.store), secrets=forgotten)
        await later.driver.open(ignore)
        renamed = guest.but(hostname="third", metadata={"role": "db"})
        before = len(await driver.console_log(guest.id, 1 << 16))
        for job in (UndefineGuest(), DefineGuest(), StartGuest()):
            await HANDLERS[type(job)](job, renamed, later)
        console = await said(driver, guest, "gostack-guest: ready", since=before)
        assert f"hostname=third uuid={guest.id}" in console
        assert "user data of third" in console
        assert await later.driver.told(guest.id) == secrets
        await later.driver.close()
        await remove(driver, guest)
        assert await driver.told(guest.id) is None


async def forgotten(guest: GuestSpec) -> Secrets:
    raise AssertionError("what a guest was told once is not asked for again")


def serve_something(host: Host) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "http.server", str(CLOSED_PORT), "--directory", "/proc/self/fdinfo"]
    return subprocess.Popen(["ip", "netns", "exec", host.real.name, *command], stderr=subprocess.DEVNULL)


@asynccontextmanager
async def telling(driver: LibvirtDriver) -> AsyncIterator[None]:
    """The host's metadata service."""
    process = MetadataProcess(driver.metadata_document, "nobody", "optional", Http())
    driver.give_metadata_sockets(process)
    async with running(process):
        yield


async def test_the_metadata_service_stands_in_for_a_config_drive(place: Place) -> None:
    host = place.hosts[1]
    guest = a_guest(
        place.image, (nic(place, 1, 30, str(uuid.uuid4()), 130),), hostname="told", config_drive=False, disk=1 << 30
    )
    async with opened(host, place.store) as driver, telling(driver):
        await run(driver, guest, Secrets(user_data=b"#!/bin/sh\necho user data of $(hostname)\n"))
        console = await said(driver, guest, "gostack-guest: ready")
        assert f"gostack-guest: hostname=told uuid={guest.id}" in console
        assert "user data of told" in console
        await remove(driver, guest)


ASKING = """#!/bin/sh
while :; do
    found=$(wget -q -O - http://169.254.169.254/openstack/latest/meta_data.json | tr -d '\n{}' | tr -s ' ')
    echo "told: $found"
    sleep 1
done >/dev/console </dev/null &
"""
"""Has a guest say every second what the metadata service tells it."""


async def test_a_change_of_the_record_is_told_by_the_metadata_service_at_once(place: Place) -> None:
    host = place.hosts[1]
    guest = a_guest(
        place.image,
        (nic(place, 1, 31, str(uuid.uuid4()), 131),),
        metadata={"role": "web"},
        config_drive=False,
        disk=1 << 30,
    )
    async with opened(host, place.store) as driver, telling(driver):
        await run(driver, guest, Secrets(user_data=ASKING.encode()))
        console = await said(driver, guest, '"role": "web"')
        assert '"name": "web 1"' in console
        changed = guest.but(name="shop", metadata={"role": "db"})
        await HANDLERS[TellGuest](TellGuest(), changed, Context(driver=driver, secrets=forgotten))
        before = len(await driver.console_log(guest.id, 1 << 16))
        console = await said(driver, guest, '"role": "db"', before)
        assert '"name": "shop"' in console
        assert "boots=2" not in await said(driver, guest, "boots=1"), "it runs on"
        await remove(driver, guest)


async def test_a_display_asks_for_a_password(place: Place) -> None:
    host = place.hosts[0]
    guest = a_guest(place.image, ())
    async with opened(host, place.store) as driver:
        await run(driver, guest.but(disk=0), Secrets())
        shown = await driver.vnc(guest.id, 60)
        with host.real.executor() as inside:
            kinds = await asyncio.get_running_loop().run_in_executor(inside, security_kinds, shown.port)
        assert kinds == b"\x02", "VNC authentication and nothing else"
        await remove(driver, guest)


def security_kinds(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 5) as display:
        version = display.recv(12)
        display.sendall(version)
        return display.recv(display.recv(1)[0])


async def test_networks_of_one_range_are_side_by_side_on_a_host(place: Place) -> None:
    """Two guests of two networks have one address, and each is told who it is, and reaches its own network only."""
    host = place.hosts[0]
    segments = (40, 41)
    guests = [
        a_guest(
            place.image,
            (nic(place, 0, 40, str(uuid.uuid4()), segment),),
            hostname=f"of-{segment}",
            config_drive=False,
            disk=1 << 30,
        )
        for segment in segments
    ]
    async with opened(host, place.store) as driver, telling(driver):
        for guest in guests:
            await run(driver, guest, reaching("10.42.0.41"))
        for guest in guests:
            console = await said(driver, guest, "missed 10.42.0.41")
            assert f"gostack-guest: hostname={guest.hostname} uuid={guest.id}" in console
            assert f"gostack-guest: address=10.42.0.40/24 dev=eth0 mac={guest.nics[0].mac}" in console
        second = nic(place, 0, 41, guests[1].nics[0].network_id, 41)
        third = a_guest(place.image, (second,), config_drive=False, disk=1 << 30)
        await run(driver, third, Secrets())
        await reached(driver, guests[1], "10.42.0.41")
        before = len(await driver.console_log(guests[0].id, 1 << 16))
        assert "reached" not in await said(driver, guests[0], "missed 10.42.0.41", before)
        for guest in (*guests, third):
            await remove(driver, guest)


async def test_two_guests_of_one_name_share_a_network(place: Place) -> None:
    network = str(uuid.uuid4())
    first, second = (a_guest(place.image, (nic(place, 0, number, network, 150),)) for number in (50, 51))
    async with opened(place.hosts[0], place.store) as driver:
        await driver.plug(first)
        await driver.plug(second)
        await driver.plug(second)
        await driver.unplug(first)
        await driver.plug(first)
        for guest in (first, second):
            await driver.unplug(guest)


async def test_a_guest_boots_from_the_bus_and_with_the_interface_that_its_image_needs(place: Place) -> None:
    """From virtio-scsi it is ready; of the others, for which it has no drivers, the hypervisor has the devices."""
    host = place.hosts[0]
    async with opened(host, place.store) as driver:
        for number, (bus, model) in enumerate((("scsi", "e1000e"), ("sata", "e1000"), ("virtio", "rtl8139")), 30):
            needs = {"hw_disk_bus": bus, "hw_vif_model": model}
            image, wired = place.image.but(properties=needs), nic(place, 0, number, str(uuid.uuid4()), number)
            guest = a_guest(image, (wired,), disk=1 << 30)
            await run(driver, guest, Secrets())
            if bus != "sata":
                await said(driver, guest, "ready")
            assert await driver.power(guest.id) is Power.RUNNING
            if model == "e1000":
                more = nic(place, 0, number + 1, guest.nics[0].network_id, number)
                await driver.attach_interface(guest, more)
            await remove(driver, guest)
