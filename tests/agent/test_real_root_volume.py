"""Real guests that boot from a volume: what one wrote on its root, the next guest with that volume finds there."""

import uuid

import pytest

from agent.drivers.driver import Secrets
from agent.drivers.libvirt.driver import LibvirtDriver
from agent.jobs.handler import untold
from domain.disk_source import SourceKind, VolumeSource
from domain.guest_spec import AttachedVolume, GuestSpec
from infra.disks.qcow2 import backing_file, read_header
from tests.agent.samples import a_guest
from tests.agent.test_real_guests import GRACE, Place, nic, opened, place, remove, said, umask

__all__ = ["place", "umask"]

pytestmark = [pytest.mark.e2e, pytest.mark.real]

SIZE = 256 << 20


async def run(driver: LibvirtDriver, guest: GuestSpec) -> None:
    """Have the guest running from its volume."""
    await driver.write_config_drive(guest, Secrets())
    await driver.plug(guest)
    await driver.define(guest)
    await driver.start(guest.id)


async def test_what_a_guest_wrote_on_its_root_volume_is_there_for_the_next_one_and_in_a_copy(place: Place) -> None:
    host = place.hosts[0]
    volume, copy = (AttachedVolume(id=str(uuid.uuid4()), size=size) for size in (SIZE, 2 * SIZE))
    network = str(uuid.uuid4())
    first, second, third = (
        a_guest(place.image, (nic(place, 0, 90 + number, network, 190),), disk=0, config_drive=True).but(
            volumes=(root,), root_volume_id=root.id
        )
        for number, root in enumerate((volume, volume, copy))
    )
    async with opened(host, place.store) as driver:
        await driver.prepare_image(place.image)
        await driver.copy_volume(volume.id, volume.size, "", place.image, untold)
        file = driver._files.volumes / f"{volume.id}.qcow2"
        header = read_header(file)
        assert header is not None
        assert (header.virtual_size, backing_file(file)) == (SIZE, "")
        await run(driver, first)
        console = await said(driver, first, "gostack-guest: ready")
        assert "boots=1" in console
        assert host.real.serials(first.id) == [volume.serial]
        await driver.stop(first.id, GRACE)
        await remove(driver, first)
        assert file.exists()

        source = VolumeSource(kind=SourceKind.VOLUME, id=volume.id, name="root", size=volume.size)
        await driver.copy_volume(copy.id, copy.size, "", source, untold)
        for guest in (second, third):
            await run(driver, guest)
        for guest in (second, third):
            console = await said(driver, guest, "gostack-guest: ready")
            assert "boots=2" in console
            await driver.stop(guest.id, GRACE)

        await driver.create_rescue_disk(second.id, place.image)
        await driver.define(second.but(rescue_image=place.image))
        before = len(await driver.console_log(second.id, 1 << 16))
        await driver.start(second.id)
        console = await said(driver, second, "gostack-guest: ready", since=before)
        assert "boots=1" in console
        assert f"disk=vdb bytes={SIZE} serial={volume.serial}" in console
        for guest in (second, third):
            await remove(driver, guest)
        for each in (volume, copy):
            await driver.delete_volume(each.id)
