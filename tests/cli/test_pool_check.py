"""gostack check says which disks in a pool are no volume's."""

from collections.abc import Collection
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agent.drivers.simulated.driver import SimulatedDriver
from agent.host.endpoint import endpoint
from cli.agents import AgentSilent, pool_volumes_by_http
from domain.core.messages import Key
from domain.disk_source import DiskRef
from domain.host.state import Host
from domain.jobs.pool import PoolSeen, PoolSight
from domain.pool import CreatePool
from domain.volume.actions import CreateVolume, DeleteVolume
from domain.volume_snapshot.actions import CreateVolumeSnapshot, DeleteVolumeSnapshot
from tests.cli.test_check import broken, checked, world
from tests.harness.agents import host_key
from tests.harness.world import World
from tests.projections.test_projector import report

__all__ = ["world"]

POOL = Key("pool", "00000000-0000-0000-0000-0000000000b1")
VOLUME = Key("volume", "00000000-0000-0000-0000-0000000000b2")
SNAPSHOT = Key("volume-snapshot", "00000000-0000-0000-0000-0000000000b4")
STRANGER = "00000000-0000-0000-0000-0000000000b3"
HAS = f"pool {POOL.id} has a disk"


@pytest.fixture
async def pooled(world: World) -> World:
    """A pool that both hosts reach, with a volume in it."""
    await world.send(POOL, CreatePool(name="nfs", path="/srv/nfs"))
    for number, name in enumerate(("h1", "h2")):
        seen = PoolSeen(host_id=host_key(name).id, sight=PoolSight.REACHED, capacity=1 << 40, available=1 << 40)
        await world.log.publish([report(seen, POOL, number)])
    await world.settle()
    await world.send(VOLUME, CreateVolume(name="data", size=1 << 30, pool=POOL.id))
    return world


async def found(world: World, *disks: str, silent: Collection[str] = ()) -> list[str]:
    """What is wrong with the disks in the pool; a host whose name is in `silent` does not answer."""

    async def disks_of(host: Host, pool_id: str) -> Collection[str] | None:
        if host.name in silent:
            raise AgentSilent
        return disks if pool_id == POOL.id else ()

    report = await checked(world, pool_volumes=disks_of)
    assert broken(report).keys() <= {"pool_disks"}
    return report.problems["pool_disks"]


async def test_a_disk_that_is_no_volumes_is_told(pooled: World) -> None:
    assert await found(pooled, VOLUME.id) == []
    assert await found(pooled, VOLUME.id, STRANGER) == [f"{HAS} {STRANGER}, which no volume has"]
    assert await found(pooled, STRANGER, silent={"h1"}) == [f"{HAS} {STRANGER}, which no volume has"]
    assert await found(pooled, STRANGER, silent={"h1", "h2"}) == []


async def test_what_is_left_of_a_deleted_volume_is_told(pooled: World) -> None:
    await pooled.send(VOLUME, DeleteVolume())
    assert await found(pooled) == []
    assert await found(pooled, VOLUME.id) == [f"{HAS} {VOLUME.id}, which no volume has"]


async def test_an_agent_is_asked_by_http() -> None:
    driver = SimulatedDriver()
    await driver.create_volume(STRANGER, 1 << 20, POOL.id)
    agent = httpx.AsyncClient(
        transport=httpx.ASGITransport(app=endpoint({"h": driver}, "t", lambda host: {})), base_url="http://a"
    )

    async def pass_on(request: web.Request) -> web.Response:
        if "earlier" in request.path:
            return web.Response(status=404)
        answer = await agent.get(request.path, headers={"authorization": request.headers["authorization"]})
        return web.Response(status=answer.status_code, body=answer.content, content_type="application/json")

    app = web.Application()
    app.router.add_get("/{path:.*}", pass_on)
    async with TestServer(app) as server, aiohttp.ClientSession() as session, agent:
        url = str(server.make_url("/"))
        known: list[dict[str, Any]] = [{"id": name, "name": name, "endpoint": url} for name in ("h", "earlier")]
        here, earlier = (Host.model_construct(**each) for each in known)
        ask = pool_volumes_by_http(session, "t")
        assert await ask(here, POOL.id) == {STRANGER}
        assert await ask(earlier, POOL.id) is None
        with pytest.raises(AgentSilent):
            await pool_volumes_by_http(session, "wrong")(here, POOL.id)


async def test_a_snapshot_in_a_pool_has_its_disk_and_its_claim(pooled: World) -> None:
    volume = DiskRef(id=VOLUME.id, name="data", size=1 << 30, pool_id=POOL.id)
    await pooled.send(SNAPSHOT, CreateVolumeSnapshot(name="before", volume=volume))
    assert await found(pooled, VOLUME.id, SNAPSHOT.id) == []
    await pooled.send(SNAPSHOT, DeleteVolumeSnapshot())
    assert await found(pooled, VOLUME.id, SNAPSHOT.id) == [f"{HAS} {SNAPSHOT.id}, which no volume has"]
