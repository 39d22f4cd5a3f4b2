"""Guests that answer: the tiny image on two hosts that a wire joins, each with libvirt and name spaces of its own."""

import asyncio
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import libvirt
import pytest
import uvicorn

from agent.drivers.driver import DriverError, Secrets
from agent.drivers.libvirt.driver import LibvirtDriver
from agent.host.metadata import listen, metadata
from domain.guest_spec import AttachedVolume, GuestSpec, ImageRef, Nic, Power
from infra.images.build import ToolMissing, build
from tests.agent import private_host
from tests.agent.samples import a_guest, a_nic, in_store

pytestmark = [pytest.mark.e2e, pytest.mark.real]

BOOT_TIMEOUT = 60.0
GRACE = 40.0
GATEWAYS = ("10.42.0.1", "10.42.0.2")
CLOSED_PORT = 8099


@dataclass
class Host:
    """A host and what an agent has on it."""

    real: private_host.PrivateHost
    state: Path
    uplink: str

    def driver(self, store: Path) -> LibvirtDriver:
        return LibvirtDriver(self.real.uri, self.state, str(store), uplink=self.uplink, executor=self.real.executor())


@dataclass
class Place:
    """Two hosts and an image."""

    hosts: tuple[Host, Host]
    store: Path
    image: ImageRef


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
            yield Place((hosts[0], hosts[1]), store, image)
        finally:
            for host in hosts:
                host.real.close()


@contextmanager
def wire() -> Iterator[private_host.Wire]:
    made = private_host.Wire()
    try:
        yield made
    finally:
        made.close()


@asynccontextmanager
async def opened(host: Host, store: Path) -> AsyncIterator[LibvirtDriver]:
    """A driver on the host; what it still has at the end is removed."""
    driver = host.driver(store)

    async def ignore(_: str) -> None:
        pass

    await driver.open(ignore)
    try:
        yield driver
    finally:
        for instance_id in await driver.guests():
            await driver.undefine(instance_id)
        await driver.close()


async def run(driver: LibvirtDriver, guest: GuestSpec, secrets: Secrets) -> None:
    await driver.prepare_image(guest.image)
    await driver.create_disk(guest)
    await driver.write_config_drive(guest, secrets)
    await driver.plug(guest)
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
    return a_nic(number, network, GATEWAYS[host], segment)


async def reaches(host: Host, address: str, size: int = 56) -> bool:
    """Whether a packet of this many bytes gets there and back, whole, from the host's own address."""
    ping = ["ping", "-c", "3", "-i", "0.3", "-W", "2", "-M", "do", "-s", str(size), address]
    done = await asyncio.to_thread(host.real.run, *ping, check=False)
    return " 0% packet loss" in done.stdout


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
        await asyncio.gather(run(here, first, Secrets()), run(there, second, Secrets()))
        for driver, guest in ((here, first), (there, second)):
            console = await said(driver, guest, "gostack-guest: ready")
            assert f"gostack-guest: hostname={guest.hostname} uuid={guest.id}" in console
            assert f"gostack-guest: address={guest.nics[0].ip}/24 dev=eth0 mac={guest.nics[0].mac}" in console
        assert await reaches(place.hosts[0], second.nics[0].ip)
        assert await reaches(place.hosts[1], first.nics[0].ip)
        assert await reaches(place.hosts[0], second.nics[0].ip, 1450 - 28)

        # As after a restart of the host: the bridge is new, and nothing of ours is in it.
        await asyncio.to_thread(restart_network, place.hosts[1], network)
        await there.stop(second.id, 0.3)
        await there.start(second.id)
        await said(there, second, "gostack-guest: boots=2")
        assert await reaches(place.hosts[0], second.nics[0].ip)

        await remove(here, first)
        await remove(there, second)
    for host in place.hosts:
        assert f"-{network[:8]}" not in await asyncio.to_thread(host.real.ip, "link")


def restart_network(host: Host, network: str) -> None:
    connection = libvirt.open(host.real.uri)
    connection.networkLookupByUUIDString(network).destroy()
    connection.close()


async def test_a_guest_hears_its_power_button_and_its_console_outlives_the_daemon(place: Place) -> None:
    host = place.hosts[0]
    guest = a_guest(place.image, (nic(place, 0, 20, str(uuid.uuid4()), 0),), disk=1 << 30)
    secrets = Secrets(
        password="geheim",
        user_data=f"#!/bin/sh\nnc -w 2 {GATEWAYS[0]} {CLOSED_PORT} </dev/null && echo open || echo closed\n",
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
    guest = a_guest(place.image, (nic(place, 0, 60, str(uuid.uuid4()), 0),), disk=1 << 30)
    async with opened(host, place.store) as driver:
        await run(driver, guest, Secrets(user_data=TICKS))
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
        assert await reaches(host, guest.nics[0].ip)
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
    guest = a_guest(place.image, (nic(place, 1, 61, str(uuid.uuid4()), 0),), disk=1 << 30)
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
    guest = a_guest(place.image, (nic(place, 0, 62, str(uuid.uuid4()), 0),), disk=1 << 30)
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
    guest = a_guest(place.image, (nic(place, 0, 64, str(uuid.uuid4()), 0),), disk=1 << 30)
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


async def test_a_rebuilt_guest_has_a_fresh_disk_and_is_who_it_was(place: Place) -> None:
    host = place.hosts[1]
    guest = a_guest(place.image, (nic(place, 1, 63, str(uuid.uuid4()), 0),), hostname="kept", disk=1 << 30)
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
    secrets = Secrets(password="geheim", user_data="#!/bin/sh\necho user data of $(hostname)\n")
    guest = a_guest(place.image, (nic(place, 0, 64, str(uuid.uuid4()), 0),), hostname="first", disk=1 << 30)
    guest = guest.but(config_drive=config_drive)
    async with opened(host, place.store) as driver, telling(host):
        await run(driver, guest, secrets)
        await said(driver, guest, "gostack-guest: ready")
        await driver.write_config_drive(guest.but(hostname="second"), None)
        await driver.stop(guest.id, GRACE)
        before = len(await driver.console_log(guest.id, 1 << 16))
        await driver.start(guest.id)
        console = await said(driver, guest, "gostack-guest: ready", since=before)
        assert f"hostname=second uuid={guest.id}" in console
        assert "user data of second" in console, "what it was told once it is told again"
        await remove(driver, guest)


def serve_something(host: Host) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "http.server", str(CLOSED_PORT), "--directory", "/proc/self/fdinfo"]
    return subprocess.Popen(["ip", "netns", "exec", host.real.name, *command], stderr=subprocess.DEVNULL)


class Quiet(uvicorn.Server):
    """A server that leaves the test's signals alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def telling(host: Host) -> AsyncIterator[None]:
    """The host's metadata service."""
    with host.real.executor() as inside:
        opened_socket = await asyncio.get_running_loop().run_in_executor(inside, listen)
    assert opened_socket is not None
    server = Quiet(uvicorn.Config(metadata(host.state), log_config=None, access_log=False, lifespan="off"))
    serving = asyncio.create_task(server.serve([opened_socket]))
    try:
        yield
    finally:
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(serving, 10)


async def test_the_metadata_service_stands_in_for_a_config_drive(place: Place) -> None:
    host = place.hosts[1]
    guest = a_guest(
        place.image, (nic(place, 1, 30, str(uuid.uuid4()), 0),), hostname="told", config_drive=False, disk=1 << 30
    )
    async with opened(host, place.store) as driver, telling(host):
        await run(driver, guest, Secrets(user_data="#!/bin/sh\necho user data of $(hostname)\n"))
        console = await said(driver, guest, "gostack-guest: ready")
        assert f"gostack-guest: hostname=told uuid={guest.id}" in console
        assert "user data of told" in console
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


async def test_networks_of_one_host_do_not_overlap(place: Place) -> None:
    first = a_guest(place.image, (nic(place, 0, 40, str(uuid.uuid4()), 0),))
    second = a_guest(place.image, (nic(place, 0, 41, str(uuid.uuid4()), 0),))
    async with opened(place.hosts[0], place.store) as driver:
        await driver.plug(first)
        with pytest.raises(DriverError) as caught:
            await driver.plug(second)
        assert caught.value.code == "network-overlaps"
        await driver.unplug(second)
        await driver.unplug(first)
        await driver.plug(second)
        await driver.unplug(second)


async def test_two_guests_of_one_name_share_a_network(place: Place) -> None:
    network = str(uuid.uuid4())
    first, second = (a_guest(place.image, (nic(place, 0, number, network, 0),)) for number in (50, 51))
    async with opened(place.hosts[0], place.store) as driver:
        await driver.plug(first)
        await driver.plug(second)
        await driver.plug(second)
        await driver.unplug(first)
        await driver.plug(first)
        for guest in (first, second):
            await driver.unplug(guest)
