"""Disks that go to another host, or are copied while they are in use, held against both drivers."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from agent.drivers.driver import DiskContent, DriverError, Secrets
from agent.jobs.handler import untold
from domain.guest_spec import GuestSpec, Power
from tests.agent.samples import a_guest
from tests.contract.test_driver import Subject, build, real_host, subject

__all__ = ["real_host", "subject"]
"""Fixtures."""
UNTOLD = Secrets()


async def taken(content: DiskContent) -> bytes:
    """A disk's bytes."""
    async with aclosing(content.chunks) as chunks:
        return b"".join([chunk async for chunk in chunks])


def given(content: bytes, size: int = 0, then: BaseException | None = None, told: Secrets = UNTOLD) -> DiskContent:
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


@pytest.mark.parametrize("config_drive", [True, False])
@pytest.mark.parametrize("user_data", [b"", "#!/bin/sh\r\necho grüezi\n".encode(), b"\x1f\x8b\x08\0\xff"])
async def test_what_a_guest_is_told_goes_with_its_disk_and_is_gone_with_it(
    subject: Subject, user_data: bytes, config_drive: bool
) -> None:
    first, second = (a_guest(subject.image, config_drive=config_drive) for _ in range(2))
    secrets = Secrets("geheim", user_data)
    await subject.driver.prepare_image(subject.image)
    await subject.driver.create_disk(first)
    assert await subject.driver.told(first.id) is None
    await subject.driver.write_config_drive(first, secrets)
    content = await subject.driver.read_disk(first.id)
    assert content.told == secrets
    await subject.driver.receive_disk(second, given(await taken(content), told=content.told))
    for _ in range(2):
        assert await subject.driver.told(second.id) == secrets
        await subject.driver.write_config_drive(second.but(metadata={"role": "db"}), secrets)
    await subject.driver.delete_disk(second.id)
    assert await subject.driver.told(second.id) is None


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


async def test_a_host_tells_the_disks_of_an_instance(subject: Subject) -> None:
    guest = a_guest(subject.image, disk=64 << 20)
    with pytest.raises(DriverError) as caught:
        await subject.driver.local_disks(guest.id)
    assert caught.value.code == "disk-missing"
    await subject.driver.prepare_image(guest.image)
    await subject.driver.create_disk(guest)
    for device in ("", "vda"):
        root = (await subject.driver.local_disks(guest.id))[0]
        assert (root.name, root.device, root.format, root.virtual_size) == ("root", device, "qcow2", 64 << 20)
        assert root.path.endswith(f"{guest.id}/disk.qcow2")
        assert root.backing_file.endswith(f"/{guest.image.checksum}")
        assert 0 <= root.real_size < 64 << 20
        await subject.driver.write_config_drive(guest, UNTOLD)
        await subject.driver.define(guest)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_disk_is_made_of_an_image_of_a_disk_and_is_one_of_the_guests_own_image(
    subject: Subject, times: int
) -> None:
    guest = a_guest(subject.image, disk=64 << 20)
    await subject.driver.prepare_image(guest.image)
    for _ in range(times):
        await subject.driver.unpack_disk(guest, subject.other, untold)
    assert subject.disk_size(guest.id) == 64 << 20
    files = subject.kept(guest.id)
    await subject.driver.create_disk(guest)
    assert subject.kept(guest.id) == files, "it is one of that image, and nothing else is left"
    assert await subject.driver.cached_images() == [guest.image.checksum], "nobody else asks for the other one"
    await subject.driver.write_config_drive(guest, UNTOLD)
    await subject.driver.plug(guest)
    await subject.driver.define(guest)
    await subject.driver.start(guest.id)
    assert await subject.driver.power(guest.id) is Power.RUNNING


async def test_a_disk_that_is_there_is_not_made_again(subject: Subject) -> None:
    guest = await build(subject)
    size = subject.disk_size(guest.id)
    await subject.driver.unpack_disk(guest.but(disk=size * 2), subject.other, untold)
    assert subject.disk_size(guest.id) == size


async def test_without_the_guests_own_image_no_disk_is_made(subject: Subject) -> None:
    guest = a_guest(subject.image)
    with pytest.raises(DriverError) as caught:
        await subject.driver.unpack_disk(guest, subject.other, untold)
    assert caught.value.code == "image-unavailable"
    assert subject.kept(guest.id) == []
