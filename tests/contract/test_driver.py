"""What every driver promises, held against the simulated one and against libvirt with real QEMU.

The real one runs in a host of its own (namespaces, its own libvirt daemon); its guests have an empty disk, so they
hear nobody and stay in their firmware: enough for all but what needs a guest that answers.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.drivers.driver import DiskContent, Driver, DriverError, Secrets
from agent.drivers.simulated.driver import SimulatedDriver
from domain.guest_spec import GuestSpec, ImageRef, Power
from tests.agent import private_host
from tests.agent.samples import MEBI, a_guest, a_nic, an_image

PATIENCE = 10.0
SECRETS = Secrets(password="geheim", user_data="#!/bin/sh\n")


@dataclass
class Subject:
    """A driver with what a test needs around it."""

    driver: Driver
    image: ImageRef
    other: ImageRef
    end: Callable[[str], Awaitable[None]]
    """Has a guest end by itself."""
    changed: asyncio.Queue[str]
    kept: Callable[[str], list[Path]] = lambda instance_id: []
    """The files that there are of an instance."""


@pytest.fixture(scope="module")
def real_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[private_host.PrivateHost]:
    if lacking := private_host.missing():
        pytest.skip(f"a host of its own needs {lacking}")
    # Not below pytest's own directory, into which the user that runs guests may not look.
    with private_host.directory() as directory:
        host = private_host.PrivateHost(directory / "host")
        yield host
        host.close()


@pytest.fixture(params=["simulated", pytest.param("libvirt", marks=pytest.mark.real)])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    changed: asyncio.Queue[str] = asyncio.Queue()
    if request.param == "simulated":
        simulated = SimulatedDriver()
        await simulated.open(changed.put)
        first, second = an_image(tmp_path), an_image(tmp_path, name="other")
        yield Subject(simulated, first, second, simulated.power_off_by_itself, changed)
        await simulated.close()
        return
    from agent.drivers.libvirt.driver import LibvirtDriver

    host: private_host.PrivateHost = request.getfixturevalue("real_host")
    state = host.directory / uuid.uuid4().hex
    store = state / "store"
    await asyncio.to_thread(store.mkdir, parents=True)
    driver = LibvirtDriver(host.uri, state, str(store), executor=host.executor())
    await driver.open(changed.put)

    async def end(instance_id: str) -> None:
        await asyncio.to_thread(host.end_guest, instance_id)

    def kept(instance_id: str) -> list[Path]:
        return sorted((state / "instances").glob(f"{instance_id}*/**/*"))

    yield Subject(driver, an_image(store), an_image(store, name="other"), end, changed, kept)
    for instance_id in await driver.guests():
        await driver.undefine(instance_id)
    await driver.unplug(a_guest(an_image(store)))
    await driver.close()


async def build(subject: Subject, times: int = 1) -> GuestSpec:
    """A guest that is defined and off."""
    guest = a_guest(subject.image)
    for _ in range(times):
        await subject.driver.prepare_image(guest.image)
        await subject.driver.create_disk(guest)
        await subject.driver.write_config_drive(guest, SECRETS)
        await subject.driver.plug(guest)
        await subject.driver.define(guest)
    return guest


async def test_a_host_has_something(subject: Subject) -> None:
    inventory = await subject.driver.inventory()
    assert min(inventory.vcpus, inventory.memory, inventory.disk) > 0
    assert inventory.arch
    assert inventory.hypervisor


@pytest.mark.parametrize("times", [1, 2])
async def test_a_guest_from_nothing_to_nothing(subject: Subject, times: int) -> None:
    driver = subject.driver
    guest = await build(subject, times)
    assert await driver.power(guest.id) is Power.SHUTDOWN
    for _ in range(times):
        await driver.start(guest.id)
    assert await driver.power(guest.id) is Power.RUNNING
    assert await driver.guests() == {guest.id: Power.RUNNING}
    for _ in range(times):
        await driver.stop(guest.id, 0.3)
    assert await driver.power(guest.id) is Power.SHUTDOWN
    assert await driver.guests() == {guest.id: Power.SHUTDOWN}
    for _ in range(times):
        await driver.undefine(guest.id)
        await driver.unplug(guest)
        await driver.delete_disk(guest.id)
    assert await driver.power(guest.id) is Power.NONE
    assert await driver.guests() == {}
    assert await driver.console_log(guest.id, 100) == b""


async def test_undefining_stops_a_guest_that_runs(subject: Subject) -> None:
    guest = await build(subject)
    await subject.driver.start(guest.id)
    await subject.driver.undefine(guest.id)
    assert await subject.driver.guests() == {}


async def test_defining_again_leaves_a_guest_running(subject: Subject) -> None:
    guest = await build(subject)
    await subject.driver.start(guest.id)
    await subject.driver.define(guest)
    assert await subject.driver.power(guest.id) is Power.RUNNING


async def test_a_reboot_leaves_a_guest_running_and_starts_one_that_is_off(subject: Subject) -> None:
    guest = await build(subject)
    await subject.driver.reboot(guest.id, 0.3)
    assert await subject.driver.power(guest.id) is Power.RUNNING
    await subject.driver.reboot(guest.id, 0.3)
    assert await subject.driver.power(guest.id) is Power.RUNNING


@pytest.mark.parametrize("times", [1, 2])
async def test_a_paused_guest_stands_still_until_it_goes_on(subject: Subject, times: int) -> None:
    guest = await build(subject)
    await subject.driver.start(guest.id)
    for _ in range(times):
        await subject.driver.pause(guest.id)
    assert await subject.driver.guests() == {guest.id: Power.PAUSED}
    for _ in range(times):
        await subject.driver.unpause(guest.id)
    assert await subject.driver.power(guest.id) is Power.RUNNING


async def test_what_starts_reboots_or_stops_a_paused_guest_does_not_leave_it_paused(subject: Subject) -> None:
    guest = await build(subject)
    await subject.driver.start(guest.id)
    for wake in (subject.driver.start(guest.id), subject.driver.reboot(guest.id, 0.3)):
        await subject.driver.pause(guest.id)
        await wake
        assert await subject.driver.power(guest.id) is Power.RUNNING
    await subject.driver.pause(guest.id)
    await subject.driver.stop(guest.id, 0.3)
    assert await subject.driver.power(guest.id) is Power.SHUTDOWN


async def test_what_is_off_cannot_stand_still(subject: Subject) -> None:
    guest = await build(subject)
    for attempt in (subject.driver.pause(guest.id), subject.driver.unpause(guest.id)):
        with pytest.raises(DriverError) as caught:
            await attempt
        assert caught.value.code == "guest-off"


async def test_what_nobody_knows_is_off_and_gone_already(subject: Subject) -> None:
    guest = a_guest(subject.image)
    await subject.driver.stop(guest.id, 0.3)
    await subject.driver.undefine(guest.id)
    await subject.driver.unplug(guest)
    await subject.driver.delete_disk(guest.id)
    assert await subject.driver.power(guest.id) is Power.NONE
    assert await subject.driver.console_log(guest.id, 100) == b""


async def test_what_nobody_knows_cannot_be_run(subject: Subject) -> None:
    unknown = str(uuid.uuid4())
    for attempt in (
        subject.driver.start(unknown),
        subject.driver.reboot(unknown, 0.3),
        subject.driver.pause(unknown),
        subject.driver.unpause(unknown),
        subject.driver.vnc(unknown, 60),
    ):
        with pytest.raises(DriverError) as caught:
            await attempt
        assert caught.value.code == "guest-unknown"


async def test_a_guest_without_a_disk_does_not_run(subject: Subject) -> None:
    guest = a_guest(subject.image)
    await subject.driver.write_config_drive(guest, SECRETS)
    await subject.driver.plug(guest)
    await subject.driver.define(guest)
    with pytest.raises(DriverError) as caught:
        await subject.driver.start(guest.id)
    assert caught.value.code == "hypervisor-refused"


async def test_a_disk_needs_its_image_and_room_for_it(subject: Subject) -> None:
    guest = a_guest(subject.image)
    with pytest.raises(DriverError) as caught:
        await subject.driver.create_disk(guest)
    assert caught.value.code == "image-unavailable"
    await subject.driver.prepare_image(guest.image)
    with pytest.raises(DriverError) as caught:
        await subject.driver.create_disk(guest.but(disk=MEBI // 2))
    assert caught.value.code == "disk-too-small"
    await subject.driver.create_disk(guest.but(disk=0))


async def test_a_disk_is_not_taken_for_one_of_another_image(subject: Subject) -> None:
    guest = a_guest(subject.image)
    for image in (subject.image, subject.other):
        await subject.driver.prepare_image(image)
    await subject.driver.create_disk(guest)
    with pytest.raises(DriverError) as caught:
        await subject.driver.create_disk(guest.but(image=subject.other))
    assert caught.value.code == "disk-differs"
    await subject.driver.delete_disk(guest.id)
    await subject.driver.create_disk(guest.but(image=subject.other))


async def taken(content: DiskContent) -> bytes:
    """A disk's bytes."""
    async with aclosing(content.chunks) as chunks:
        return b"".join([chunk async for chunk in chunks])


def given(content: bytes, size: int = 0, then: BaseException | None = None, told: str | None = None) -> DiskContent:
    """A disk that comes in two pieces, said to be `size` bytes; `then` happens behind them."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        half = len(content) // 2
        for piece in (content[:half], content[half:]):
            yield piece
        if then is not None:
            raise then

    return DiskContent(size or len(content), chunks(), told)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_disk_can_be_read_and_received_again(subject: Subject, times: int) -> None:
    first, second = a_guest(subject.image), a_guest(subject.image)
    await subject.driver.prepare_image(subject.image)
    await subject.driver.create_disk(first)
    content = await subject.driver.read_disk(first.id)
    disk = await taken(content)
    assert len(disk) == content.size
    for _ in range(times):
        await subject.driver.receive_disk(second, given(disk))
    # What came is a disk of that image.
    await subject.driver.create_disk(second)
    assert len(await taken(await subject.driver.read_disk(second.id))) > 0
    for guest in (first, second):
        await subject.driver.delete_disk(guest.id)
        with pytest.raises(DriverError) as caught:
            await subject.driver.read_disk(guest.id)
        assert caught.value.code == "disk-missing"


@pytest.mark.parametrize("user_data", ["", "#!/bin/sh\necho grüezi\n"])
async def test_what_a_guest_is_told_goes_with_its_disk_without_its_password(subject: Subject, user_data: str) -> None:
    first, second = a_guest(subject.image), a_guest(subject.image)
    await subject.driver.prepare_image(subject.image)
    assert await subject.driver.told(first.id) is None
    await subject.driver.create_disk(first)
    await subject.driver.write_config_drive(first, Secrets("geheim", user_data))
    assert await subject.driver.told(first.id) == Secrets(user_data=user_data)
    content = await subject.driver.read_disk(first.id)
    await subject.driver.receive_disk(second, given(await taken(content), told=content.user_data))
    told = await subject.driver.told(second.id)
    assert told == Secrets(user_data=user_data)
    await subject.driver.write_config_drive(second, told)
    for guest in (first, second):
        await subject.driver.delete_disk(guest.id)
        assert await subject.driver.told(guest.id) is None


async def test_a_disk_in_use_is_not_read(subject: Subject) -> None:
    guest = await build(subject)
    await subject.driver.start(guest.id)
    for change in (subject.driver.start, subject.driver.pause):
        await change(guest.id)
        with pytest.raises(DriverError) as caught:
            await subject.driver.read_disk(guest.id)
        assert caught.value.code == "guest-on"
    await subject.driver.stop(guest.id, 0.3)
    assert await taken(await subject.driver.read_disk(guest.id))


@pytest.mark.parametrize("wrong", ["short", "long", "breaks", "cut off", "no image"])
async def test_of_a_disk_that_does_not_come_whole_nothing_is_left(subject: Subject, wrong: str) -> None:
    first = a_guest(subject.image)
    second = a_guest(subject.other if wrong == "no image" else subject.image)
    await subject.driver.prepare_image(subject.image)
    await subject.driver.create_disk(first)
    disk = await taken(await subject.driver.read_disk(first.id))
    contents, raised = {
        "short": (given(disk, len(disk) + 1), DriverError),
        "long": (given(disk, len(disk) - 1), DriverError),
        "breaks": (given(disk, then=DriverError("host-unreachable", "gone")), DriverError),
        "cut off": (given(disk, then=asyncio.CancelledError()), asyncio.CancelledError),
        "no image": (given(disk), DriverError),
    }[wrong]
    with pytest.raises(raised):
        await subject.driver.receive_disk(second, contents)
    with pytest.raises(DriverError) as caught:
        await subject.driver.read_disk(second.id)
    assert caught.value.code == "disk-missing"
    assert subject.kept(second.id) == []


async def test_a_disk_that_does_not_come_leaves_the_one_that_is_there(subject: Subject) -> None:
    guest = await build(subject)
    with pytest.raises(DriverError):
        await subject.driver.receive_disk(guest, given(b"half", 8))
    await subject.driver.start(guest.id)
    assert await subject.driver.power(guest.id) is Power.RUNNING


async def captured(subject: Subject, guest: GuestSpec) -> bytes:
    """The copy of a guest's disk; it was told how much of it there was."""
    told: list[tuple[int, int]] = []
    async with subject.driver.capture_disk(guest.id, lambda done, total: told.append((done, total))) as content:
        copy = await taken(content)
    assert len(copy) == content.size
    assert all(done <= total for done, total in told)
    return copy


@pytest.mark.parametrize("state", ["off", "running", "paused"])
async def test_a_disk_is_copied_whatever_its_guest_does(subject: Subject, state: str) -> None:
    guest = await build(subject)
    if state != "off":
        await subject.driver.start(guest.id)
    if state == "paused":
        await subject.driver.pause(guest.id)
    before, files = await subject.driver.power(guest.id), subject.kept(guest.id)
    assert await captured(subject, guest)
    assert await subject.driver.power(guest.id) is before
    assert subject.kept(guest.id) == files, "nothing of the copy is left"


async def test_what_has_no_disk_is_not_copied(subject: Subject) -> None:
    with pytest.raises(DriverError) as caught:
        await captured(subject, a_guest(subject.image))
    assert caught.value.code == "disk-missing"


@pytest.mark.parametrize("runs", [False, True])
async def test_a_copy_that_is_cut_off_leaves_nothing_and_can_be_made_again(subject: Subject, runs: bool) -> None:
    guest = await build(subject)
    if runs:
        await subject.driver.start(guest.id)
    files = subject.kept(guest.id)
    for delay in (0.0, 0.05, 0.3):
        work = asyncio.create_task(captured(subject, guest))
        await asyncio.sleep(delay)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        assert subject.kept(guest.id) == files
    assert await captured(subject, guest)


async def test_a_display_has_a_new_password_each_time_and_only_while_the_guest_runs(subject: Subject) -> None:
    guest = await build(subject)
    with pytest.raises(DriverError) as caught:
        await subject.driver.vnc(guest.id, 60)
    assert caught.value.code == "guest-off"
    await subject.driver.start(guest.id)
    first, second = await subject.driver.vnc(guest.id, 60), await subject.driver.vnc(guest.id, 30)
    assert (first.host, first.port) == (second.host, second.port)
    assert first.port > 0
    assert first.password != second.password
    assert second.valid_seconds == 30


async def test_the_watcher_hears_of_a_guest_that_ended_by_itself(subject: Subject) -> None:
    guest = await build(subject)
    await subject.driver.start(guest.id)
    while not subject.changed.empty():
        subject.changed.get_nowait()
    await subject.end(guest.id)
    async with asyncio.timeout(PATIENCE):
        assert await subject.changed.get() == guest.id
        while await subject.driver.power(guest.id) is Power.RUNNING:
            await subject.changed.get()
    assert await subject.driver.power(guest.id) in (Power.SHUTDOWN, Power.CRASHED)
    await subject.driver.start(guest.id)
    assert await subject.driver.power(guest.id) is Power.RUNNING


async def test_guests_side_by_side_keep_out_of_each_others_way(subject: Subject) -> None:
    guests = [a_guest(subject.image, (a_nic(number),)) for number in (10, 11, 12, 13)]

    async def live(guest: GuestSpec) -> None:
        await subject.driver.prepare_image(guest.image)
        await subject.driver.create_disk(guest)
        await subject.driver.write_config_drive(guest, SECRETS)
        await subject.driver.plug(guest)
        await subject.driver.define(guest)

    async def die(guest: GuestSpec) -> None:
        await subject.driver.undefine(guest.id)
        await subject.driver.unplug(guest)
        await subject.driver.delete_disk(guest.id)

    await asyncio.gather(*map(live, guests))
    assert set(await subject.driver.guests()) == {guest.id for guest in guests}
    # One leaves while another comes.
    await asyncio.gather(*map(die, guests[1:]), live(guests[1].but(id=str(uuid.uuid4()))))
    await die(guests[0])
    assert len(await subject.driver.guests()) == 1
