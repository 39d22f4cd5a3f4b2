"""Volumes in a real Ceph: with guests of two hosts, when it stops answering, and when whoever made one dies."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Iterator
from pathlib import Path

import libvirt
import pytest

from agent.drivers.driver import DriverError, Secrets
from agent.drivers.libvirt.driver import LibvirtDriver
from agent.drivers.pools import Pools
from agent.drivers.storage import ceph
from agent.drivers.storage.rbd import RbdPool, secret_id
from domain.disk_source import SourceKind, VolumeSource
from domain.guest_spec import AttachedVolume, GuestSpec, Power
from domain.jobs.pool import PoolPlace, PoolSight, PoolType
from infra.local.ceph import Ceph
from infra.local.process import Failure
from infra.local.process import run as run_program
from infra.process.failpoints import VARIABLE
from tests import servers
from tests.agent.samples import a_guest
from tests.agent.test_real_guests import Host, Place, nic, opened, place, remove, run, said, umask

__all__ = ["place", "umask"]

pytestmark = [pytest.mark.e2e, pytest.mark.real]

ROOT = Path(__file__).parents[2]
ADDRESS = "10.77.0.254"
POOL = "vms"
FOUNDER = "founder"
MIB = 1 << 20
WRITES = b"""#!/bin/sh
{
until [ -b /dev/vdb ]; do sleep 0.2; done
i=0; while [ $i -lt 8192 ]; do echo "line $i of what must not be lost"; i=$((i+1)); done >/tmp/known
dd if=/tmp/known of=/dev/vdb bs=4096 conv=fsync 2>/dev/null
echo wrote $(dd if=/dev/vdb bs=4096 count=64 2>/dev/null | sha256sum)
while :; do echo sectors=$(cat /sys/block/vdb/size 2>/dev/null); sleep 1; done
} >/dev/console 2>&1 </dev/null &
"""
READS = b"""#!/bin/sh
{
until [ -b /dev/vdb ]; do sleep 0.2; done
echo read $(dd if=/dev/vdb bs=4096 count=64 2>/dev/null | sha256sum) sectors=$(cat /sys/block/vdb/size)
} >/dev/console 2>&1 </dev/null &
"""


@pytest.fixture(scope="module")
def cluster(place: Place) -> Iterator[Ceph]:
    """A Ceph on the wire between the hosts."""
    try:
        servers.ceph_packages()
    except Failure as failure:
        pytest.skip(str(failure))
    subprocess.run(["ip", "address", "add", f"{ADDRESS}/24", "dev", place.wire.name], check=True)
    with servers.ceph(ADDRESS, POOL) as made:
        yield made


@pytest.fixture
def pool(cluster: Ceph, tmp_path: Path) -> Iterator[PoolPlace]:
    """A pool that its founder has found; its Ceph pool is empty afterwards."""
    conf = str(cluster.files.client_conf)
    known = PoolPlace(
        id=str(uuid.uuid4()),
        name="ceph",
        type=PoolType.RBD,
        ceph_pool=POOL,
        ceph_conf=conf,
        ceph_user="gostack",
        founder=FOUNDER,
    )
    (found,) = Pools(tmp_path / "pools.json", "another").know([known])
    assert found.sight is PoolSight.NOT_MARKED
    (found,) = Pools(tmp_path / "pools.json", FOUNDER).know([known])
    assert (found.sight, found.capacity >= found.available > 10 << 30) == (PoolSight.REACHED, True)
    yield known
    rados("rm", ceph.MARK, cluster=cluster)
    left = rados("ls", cluster=cluster).split()
    assert [each for each in left if not each.startswith("rbd_")] == []


def rados(*words: str, cluster: Ceph) -> str:
    """What the cluster's own program says of the objects in the pool."""
    command = ["rados", "-c", str(cluster.files.conf), "-p", POOL, *words]
    return run_program(command, account=cluster.files.account).stdout


def secrets(host: Host) -> list[str]:
    """The ids of the secrets that the host's libvirt keeps."""
    connection = libvirt.open(host.real.uri)
    try:
        return [each.UUIDString() for each in connection.listAllSecrets()]
    finally:
        connection.close()


async def refused(what: Awaitable[None]) -> tuple[DriverError, float]:
    """How something cannot be done, and how many seconds it took to say so."""
    begun = time.monotonic()
    with pytest.raises(DriverError) as caught:
        await what
    return caught.value, time.monotonic() - begun


async def test_a_volume_goes_from_host_to_host_grows_and_is_gone(place: Place, cluster: Ceph, pool: PoolPlace) -> None:
    network = str(uuid.uuid4())
    writer, reader = (
        a_guest(place.image, (nic(place, host, 90 + host, network, 190),), config_drive=True, disk=1 << 30)
        for host in (0, 1)
    )
    volume = AttachedVolume(id=str(uuid.uuid4()), size=64 * MIB, pool_id=pool.id)
    async with opened(place.hosts[0], place.store) as here, opened(place.hosts[1], place.store) as there:
        for driver in (here, there):
            (found,) = await driver.know_pools([pool])
            assert found.sight is PoolSight.REACHED
        for _ in range(2):
            await here.create_volume(volume.id, volume.size, pool.id)
        await asyncio.gather(run(here, writer, Secrets(user_data=WRITES)), run(there, reader, Secrets(user_data=READS)))
        for driver, guest in ((here, writer), (there, reader)):
            await said(driver, guest, "gostack-guest: ready")
        for _ in range(2):
            await here.attach_volume(writer.id, volume)
        await said(here, writer, f"bytes={volume.size} serial={volume.serial}")
        wrote = (await said(here, writer, "wrote ")).partition("wrote ")[2].split()[0]

        await here.extend_volume(volume.id, 96 * MIB, writer.id, pool.id)
        await said(here, writer, f"sectors={96 * MIB // 512}")
        await here.detach_volume(writer.id, volume.id)
        await there.extend_volume(volume.id, 128 * MIB, "", pool.id)
        with pytest.raises(DriverError, match="134217728 bytes already"):
            await here.extend_volume(volume.id, volume.size, "", pool.id)
        await there.attach_volume(reader.id, volume)
        told = (await said(there, reader, "sectors=")).partition("read ")[2].split()
        assert (told[0], told[2]) == (wrote, f"sectors={128 * MIB // 512}")

        os.kill(cluster.osd.pid, signal.SIGSTOP)
        try:
            with pytest.MonkeyPatch.context() as shorter:
                shorter.setattr(ceph, "SECONDS", 4)
                await storage_that_hangs((here, writer), (there, reader), volume, pool)
        finally:
            os.kill(cluster.osd.pid, signal.SIGCONT)
        until = time.monotonic() + 60
        while (await here.know_pools([pool]))[0].sight is not PoolSight.REACHED:
            assert time.monotonic() < until

        # A guest that is defined with it has it when it starts.
        await there.undefine(reader.id)
        await there.define(reader.but(volumes=(volume,)))
        await there.start(reader.id)
        assert place.hosts[1].real.serials(reader.id) == [volume.serial]
        await there.stop(reader.id, 0.3)
        await there.detach_volume(reader.id, volume.id)
        for driver, guest in ((here, writer), (there, reader)):
            await remove(driver, guest)
        assert await here.pool_volumes(pool.id) == [volume.id]
        for driver in (there, here):
            await driver.delete_volume(volume.id, pool.id)
        assert await here.pool_volumes(pool.id) == []
        for driver, host in ((here, place.hosts[0]), (there, place.hosts[1])):
            assert secrets(host) == [secret_id(pool.id)]
            assert await driver.know_pools([]) == []
            assert secrets(host) == []


async def storage_that_hangs(
    without: tuple[LibvirtDriver, GuestSpec],
    using: tuple[LibvirtDriver, GuestSpec],
    volume: AttachedVolume,
    pool: PoolPlace,
) -> None:
    """What needs the cluster fails and says why, before the hypervisor is asked, and a guest that has nothing there is
    stopped meanwhile on the host on which more waits than it has threads for guests."""
    driver, guest = without
    elsewhere, user = using
    waiting = [asyncio.create_task(refused(driver.create_volume(str(uuid.uuid4()), MIB, pool.id))) for _ in range(12)]
    waiting += [
        asyncio.create_task(refused(elsewhere.pause(user.id))),
        asyncio.create_task(refused(elsewhere.suspend(user.id))),
        asyncio.create_task(refused(elsewhere.detach_volume(user.id, volume.id))),
    ]
    begun = time.monotonic()
    await driver.stop(guest.id, 0.3)
    assert await driver.power(guest.id) is Power.SHUTDOWN
    stopped_within = time.monotonic() - begun
    (found,) = await driver.know_pools([pool])
    assert found.sight is PoolSight.NO_ANSWER
    for each in waiting:
        problem, seconds = await each
        told = (problem.code, str(problem))
        assert told == ("pool-not-reached", "this host does not reach pool ceph: no-answer")
        # Four at a time.
        assert ceph.SECONDS - 1 < seconds < 10 * ceph.SECONDS
    assert stopped_within < 2 * ceph.SECONDS
    assert await elsewhere.power(user.id) is Power.RUNNING


def test_what_a_dead_agent_began_is_done_by_the_next(cluster: Ceph, pool: PoolPlace) -> None:
    store, volume_id = RbdPool(pool), str(uuid.uuid4())
    done = subprocess.run(
        [sys.executable, "-m", "tests.agent.test_ceph", pool.model_dump_json(), volume_id],
        env={**os.environ, VARIABLE: "ceph-image-made"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    store.create(volume_id, MIB)
    with pytest.raises(DriverError) as caught:
        store.create(volume_id, 2 * MIB)
    assert caught.value.code == "volume-differs"
    # Or it dies within: the image has its name, and no header yet.
    for object_name in rados("ls", cluster=cluster).split():
        if object_name.startswith("rbd_header."):
            rados("rm", object_name, cluster=cluster)
    assert store.size(volume_id) is None
    store.create(volume_id, 2 * MIB)
    assert store.size(volume_id) == 2 * MIB
    for _ in range(2):
        store.delete(volume_id)
    assert store.volumes() == []


def test_an_image_that_somebody_has_open_is_not_removed(pool: PoolPlace) -> None:
    store, volume_id = RbdPool(pool), str(uuid.uuid4())
    store.create(volume_id, MIB)
    with ceph.opened(pool, ceph.SECONDS) as opened_pool, ceph._library("rbd").Image(opened_pool._pool, volume_id):
        with pytest.raises(DriverError) as caught:
            store.delete(volume_id)
        assert caught.value.code == "volume-busy"
        assert store.volumes() == [volume_id]
    store.delete(volume_id)
    assert store.volumes() == []


def test_what_is_in_it_is_there_after_all_of_it_was_killed(cluster: Ceph, pool: PoolPlace, tmp_path: Path) -> None:
    store, volume_id = RbdPool(pool), str(uuid.uuid4())
    store.create(volume_id, MIB)
    for daemon in cluster.daemons:
        daemon.kill()
    for daemon in cluster.daemons:
        daemon.start()
    pools, until = Pools(tmp_path / "later.json", FOUNDER), time.monotonic() + 60
    while pools.know([pool])[0].sight is not PoolSight.REACHED:
        assert time.monotonic() < until
    assert store.size(volume_id) == MIB
    store.delete(volume_id)


@pytest.mark.parametrize(
    ("change", "sight"),
    [
        ({"ceph_pool": "other"}, PoolSight.NOT_THERE),
        ({"ceph_user": "stranger"}, PoolSight.NOT_EQUIPPED),
        ({"ceph_conf": "/nowhere/ceph.conf"}, PoolSight.NOT_EQUIPPED),
        ({"id": "0f1c1f0a-3c7e-4b8a-9d53-0a1b2c3d4e5f"}, PoolSight.OF_ANOTHER),
    ],
)
def test_a_pool_that_is_another_or_is_none_is_told(
    pool: PoolPlace, change: dict[str, str], sight: PoolSight, tmp_path: Path
) -> None:
    wrong = pool.but(**change)
    (found,) = Pools(tmp_path / "other.json", FOUNDER).know([wrong])
    assert (found.sight, found.capacity) == (sight, 0)
    with pytest.raises(DriverError, match=sight):
        RbdPool(wrong).create(str(uuid.uuid4()), MIB)


def test_a_user_whose_key_is_wrong_is_not_let_in(cluster: Ceph, pool: PoolPlace, tmp_path: Path) -> None:
    conf = tmp_path / "ceph.conf"
    conf.write_text(cluster.files.client_conf.read_text())
    administrator = cluster.files.keyring("client.admin").read_text()
    (tmp_path / "ceph.client.gostack.keyring").write_text(administrator.replace("client.admin", "client.gostack"))
    (found,) = Pools(tmp_path / "pools.json", FOUNDER).know([pool.but(ceph_conf=str(conf))])
    assert found.sight is PoolSight.DENIED


if __name__ == "__main__":
    RbdPool(PoolPlace.model_validate_json(sys.argv[1])).create(sys.argv[2], MIB)


async def test_a_guest_boots_from_a_copy_of_an_image_in_ceph_and_another_from_a_copy_of_that(
    place: Place, cluster: Ceph, pool: PoolPlace
) -> None:
    first, second = (AttachedVolume(id=str(uuid.uuid4()), size=size, pool_id=pool.id) for size in (1 << 30, 2 << 30))
    network = str(uuid.uuid4())
    one, two = (
        a_guest(place.image, (nic(place, host, 96 + host, network, 196),), config_drive=True, disk=0).but(
            volumes=(root,), root_volume_id=root.id
        )
        for host, root in enumerate((first, second))
    )
    async with opened(place.hosts[0], place.store) as here, opened(place.hosts[1], place.store) as there:
        for driver in (here, there):
            await driver.know_pools([pool])
        await here.prepare_image(place.image)
        for _ in range(2):
            await here.copy_volume(first.id, first.size, pool.id, place.image, lambda done, total: None)
        await run(here, one, Secrets())
        assert "boots=1" in await said(here, one, "gostack-guest: ready")
        await here.stop(one.id, 20)
        await remove(here, one)

        source = VolumeSource(kind=SourceKind.VOLUME, id=first.id, name="root", size=first.size, pool_id=pool.id)
        await there.copy_volume(second.id, second.size, pool.id, source, lambda done, total: None)
        await here.delete_volume(first.id, pool.id)
        await run(there, two, Secrets())
        console = await said(there, two, "gostack-guest: ready")
        assert "boots=2" in console
        assert f"disk=vda bytes={second.size}" in console
        await remove(there, two)
        await there.delete_volume(second.id, pool.id)
        assert await there.pool_volumes(pool.id) == []
