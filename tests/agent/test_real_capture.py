"""Images of real guests: whatever the guest does meanwhile, what is copied boots; what is cut off leaves nothing."""

import asyncio
import hashlib
import json
import time
import uuid
from contextlib import aclosing

import libvirt
import libvirt_qemu
import pytest

from agent.drivers.driver import DiskContent, Secrets
from agent.drivers.libvirt.driver import LibvirtDriver
from domain.guest_spec import GuestSpec, ImageRef, Power
from tests.agent.samples import a_guest
from tests.agent.test_real_guests import Host, Place, nic, opened, place, remove, run, said

pytestmark = [pytest.mark.e2e, pytest.mark.real]

__all__ = ["place"]
"""A fixture."""


SLOW = 1 << 16
"""Bytes in a second."""
NOISE = "write -q -P 165 200M 200M"
"""Behind the guest's partition, so that a copy takes long enough to be met while it is made."""


async def stored(place: Place, content: DiskContent) -> ImageRef:
    """The copy as an image of the store."""
    digest = hashlib.sha256()
    part = place.store / uuid.uuid4().hex
    async with aclosing(content.chunks) as chunks:
        with part.open("wb") as file:
            async for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
    part.replace(place.store / digest.hexdigest())
    return place.image.but(id=str(uuid.uuid4()), name="copy", checksum=digest.hexdigest(), size=content.size)


async def boots(place: Place, host: int, driver: LibvirtDriver, image: ImageRef, number: int) -> str:
    """The console of a guest that was made of this image, and is gone again."""
    guest = a_guest(image, (nic(place, host, number, str(uuid.uuid4()), 0),), hostname="born", disk=1 << 30)
    await run(driver, guest, Secrets())
    console = await said(driver, guest, "gostack-guest: ready")
    await remove(driver, guest)
    return console


def slow_down(host: Host, instance_id: str) -> None:
    """The backup that QEMU makes now takes long."""
    connection = libvirt.open(host.real.uri)
    try:
        domain = connection.lookupByUUIDString(instance_id)
        jobs = libvirt_qemu.qemuMonitorCommand(domain, '{"execute": "query-block-jobs"}', 0)
        for job in json.loads(jobs)["return"]:
            speed = json.dumps(
                {"execute": "block-job-set-speed", "arguments": {"device": job["device"], "speed": 65536}}
            )
            libvirt_qemu.qemuMonitorCommand(domain, speed, 0)
    finally:
        connection.close()


@pytest.mark.parametrize("state", [Power.RUNNING, Power.PAUSED, Power.SHUTDOWN])
async def test_an_image_of_a_guest_boots(place: Place, state: Power) -> None:
    guest = a_guest(place.image, (nic(place, 0, 60, str(uuid.uuid4()), 0),), disk=1 << 30)
    async with opened(place.hosts[0], place.store) as driver:
        await run(driver, guest, Secrets())
        await said(driver, guest, "gostack-guest: ready")
        if state is Power.PAUSED:
            await driver.pause(guest.id)
        elif state is Power.SHUTDOWN:
            await driver.stop(guest.id, 40.0)
        told: list[tuple[int, int]] = []
        async with driver.capture_disk(guest.id, lambda done, of: told.append((done, of))) as content:
            image = await stored(place, content)
        assert await driver.power(guest.id) is state
        await remove(driver, guest)
        console = await boots(place, 0, driver, image, 61)
    assert "gostack-guest: hostname=born" in console
    assert "gostack-guest: boots=2" in console, "it stands on the disk of a guest that has booted once"


async def noisy(driver: LibvirtDriver, host: Host, guest: GuestSpec) -> None:
    """Have the guest ready, with a disk that is not copied in a moment."""
    await driver.prepare_image(guest.image)
    await driver.create_disk(guest)
    disk = host.state / "instances" / guest.id / "disk.qcow2"
    await asyncio.to_thread(host.real.run, "qemu-io", "-f", "qcow2", "-c", NOISE, str(disk))
    await run(driver, guest, Secrets())
    await said(driver, guest, "gostack-guest: ready")


async def begun(driver: LibvirtDriver, host: Host, guest: GuestSpec, place: Place) -> "asyncio.Task[ImageRef]":
    """A copy of a running guest's disk that is being made by QEMU, slowly."""
    begins = asyncio.Event()

    async def work() -> ImageRef:
        async with driver.capture_disk(guest.id, lambda done, of: begins.set()) as content:
            return await stored(place, content)

    task = asyncio.create_task(work())
    await asyncio.wait_for(begins.wait(), 20)
    await asyncio.to_thread(slow_down, host, guest.id)
    assert not task.done()
    return task


async def test_a_guest_that_goes_off_during_the_copy_is_copied_all_the_same(place: Place) -> None:
    host = place.hosts[0]
    guest = a_guest(place.image, (nic(place, 0, 62, str(uuid.uuid4()), 0),), disk=1 << 30)
    async with opened(host, place.store) as driver:
        await noisy(driver, host, guest)
        copying = await begun(driver, host, guest, place)
        await driver.stop(guest.id, 40.0)
        image = await asyncio.wait_for(copying, 60)
        assert await driver.power(guest.id) is Power.SHUTDOWN
        await remove(driver, guest)
        assert "boots=2" in await boots(place, 0, driver, image, 63)


async def test_a_copy_that_is_cut_off_is_gone_within_seconds(place: Place) -> None:
    host = place.hosts[0]
    guest = a_guest(place.image, (nic(place, 0, 64, str(uuid.uuid4()), 0),), disk=1 << 30)
    async with opened(host, place.store) as driver:
        await noisy(driver, host, guest)
        copying = await begun(driver, host, guest, place)
        began = time.monotonic()
        copying.cancel()
        await asyncio.gather(copying, return_exceptions=True)
        assert time.monotonic() - began < 25
        left = await asyncio.to_thread(lambda: list(host.state.glob("instances/*/*capture*")))
        assert left == []
        assert await driver.power(guest.id) is Power.RUNNING
        async with driver.capture_disk(guest.id, lambda done, of: None) as content:
            assert content.size > 0
        await remove(driver, guest)


async def test_a_clone_of_a_guest_that_runs_is_another_guest_with_the_same_disk(place: Place) -> None:
    here, there = place.hosts
    guest = a_guest(place.image, (nic(place, 0, 66, str(uuid.uuid4()), 0),), disk=1 << 30)
    async with opened(here, place.store) as driver, opened(there, place.store) as other:
        await noisy(driver, here, guest)
        async with driver.capture_disk(guest.id, lambda done, of: None) as content:
            image = (await stored(place, content)).but(virtual_size=1 << 30)
        clone = a_guest(place.image, (nic(place, 1, 67, str(uuid.uuid4()), 0),), hostname="clone", disk=1 << 30)
        await other.prepare_image(clone.image)
        await other.unpack_disk(clone, image, lambda done, of: None)
        await run(other, clone, Secrets())
        console = await said(other, clone, "gostack-guest: ready")
        assert f"gostack-guest: hostname=clone uuid={clone.id}" in console
        assert "gostack-guest: boots=2" in console
        assert await driver.power(guest.id) is Power.RUNNING
        await remove(other, clone)
        await remove(driver, guest)


@pytest.mark.parametrize("compress", [False, True])
async def test_a_shelved_guest_goes_on_at_another_host_with_what_it_wrote(place: Place, compress: bool) -> None:
    here, there = place.hosts
    guest = a_guest(place.image, (nic(place, 0, 65, str(uuid.uuid4()), 0),), disk=1 << 30)
    async with opened(here, place.store) as driver:
        await noisy(driver, here, guest)
        await driver.stop(guest.id, 40.0)
        async with driver.capture_disk(guest.id, lambda done, of: None, compress) as content:
            image = (await stored(place, content)).but(format="qcow2", virtual_size=1 << 30)
        disk = here.state / "instances" / guest.id / "disk.qcow2"
        await asyncio.to_thread(here.real.run, "qemu-img", "compare", str(disk), str(place.store / image.checksum))
        await remove(driver, guest)
    async with opened(there, place.store) as driver:
        await driver.prepare_image(guest.image)
        await driver.unpack_disk(guest, image, lambda done, of: None)
        disk = there.state / "instances" / guest.id / "disk.qcow2"
        await asyncio.to_thread(there.real.run, "qemu-img", "compare", str(disk), str(place.store / image.checksum))
        await run(driver, guest, Secrets())
        assert "gostack-guest: boots=2" in await said(driver, guest, "gostack-guest: ready")
        await remove(driver, guest)
