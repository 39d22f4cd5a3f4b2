"""A guest whose pool is full stands still and loses nothing, and goes on by itself when there is room."""

import asyncio
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.drivers.driver import Secrets
from agent.drivers.libvirt.driver import LibvirtDriver
from agent.drivers.pools import Pools
from domain.guest_spec import AttachedVolume, Power
from domain.jobs.pool import PoolPlace
from tests.agent.samples import MEBI, a_guest
from tests.agent.test_real_guests import BOOT_TIMEOUT, Place, nic, opened, place, remove, run, said, umask

__all__ = ["place", "umask"]

pytestmark = [pytest.mark.e2e, pytest.mark.real]

SPACE, WRITTEN = 16 * MEBI, 24 * MEBI
WRITES = f"""#!/bin/sh
{{
until [ -b /dev/vdb ]; do sleep 0.2; done
i=0; while [ $i -lt 20000 ]; do echo "line $i of what must not be lost"; i=$((i+1)); done >/tmp/known
known() {{ while cat /tmp/known; do :; done 2>/dev/null | head -c {WRITTEN}; }}
known | dd of=/dev/vdb bs=1M iflag=fullblock conv=fsync 2>/dev/null
echo 3 >/proc/sys/vm/drop_caches
[ "$(known | md5sum)" = "$(head -c {WRITTEN} /dev/vdb | md5sum)" ] && echo all is there || echo something is lost
}} >/dev/console 2>&1 </dev/null &
""".encode()


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[Path]:
    """A file system of little space, in memory; made before the hosts, which have the mounts that they began with."""
    # Not in /dev/shm, where hosts have a file system of their own, nor where users other than root have no way to.
    path = Path(tempfile.mkdtemp(prefix="gostack-test-", dir="/tmp"))
    mount(path, f"size={SPACE},mode=0711")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)
    path.rmdir()


def mount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "pool", path], check=True)


async def test_a_guest_that_fills_its_pool_stands_still_until_there_is_room(small: Path, place: Place) -> None:
    network, pool_id = str(uuid.uuid4()), str(uuid.uuid4())
    guest = a_guest(place.image, (nic(place, 0, 86, network, 186),), config_drive=True, disk=1 << 30)
    volume = AttachedVolume(id=str(uuid.uuid4()), size=128 * MEBI, pool_id=pool_id)
    async with opened(place.hosts[0], place.store) as driver:
        known = PoolPlace(id=pool_id, name="small", path=str(small), founder="founder")
        Pools(place.store / "small.json", "founder").know([known])
        (found,) = await driver.know_pools([known])
        assert found.capacity == SPACE
        await driver.create_volume(volume.id, volume.size, pool_id)
        await run(driver, guest, Secrets(user_data=WRITES))
        await said(driver, guest, "gostack-guest: ready")
        await driver.attach_volume(guest.id, volume)
        await until_blocked(driver, guest.id)
        await driver.unblock(guest.id)
        assert await driver.power(guest.id) is Power.BLOCKED
        assert await driver.guests() == {guest.id: Power.BLOCKED}
        mount(small, f"remount,size={16 * SPACE}")
        await driver.unblock(guest.id)
        await said(driver, guest, "all is there")
        assert await driver.power(guest.id) is Power.RUNNING
        await remove(driver, guest)
        await driver.delete_volume(volume.id, pool_id)


async def until_blocked(driver: LibvirtDriver, instance_id: str) -> None:
    end = time.monotonic() + BOOT_TIMEOUT
    while (power := await driver.power(instance_id)) is not Power.BLOCKED:
        assert time.monotonic() < end, f"the guest is {power} still"
        await asyncio.sleep(0.2)
