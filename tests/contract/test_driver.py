"""What every driver promises, held against the simulated one and against libvirt with real QEMU.

The real one runs in a host of its own (namespaces, its own libvirt daemon); its guests have an empty disk, so they
hear nobody and stay in their firmware: enough for all but what needs a guest that answers.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.drivers.driver import Driver, DriverError, Secrets
from agent.drivers.simulated.driver import SimulatedDriver
from agent.jobs import HANDLERS
from agent.jobs.handler import Context, untold
from domain.disk_source import SourceKind, VolumeSource
from domain.guest_spec import AttachedVolume, GuestSpec, ImageRef, Power
from domain.jobs.pool import PoolPlace
from domain.jobs.volume import DetachVolume
from infra.disks.qcow2 import read_header
from tests.agent import private_host
from tests.agent.samples import MEBI, a_guest, a_nic, an_image

PATIENCE = 10.0
FOUNDER = "8b1c1f0a-3c7e-4b8a-9d53-0a1b2c3d4e5f"
"""Id of the host."""
SECRETS = Secrets(password="geheim", user_data=b"#!/bin/sh\n")


@dataclass
class Subject:
    """A driver with what a test needs around it."""

    driver: Driver
    image: ImageRef
    other: ImageRef
    end: Callable[[str], Awaitable[None]]
    """Has a guest end by itself."""
    changed: asyncio.Queue[str]
    serials: Callable[[str], list[str]]
    """Of the volumes that a guest has."""
    interfaces: Callable[[str], int]
    """How many network interfaces a guest has."""
    disk_size: Callable[[str], int]
    """How large a guest's root disk is, in bytes."""
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
        ends, serials, interfaces = simulated.power_off_by_itself, simulated.serials, simulated.interfaces
        yield Subject(simulated, first, second, ends, changed, serials, interfaces, simulated.disk_size)
        await simulated.close()
        return
    from agent.drivers.libvirt.driver import LibvirtDriver

    host: private_host.PrivateHost = request.getfixturevalue("real_host")
    state = host.directory / uuid.uuid4().hex
    store = state / "store"
    await asyncio.to_thread(store.mkdir, parents=True)
    driver = LibvirtDriver(host.uri, state, str(store), host_id=FOUNDER, executor=host.executor())
    await driver.open(changed.put)

    async def end(instance_id: str) -> None:
        await asyncio.to_thread(host.end_guest, instance_id)

    def kept(instance_id: str) -> list[Path]:
        return sorted((state / "instances").glob(f"{instance_id}*/**/*"))

    def disk_size(instance_id: str) -> int:
        header = read_header(state / "instances" / instance_id / "disk.qcow2")
        assert header is not None
        return header.virtual_size

    first, second = an_image(store), an_image(store, name="other")
    yield Subject(driver, first, second, end, changed, host.serials, host.interfaces, disk_size, kept)
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


async def test_a_guest_that_no_full_disk_stopped_is_not_made_to_go_on(subject: Subject) -> None:
    guest = await build(subject)
    for power, change in (
        (Power.SHUTDOWN, None),
        (Power.RUNNING, subject.driver.start),
        (Power.PAUSED, subject.driver.pause),
    ):
        if change is not None:
            await change(guest.id)
        await subject.driver.unblock(guest.id)
        assert await subject.driver.power(guest.id) is power
    await subject.driver.unblock(str(uuid.uuid4()))


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


@pytest.mark.parametrize("times", [1, 2])
async def test_a_suspended_guest_is_off_until_it_is_resumed(subject: Subject, times: int) -> None:
    guest = await build(subject)
    await subject.driver.start(guest.id)
    for _ in range(times):
        await subject.driver.suspend(guest.id)
    assert await subject.driver.power(guest.id) is Power.SUSPENDED
    assert await subject.driver.guests() == {guest.id: Power.SUSPENDED}
    with pytest.raises(DriverError) as caught:
        await subject.driver.pause(guest.id)
    assert caught.value.code == "guest-off"
    for _ in range(times):
        await subject.driver.resume(guest.id)
    assert await subject.driver.guests() == {guest.id: Power.RUNNING}


async def test_a_guest_that_was_paused_when_it_was_suspended_runs_when_it_is_resumed(subject: Subject) -> None:
    guest = await build(subject)
    await subject.driver.start(guest.id)
    await subject.driver.pause(guest.id)
    await subject.driver.suspend(guest.id)
    await subject.driver.resume(guest.id)
    assert await subject.driver.power(guest.id) is Power.RUNNING


async def test_a_suspended_guest_that_is_stopped_or_undefined_is_not_suspended_any_more(subject: Subject) -> None:
    guest = await build(subject)
    await subject.driver.start(guest.id)
    await subject.driver.suspend(guest.id)
    await subject.driver.stop(guest.id, 0.3)
    assert await subject.driver.power(guest.id) is Power.SHUTDOWN
    await subject.driver.start(guest.id)
    await subject.driver.suspend(guest.id)
    await subject.driver.undefine(guest.id)
    assert await subject.driver.power(guest.id) is Power.NONE
    await subject.driver.define(guest)
    assert await subject.driver.power(guest.id) is Power.SHUTDOWN


async def test_a_suspended_guest_that_is_started_or_rebooted_runs(subject: Subject) -> None:
    guest = await build(subject)
    await subject.driver.start(guest.id)
    for wake in (subject.driver.start(guest.id), subject.driver.reboot(guest.id, 0.3)):
        await subject.driver.suspend(guest.id)
        await wake
        assert await subject.driver.power(guest.id) is Power.RUNNING


async def test_what_is_off_cannot_be_paused_or_suspended_nor_go_on(subject: Subject) -> None:
    guest = await build(subject)
    driver = subject.driver
    for attempt in (
        driver.pause(guest.id),
        driver.unpause(guest.id),
        driver.suspend(guest.id),
        driver.resume(guest.id),
    ):
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


async def test_rules_of_a_group_that_nobody_is_in_have_permitted_nothing(subject: Subject) -> None:
    assert await subject.driver.rule_counters(str(uuid.uuid4())) == {}
    assert await subject.driver.rule_counters() == {}


async def test_what_nobody_knows_cannot_be_run(subject: Subject) -> None:
    unknown = str(uuid.uuid4())
    for attempt in (
        subject.driver.start(unknown),
        subject.driver.reboot(unknown, 0.3),
        subject.driver.pause(unknown),
        subject.driver.unpause(unknown),
        subject.driver.suspend(unknown),
        subject.driver.resume(unknown),
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


@pytest.mark.parametrize("times", [1, 2])
async def test_a_rescued_guest_boots_from_a_disk_of_its_own_and_then_from_its_root_disk(
    subject: Subject, times: int
) -> None:
    driver = subject.driver
    guest = await build(subject)
    rescued = guest.but(rescue_image=subject.other)
    await driver.define(rescued)
    with pytest.raises(DriverError) as caught:
        await driver.start(guest.id)
    assert caught.value.code == "hypervisor-refused"
    with pytest.raises(DriverError) as caught:
        await driver.create_rescue_disk(guest.id, subject.other)
    assert caught.value.code == "image-unavailable"
    await driver.prepare_image(subject.other)
    for _ in range(times):
        await driver.create_rescue_disk(guest.id, subject.other)
        await driver.define(rescued)
        await driver.start(guest.id)
    assert await driver.guests() == {guest.id: Power.RUNNING}
    await driver.stop(guest.id, 0.3)
    for _ in range(times):
        await driver.define(guest)
        await driver.delete_rescue_disk(guest.id)
        await driver.start(guest.id)
    assert await driver.guests() == {guest.id: Power.RUNNING}


@pytest.mark.parametrize("times", [1, 2])
async def test_a_disk_that_is_replaced_can_be_put_back_until_the_old_one_is_dropped(
    subject: Subject, times: int
) -> None:
    driver = subject.driver
    guest = await build(subject)
    rebuilt = guest.but(image=subject.other)
    with pytest.raises(DriverError) as caught:
        await driver.replace_disk(rebuilt)
    assert caught.value.code == "image-unavailable"
    await driver.prepare_image(subject.other)

    for _ in range(times):
        await driver.replace_disk(rebuilt)
    with pytest.raises(DriverError) as caught:
        await driver.create_disk(guest)
    assert caught.value.code == "disk-differs"
    for _ in range(times):
        await driver.restore_disk(guest.id)
    await driver.create_disk(guest)

    for _ in range(times):
        await driver.replace_disk(rebuilt)
    for _ in range(times):
        await driver.drop_old_disk(guest.id)
    await driver.restore_disk(guest.id)
    await driver.create_disk(rebuilt)
    await driver.define(rebuilt)
    await driver.start(guest.id)
    assert await driver.guests() == {guest.id: Power.RUNNING}


async def test_a_disk_that_cannot_be_replaced_is_put_back(subject: Subject) -> None:
    guest = await build(subject)
    await subject.driver.prepare_image(subject.other)
    with pytest.raises(DriverError) as caught:
        await subject.driver.replace_disk(guest.but(image=subject.other, disk=MEBI // 2))
    assert caught.value.code == "disk-too-small"
    await subject.driver.restore_disk(guest.id)
    await subject.driver.create_disk(guest)
    await subject.driver.start(guest.id)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_disk_that_grows_is_kept_as_it_was_until_that_is_restored_or_dropped(
    subject: Subject, times: int
) -> None:
    guest, driver = await build(subject), subject.driver
    told: list[tuple[int, int]] = []
    size = subject.disk_size(guest.id)
    for _ in range(times):
        await driver.keep_disk(guest.id, lambda *progress: told.append(progress))
        await driver.grow_disk(guest.id, size + 8 * MEBI)
    await driver.grow_disk(guest.id, size)
    assert subject.disk_size(guest.id) == size + 8 * MEBI, "none ever shrinks"
    assert all(0 <= done <= total for done, total in told)
    await driver.create_disk(guest)
    await driver.start(guest.id)
    with pytest.raises(DriverError) as caught:
        await driver.grow_disk(guest.id, size + 16 * MEBI)
    assert caught.value.code == "guest-on"
    await driver.stop(guest.id, 0.3)
    for _ in range(times):
        await driver.restore_disk(guest.id)
    assert subject.disk_size(guest.id) == size
    await driver.start(guest.id)
    with pytest.raises(DriverError) as caught:
        await driver.keep_disk(guest.id, untold)
    assert caught.value.code == "guest-on"
    await driver.stop(guest.id, 0.3)
    await driver.keep_disk(guest.id, untold)
    for _ in range(times):
        await driver.drop_old_disk(guest.id)
    await driver.restore_disk(guest.id)
    await driver.start(guest.id)
    assert [file.name for file in subject.kept(guest.id) if file.suffix == ".qcow2"] in ([], ["disk.qcow2"])
    for change in (driver.grow_disk(str(uuid.uuid4()), size), driver.keep_disk(str(uuid.uuid4()), untold)):
        with pytest.raises(DriverError) as caught:
            await change
        assert caught.value.code == "disk-missing"


@pytest.mark.parametrize("times", [1, 2])
async def test_a_volume_comes_and_goes(subject: Subject, times: int) -> None:
    volume_id = str(uuid.uuid4())
    for _ in range(times):
        await subject.driver.create_volume(volume_id, 8 * MEBI)
    with pytest.raises(DriverError) as caught:
        await subject.driver.create_volume(volume_id, 16 * MEBI)
    assert caught.value.code == "volume-differs"
    for _ in range(times):
        await subject.driver.delete_volume(volume_id)
    await subject.driver.create_volume(volume_id, 16 * MEBI)
    await subject.driver.delete_volume(volume_id)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_volume_in_a_pool_is_there_for_a_guest_while_the_pool_is_reached(
    subject: Subject, times: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    driver = subject.driver
    path = tmp_path_factory.mktemp("pool")
    for each in (path, *path.parents[:3]):
        each.chmod(0o755)
    place = PoolPlace(id=str(uuid.uuid4()), name="nfs", path=str(path), founder=FOUNDER)
    for _ in range(times):
        (found,) = await driver.know_pools([place])
        assert (found.id, found.sight) == (place.id, "reached")
        assert found.capacity >= found.available > 0
    volume = AttachedVolume(id=str(uuid.uuid4()), size=8 * MEBI, pool_id=place.id)
    guest = await build(subject)
    for _ in range(times):
        await driver.create_volume(volume.id, volume.size, place.id)
        await driver.attach_volume(guest.id, volume)
    assert subject.serials(guest.id) == [volume.serial]
    await driver.define(guest.but(volumes=(volume,)))
    await driver.start(guest.id)
    assert subject.serials(guest.id) == [volume.serial]
    await driver.stop(guest.id, 0.3)
    source = VolumeSource(kind=SourceKind.VOLUME, id=volume.id, name="data", size=volume.size, pool_id=place.id)
    for pool_id in (place.id, ""):
        copy = str(uuid.uuid4())
        for _ in range(times):
            await driver.copy_volume(copy, 16 * MEBI, pool_id, source, untold)
        await driver.delete_volume(copy, pool_id)
    for _ in range(times):
        await driver.detach_volume(guest.id, volume.id)
        await driver.delete_volume(volume.id, place.id)
    assert subject.serials(guest.id) == []
    with pytest.raises(DriverError) as caught:
        await driver.attach_volume(guest.id, volume)
    assert caught.value.code == "volume-unknown"


async def a_volume(subject: Subject) -> AttachedVolume:
    volume = AttachedVolume(id=str(uuid.uuid4()), size=8 * MEBI)
    await subject.driver.create_volume(volume.id, volume.size)
    return volume


@pytest.mark.parametrize("power", [Power.SHUTDOWN, Power.RUNNING, Power.PAUSED, Power.SUSPENDED])
async def test_a_volume_grows_whatever_its_guest_does_and_never_shrinks(subject: Subject, power: Power) -> None:
    guest, volume = await build(subject), await a_volume(subject)
    await subject.driver.attach_volume(guest.id, volume)
    if power is not Power.SHUTDOWN:
        await subject.driver.start(guest.id)
    if power is Power.PAUSED:
        await subject.driver.pause(guest.id)
    if power is Power.SUSPENDED:
        await subject.driver.suspend(guest.id)
    for _ in range(2):
        await subject.driver.extend_volume(volume.id, 24 * MEBI, guest.id)
    with pytest.raises(DriverError) as caught:
        await subject.driver.extend_volume(volume.id, 16 * MEBI, guest.id)
    assert caught.value.code == "volume-differs"
    assert await subject.driver.power(guest.id) is power
    # Whoever makes it is told by its size whether it is the same.
    await subject.driver.create_volume(volume.id, 24 * MEBI)
    await subject.driver.start(guest.id)
    await subject.driver.undefine(guest.id)
    await subject.driver.extend_volume(volume.id, 32 * MEBI, "")
    await subject.driver.delete_volume(volume.id)
    with pytest.raises(DriverError) as caught:
        await subject.driver.extend_volume(volume.id, 32 * MEBI, "")
    assert caught.value.code == "volume-unknown"


@pytest.mark.parametrize("times", [1, 2])
async def test_a_guest_that_is_off_has_the_volumes_that_it_will_have(subject: Subject, times: int) -> None:
    guest = await build(subject)
    volumes = (await a_volume(subject), await a_volume(subject))
    for volume in volumes:
        for _ in range(times):
            await subject.driver.attach_volume(guest.id, volume)
    assert subject.serials(guest.id) == [volume.serial for volume in volumes]
    await subject.driver.start(guest.id)
    assert subject.serials(guest.id) == [volume.serial for volume in volumes]
    await subject.driver.stop(guest.id, 0.3)
    for _ in range(times):
        await subject.driver.detach_volume(guest.id, volumes[0].id)
    assert subject.serials(guest.id) == [volumes[1].serial]
    await subject.driver.define(guest.but(volumes=volumes))
    assert subject.serials(guest.id) == [volume.serial for volume in volumes]
    await subject.driver.undefine(guest.id)
    await subject.driver.detach_volume(guest.id, volumes[0].id)
    for volume in volumes:
        await subject.driver.delete_volume(volume.id)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_guest_that_runs_has_a_volume_until_it_lets_go_of_it(
    subject: Subject, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest, volume = await build(subject), await a_volume(subject)
    if isinstance(subject.driver, SimulatedDriver):
        subject.driver.clinging.add(guest.id)
    else:
        # A guest that stays in its firmware hears nobody.
        monkeypatch.setattr("agent.drivers.libvirt.devices.RELEASE", 1.0)
    await subject.driver.start(guest.id)
    for _ in range(times):
        await subject.driver.attach_volume(guest.id, volume)
    assert subject.serials(guest.id) == [volume.serial]
    for _ in range(times):
        with pytest.raises(DriverError) as caught:
            await subject.driver.detach_volume(guest.id, volume.id)
        assert caught.value.code == "volume-not-released"
    assert subject.serials(guest.id) == [volume.serial]
    await subject.driver.attach_volume(guest.id, volume)
    await subject.driver.stop(guest.id, 0.3)
    for _ in range(times):
        await subject.driver.detach_volume(guest.id, volume.id)
    assert subject.serials(guest.id) == []


async def test_a_guest_that_does_not_let_go_is_made_to_where_that_is_asked_for(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest, volume = await build(subject), await a_volume(subject)
    if isinstance(subject.driver, SimulatedDriver):
        subject.driver.clinging.add(guest.id)
    else:
        monkeypatch.setattr("agent.drivers.libvirt.devices.RELEASE", 1.0)

    async def nothing(_: GuestSpec) -> Secrets:
        return Secrets()

    context = Context(driver=subject.driver, secrets=nothing)
    await subject.driver.start(guest.id)
    await subject.driver.attach_volume(guest.id, volume.but(read_only=True))
    with pytest.raises(DriverError) as caught:
        await HANDLERS[DetachVolume](DetachVolume(volume_id=volume.id), guest, context)
    assert caught.value.code == "volume-not-released"
    assert await subject.driver.power(guest.id) is Power.RUNNING
    for _ in range(2):
        await HANDLERS[DetachVolume](DetachVolume(volume_id=volume.id, force=True), guest, context)
        assert subject.serials(guest.id) == []
        assert await subject.driver.power(guest.id) is Power.RUNNING
    await subject.driver.delete_volume(volume.id)


SECOND = a_nic(11, "7a2c1f0a-3c7e-4b8a-9d53-0a1b2c3d4e5f", "10.43.0.1")


@pytest.mark.parametrize("times", [1, 2])
async def test_a_guest_that_is_off_has_the_interfaces_that_it_will_have(subject: Subject, times: int) -> None:
    guest = await build(subject)
    more = guest.but(nics=(*guest.nics, SECOND))
    for _ in range(times):
        await subject.driver.attach_interface(more, SECOND)
    assert subject.interfaces(guest.id) == 2
    await subject.driver.start(guest.id)
    assert subject.interfaces(guest.id) == 2
    await subject.driver.stop(guest.id, 0.3)
    for _ in range(times):
        await subject.driver.detach_interface(more, SECOND)
    assert subject.interfaces(guest.id) == 1
    await subject.driver.start(guest.id)
    await subject.driver.undefine(guest.id)
    await subject.driver.detach_interface(more, SECOND)
    with pytest.raises(DriverError) as caught:
        await subject.driver.attach_interface(a_guest(guest.image, (SECOND,)), SECOND)
    assert caught.value.code == "guest-unknown"
    await subject.driver.unplug(more)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_guest_that_runs_has_an_interface_until_it_lets_go_of_it(
    subject: Subject, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = await build(subject)
    more = guest.but(nics=(*guest.nics, SECOND))
    if isinstance(subject.driver, SimulatedDriver):
        subject.driver.clinging.add(guest.id)
    else:
        monkeypatch.setattr("agent.drivers.libvirt.devices.RELEASE", 1.0)
    await subject.driver.start(guest.id)
    for _ in range(times):
        await subject.driver.attach_interface(more, SECOND)
    assert subject.interfaces(guest.id) == 2
    for _ in range(times):
        with pytest.raises(DriverError) as caught:
            await subject.driver.detach_interface(more, SECOND)
        assert caught.value.code == "interface-not-released"
    assert subject.interfaces(guest.id) == 2
    await subject.driver.stop(guest.id, 0.3)
    for _ in range(times):
        await subject.driver.detach_interface(more, SECOND)
    assert subject.interfaces(guest.id) == 1


async def test_what_nobody_knows_cannot_be_attached(subject: Subject) -> None:
    guest, volume = await build(subject), await a_volume(subject)
    await subject.driver.delete_volume(volume.id)
    with pytest.raises(DriverError) as caught:
        await subject.driver.attach_volume(guest.id, volume)
    assert caught.value.code == "volume-unknown"
    await subject.driver.create_volume(volume.id, volume.size)
    with pytest.raises(DriverError) as caught:
        await subject.driver.attach_volume(str(uuid.uuid4()), volume)
    assert caught.value.code == "guest-unknown"


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


async def test_images_go_from_the_cache_but_for_those_that_a_disk_is_based_on(subject: Subject) -> None:
    driver, both = subject.driver, [subject.image.checksum, subject.other.checksum]
    guest = await build(subject)
    await driver.prepare_image(subject.other)
    assert await driver.cached_images() == sorted(both)
    assert await driver.drop_images(["0" * 64, *both]) == [subject.other.checksum]
    await driver.prepare_image(subject.other)
    await driver.replace_disk(guest.but(image=subject.other))
    # Both are used: the disk that was put aside may come back.
    assert await driver.drop_images(both) == []
    await driver.drop_old_disk(guest.id)
    assert await driver.drop_images(both) == [subject.image.checksum]
    await driver.undefine(guest.id)
    await driver.delete_disk(guest.id)
    assert await driver.drop_images(both) == [subject.other.checksum]
    assert await driver.cached_images() == []


@pytest.mark.parametrize("times", [1, 2])
async def test_a_volume_begins_as_a_copy_and_is_one_of_its_own(subject: Subject, times: int) -> None:
    driver, image = subject.driver, subject.image
    first, second, third = (str(uuid.uuid4()) for _ in range(3))
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))

    with pytest.raises(DriverError) as caught:
        await driver.copy_volume(first, 8 * MEBI, "", image, progress)
    assert caught.value.code == "image-unavailable"
    await driver.prepare_image(image)
    for _ in range(times):
        await driver.copy_volume(first, 8 * MEBI, "", image, progress)
    assert all(0 <= done <= total for done, total in told)
    with pytest.raises(DriverError) as caught:
        await driver.copy_volume(first, 16 * MEBI, "", image, progress)
    assert caught.value.code == "volume-differs"
    source = VolumeSource(kind=SourceKind.VOLUME, id=first, name="data", size=8 * MEBI)
    for _ in range(times):
        await driver.copy_volume(second, 16 * MEBI, "", source, progress)
    with pytest.raises(DriverError) as caught:
        await driver.copy_volume(third, 4 * MEBI, "", source, progress)
    assert caught.value.code == "disk-too-small"
    assert await driver.drop_images([image.checksum]) == [image.checksum], "no volume is based on it"
    await driver.delete_volume(first)
    with pytest.raises(DriverError) as caught:
        await driver.copy_volume(third, 8 * MEBI, "", source, progress)
    assert caught.value.code == "volume-unknown"
    guest = await build(subject)
    await driver.attach_volume(guest.id, AttachedVolume(id=second, size=16 * MEBI))
    await driver.start(guest.id)
    await driver.undefine(guest.id)
    await driver.delete_volume(second)
    await driver.create_volume(third, 8 * MEBI)
    await driver.delete_volume(third)


async def test_a_copy_of_a_volume_that_is_cut_off_leaves_nothing(subject: Subject) -> None:
    driver, volume = subject.driver, await a_volume(subject)
    source = VolumeSource(kind=SourceKind.VOLUME, id=volume.id, name="data", size=volume.size)
    copy = str(uuid.uuid4())

    def cut_off(done: int, total: int) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await driver.copy_volume(copy, 8 * MEBI, "", source, cut_off)
    await driver.copy_volume(copy, 16 * MEBI, "", source, untold)
    await driver.delete_volume(copy)
    await driver.delete_volume(volume.id)
