"""A volume in a pool with real guests of two hosts: what one wrote the other reads, and never both write."""

import uuid

import pytest

from agent.drivers.driver import DriverError, Secrets
from agent.drivers.pools import Pools
from domain.guest_spec import AttachedVolume
from domain.jobs.pool import PoolPlace
from tests.agent.samples import a_guest
from tests.agent.test_real_guests import Place, nic, opened, place, remove, run, said, umask

__all__ = ["place", "umask"]

pytestmark = [pytest.mark.e2e, pytest.mark.real]

WRITES = b"""#!/bin/sh
{
until [ -b /dev/vdb ]; do sleep 0.2; done
i=0; while [ $i -lt 8192 ]; do echo "line $i of what must not be lost"; i=$((i+1)); done >/tmp/known
dd if=/tmp/known of=/dev/vdb bs=4096 conv=fsync 2>/dev/null
echo wrote $(dd if=/dev/vdb bs=4096 count=64 2>/dev/null | sha256sum)
} >/dev/console 2>&1 </dev/null &
"""
READS = b"""#!/bin/sh
{
until [ -b /dev/vdb ]; do sleep 0.2; done
echo read $(dd if=/dev/vdb bs=4096 count=64 2>/dev/null | sha256sum)
} >/dev/console 2>&1 </dev/null &
"""


async def test_what_a_guest_wrote_another_host_has_and_only_one_guest_at_a_time(place: Place) -> None:
    network, pool_id = str(uuid.uuid4()), str(uuid.uuid4())
    path = place.store.parent / "pool"
    path.mkdir()
    path.chmod(0o711)
    writer, reader = (
        a_guest(place.image, (nic(place, host, 80 + host, network, 180),), config_drive=True, disk=1 << 30)
        for host in (0, 1)
    )
    volume = AttachedVolume(id=str(uuid.uuid4()), size=64 << 20, pool_id=pool_id)
    async with opened(place.hosts[0], place.store) as here, opened(place.hosts[1], place.store) as there:
        known = PoolPlace(id=pool_id, name="nfs", path=str(path), founder="founder")
        Pools(place.store / "pools.json", "founder").know([known])
        for driver in (here, there):
            (found,) = await driver.know_pools([known])
            assert (found.sight, found.capacity > 0) == ("reached", True)
        await here.create_volume(volume.id, volume.size, pool_id)
        await run(here, writer, Secrets(user_data=WRITES))
        await run(there, reader, Secrets(user_data=READS))
        await said(here, writer, "gostack-guest: ready")
        await said(there, reader, "gostack-guest: ready")
        await here.attach_volume(writer.id, volume)
        wrote = (await said(here, writer, "wrote ")).partition("wrote ")[2].split()[0]
        with pytest.raises(DriverError) as caught:
            await there.attach_volume(reader.id, volume)
        assert "lock" in caught.value.for_operators()
        await here.detach_volume(writer.id, volume.id)
        await there.attach_volume(reader.id, volume)
        assert (await said(there, reader, "read ")).partition("read ")[2].split()[0] == wrote
        await there.detach_volume(reader.id, volume.id)
        for driver, guest in ((here, writer), (there, reader)):
            await remove(driver, guest)
        await there.delete_volume(volume.id, pool_id)
        assert list((path / "volumes").iterdir()) == []
