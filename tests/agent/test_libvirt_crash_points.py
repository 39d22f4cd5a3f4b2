"""An agent's process dies between two calls of libvirt; another does the same again, and there is one guest, then none.

With a real libvirtd and QEMU in a host of its own: what half a deed leaves there is theirs to say. The process that
dies runs the driver alone; that an agent does again what it did not answer: tests/real/test_crash_points.py.
"""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.drivers.driver import Driver, Secrets
from agent.drivers.libvirt.instance_files import HostFiles
from agent.jobs.handler import untold
from domain.guest_spec import AttachedVolume, GuestSpec, Power
from infra.disks.qcow2 import read_header
from infra.process.failpoints import POINTS, VARIABLE
from tests.agent import private_host
from tests.agent.private_host import PrivateHost
from tests.agent.samples import a_guest, an_image

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
VOLUME = AttachedVolume(id="5f0d3a52-8f0e-4c57-9d1f-2f6c2f3a9b10", size=1 << 20)
COPY = "5f0d3a52-8f0e-4c57-9d1f-2f6c2f3a9b11"
"""Id of a volume that is a copy of the guest's image."""
EXTENDED = 4 << 20
EXTENDING = ("libvirt-volume-extended",)
GROWN = 3 << 30
GROWING = ("libvirt-disk-copied", "libvirt-disk-aside", "libvirt-disk-grown")
RECEIVING = ("libvirt-disk-received",)
UNPACKING = ("libvirt-disk-unpacked",)
TAKING_APART = (
    "libvirt-device-released",
    "libvirt-destroyed",
    "libvirt-undefined",
    "libvirt-half-unplugged",
    "libvirt-disk-gone",
)


@pytest.fixture(scope="module")
def host() -> Iterator[PrivateHost]:
    if lacking := private_host.missing():
        pytest.skip(f"a host of its own needs {lacking}")
    with private_host.directory() as directory:
        made = PrivateHost(directory / "host")
        yield made
        made.close()


async def work(uri: str, state: Path, executor: ThreadPoolExecutor, guest: GuestSpec, what: str) -> dict[str, Power]:
    """What an agent's jobs do for the guest: `build` it, have its disk `come` from elsewhere, or `unpack` it, before,
    `extend` its volume, have its disk `grow`, or take it `apart`; the guests that there are then."""
    from agent.drivers.libvirt.driver import LibvirtDriver

    async def nobody(instance_id: str) -> None:
        """Not told."""

    driver = LibvirtDriver(uri, state, str(state / "store"), executor=executor)
    await driver.open(nobody)
    try:
        if what == "grow":
            await driver.stop(guest.id, 0.1)
            await driver.keep_disk(guest.id, untold)
            await driver.grow_disk(guest.id, GROWN)
            await driver.start(guest.id)
        elif what == "extend":
            await driver.extend_volume(VOLUME.id, EXTENDED, guest.id)
        elif what != "apart":
            await driver.prepare_image(guest.image)
            if what == "come":
                await receive(driver, guest)
            elif what == "unpack":
                await driver.unpack_disk(guest, guest.image, untold)
            await driver.create_disk(guest)
            await driver.write_config_drive(guest, Secrets())
            await driver.plug(guest)
            await driver.define(guest)
            await driver.start(guest.id)
            await driver.create_volume(VOLUME.id, VOLUME.size)
            await driver.copy_volume(COPY, EXTENDED, "", guest.image, untold)
            await driver.attach_volume(guest.id, VOLUME)
        else:
            await driver.stop(guest.id, 0.1)
            await driver.detach_volume(guest.id, VOLUME.id)
            await driver.delete_volume(VOLUME.id)
            await driver.delete_volume(COPY)
            await driver.undefine(guest.id)
            await driver.unplug(guest)
            await driver.delete_disk(guest.id)
        return await driver.guests()
    finally:
        await driver.close()


async def receive(driver: Driver, guest: GuestSpec) -> None:
    """The guest has the disk of another, which is gone."""
    other = guest.but(id=str(uuid.uuid5(uuid.UUID(guest.id), "other")))
    await driver.create_disk(other)
    await driver.receive_disk(guest, await driver.read_disk(other.id))
    await driver.delete_disk(other.id)


def main(uri: str, namespace: str, state: str, guest: str, what: str) -> None:
    """The process that dies."""
    entered = ThreadPoolExecutor(4, initializer=lambda: private_host.enter(namespace))
    asyncio.run(work(uri, Path(state), entered, GuestSpec.model_validate_json(guest), what))


def dies(host: PrivateHost, state: Path, guest: GuestSpec, what: str, point: str) -> None:
    """A process of its own begins this, and dies at the point."""
    words = [host.uri, host.name, str(state), guest.model_dump_json(), what]
    done = subprocess.run(
        [sys.executable, "-m", "tests.agent.test_libvirt_crash_points", *words],
        env={**os.environ, VARIABLE: point},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith("libvirt-")])
async def test_what_a_dead_agent_began_is_done_by_the_next(host: PrivateHost, point: str) -> None:
    state = host.directory / point
    await asyncio.to_thread((state / "store").mkdir, parents=True)
    guest = a_guest(an_image(state / "store"))
    build = "come" if point in RECEIVING else "unpack" if point in UNPACKING else "build"
    if point not in (*TAKING_APART, *EXTENDING, *GROWING):
        await asyncio.to_thread(dies, host, state, guest, build, point)
    assert await work(host.uri, state, host.executor(), guest, build) == {guest.id: Power.RUNNING}
    if point in GROWING:
        files = HostFiles(state).instance(guest.id)
        before = await asyncio.to_thread(files.disk.stat)
        await asyncio.to_thread(dies, host, state, guest, "grow", point)
        assert await work(host.uri, state, host.executor(), guest, "grow") == {guest.id: Power.RUNNING}
        header, kept = read_header(files.disk), await asyncio.to_thread(files.old_disk.stat)
        assert header is not None
        assert header.virtual_size == GROWN
        assert kept.st_ino == before.st_ino, "what is kept is the disk itself"
        assert not files.copied_disk.exists()
    if point in EXTENDING:
        await asyncio.to_thread(dies, host, state, guest, "extend", point)
        assert await work(host.uri, state, host.executor(), guest, "extend") == {guest.id: Power.RUNNING}
        header = read_header(state / "volumes" / f"{VOLUME.id}.qcow2")
        assert header is not None
        assert header.virtual_size == EXTENDED
    if point in TAKING_APART:
        await asyncio.to_thread(dies, host, state, guest, "apart", point)
    assert await work(host.uri, state, host.executor(), guest, "apart") == {}
    assert not [*(state / "instances").glob("*"), *(state / "volumes").glob("*")]


if __name__ == "__main__":
    main(*sys.argv[1:])
