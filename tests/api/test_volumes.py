"""Volumes through the API: beside an instance, on a host that is named, or where there is room."""

import asyncio
from pathlib import Path
from typing import Any

from agent.drivers.simulated.driver import SimulatedDriver
from domain.jobs.pool import PoolPlace
from tests.harness.whole import ended, whole

SIZE = 1 << 30


async def test_a_volume_lives_on_a_hosts_disk_until_it_is_deleted(tmp_path: Path) -> None:
    async with whole(tmp_path) as api:
        booted = await api.post("/instances", {"name": "web", "flavor": "small", "image": "tiny"}, 202)
        await ended(api, booted["task_id"])
        wishes: list[dict[str, Any]] = [{"instance": "web"}, {"host": "h1"}, {}]
        for number, where in enumerate(wishes):
            made = await api.post("/volumes", {"name": f"data-{number}", "size": SIZE, **where}, 202)
            assert (await ended(api, made["task_id"]))["status"] == "finished"
            shown = await api.get(f"/volumes/data-{number}")
            assert (shown["status"], shown["size"], shown["host"]["name"]) == ("available", SIZE, "h1")
        assert (await api.get("/hosts/h1"))["instances"] == 1
        names = [each["name"] for each in (await api.get("/volumes", host_id="h1", status="available"))["volumes"]]
        assert names == ["data-2", "data-1", "data-0"]
        assert (await api.get("/volumes", instance_id="web"))["volumes"] == []
        changed = await api.patch("/volumes/data-0", {"description": "of the shop"})
        assert changed["description"] == "of the shop"
        gone = await api.delete("/volumes/data-0", 202)
        assert (await ended(api, gone["task_id"]))["status"] == "finished"
        assert [each["name"] for each in (await api.get("/volumes"))["volumes"]] == ["data-2", "data-1"]
        assert (await api.get("/usage"))["usage"][0]["disk"] > 2 * SIZE


async def test_an_instance_is_given_a_volume_by_name_and_gives_it_back(tmp_path: Path) -> None:
    driver = SimulatedDriver()
    async with whole(tmp_path, {"h1": driver}) as api:
        booted = await api.post("/instances", {"name": "web", "flavor": "small", "image": "tiny"}, 202)
        await ended(api, booted["task_id"])
        made = await api.post("/volumes", {"name": "data", "size": SIZE, "instance": "web"}, 202)
        await ended(api, made["task_id"])

        async def act(verb: str) -> dict[str, Any]:
            task = await api.post(f"/instances/web/actions/{verb}-volume", {"volume_id": "data"}, 202)
            return await ended(api, task["task_id"])

        assert (await act("attach"))["status"] == "finished"
        shown = await api.get("/instances/web")
        assert shown["volumes"] == [{"id": made["id"], "name": "data", "size": SIZE}]
        assert driver.serials(booted["id"]) == [made["id"].replace("-", "")[:20]]
        assert [each["name"] for each in (await api.get("/volumes", instance_id="web"))["volumes"]] == ["data"]
        assert (await api.delete("/volumes/data", 409))["code"] == "in-use"

        driver.clinging.add(booted["id"])
        failed = await act("detach")
        assert (failed["status"], failed["fault"]["code"]) == ("failed", "volume-not-released")
        assert (await api.get("/volumes/data"))["status"] == "in_use"
        driver.clinging.clear()
        assert (await act("detach"))["status"] == "finished"
        assert (await api.get("/instances/web"))["volumes"] == []
        assert driver.serials(booted["id"]) == []
        assert (await api.get("/volumes/data"))["status"] == "available"


async def test_what_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    async with whole(tmp_path) as api:
        assert (await api.post("/volumes", {"name": "a", "size": SIZE, "host": "h9"}, 404))["code"] == "not-found"
        for size in (0, 1000, (1 << 20) + 1, 1 << 60):
            assert (await api.post("/volumes", {"name": "a", "size": size}, 422))["code"] == "invalid"
        assert (await api.post("/volumes", {"name": "a", "size": SIZE, "cell": "x"}, 422))["code"] == "invalid"


async def test_a_pool_is_refused_what_its_type_lacks_or_has_no_use_for(tmp_path: Path) -> None:
    async with whole(tmp_path) as api:
        for body, told in (
            ({"path": ""}, "path is empty: an absolute path"),
            ({"type": "rbd"}, "ceph_pool is empty: letters"),
            ({"type": "rbd", "ceph_pool": "vms", "path": "/srv/nfs"}, "path is /srv/nfs: nothing, since"),
            ({"path": "/srv/nfs", "ceph_user": "gostack"}, "ceph_user is gostack: nothing, since"),
        ):
            refused = await api.post("/pools", {"name": "a", **body}, 422)
            assert (refused["code"], refused["detail"][: len(told)]) == ("invalid", told)
        assert (await api.post("/pools", {"name": "a", "type": "nbd"}, 422))["code"] == "invalid"
        assert (await api.get("/pools"))["pools"] == []


async def test_a_volume_in_a_pool_goes_from_host_to_host(tmp_path: Path) -> None:
    shared: dict[str, int] = {}
    drivers = {name: SimulatedDriver(shared=shared) for name in ("h1", "h2")}
    async with whole(tmp_path, drivers) as api:

        async def done(answer: dict[str, Any]) -> str:
            task = await ended(api, answer["task_id"])
            return str(task["fault"]["code"] if task["fault"] else task["status"])

        for host in drivers:
            body = {"name": f"on-{host}", "flavor": "small", "image": "tiny", "host": host}
            assert await done(await api.post("/instances", body, 202)) == "finished"
        pool = await api.post("/pools", {"name": "nfs", "path": "/srv/nfs", "reserved": SIZE})
        wanted = {"name": "early", "size": SIZE, "pool": "nfs"}
        assert await done(await api.post("/volumes", wanted, 202)) == "pool-not-reached"
        await api.agent.know_pools([PoolPlace(id=pool["id"], name="nfs", path="/srv/nfs")])
        async with asyncio.timeout(10.0):
            while len((await api.get("/pools/nfs"))["hosts"]) < len(drivers):
                await api.world.log.wait(0.01)
        assert await done(await api.post("/volumes", {**wanted, "name": "data"}, 202)) == "finished"
        shown = await api.get("/volumes/data")
        assert (shown["status"], shown["pool_name"], shown["pool_id"]) == ("available", "nfs", pool["id"])
        now = await api.get("/pools/nfs")
        assert (now["claimed"], now["room"]) == (SIZE, now["capacity"] - 2 * SIZE)
        assert [each["sight"] for each in now["hosts"].values()] == ["reached", "reached"]
        assert (await api.delete("/pools/nfs", 409))["code"] == "in-use"
        for host in drivers:
            for verb in ("attach", "detach"):
                path = f"/instances/on-{host}/actions/{verb}-volume"
                assert await done(await api.post(path, {"volume_id": "data"}, 202)) == "finished"
        assert [each["name"] for each in (await api.get("/volumes", pool="nfs"))["volumes"]] == ["data", "early"]
        assert (await api.post("/pools/nfs/drain", {}, 200))["draining"]
        assert await done(await api.post("/volumes", {**wanted, "name": "late"}, 202)) == "pool-draining"
        for name in ("early", "late", "data"):
            assert await done(await api.delete(f"/volumes/{name}", 202)) == "finished"
        assert shared == {}
        assert (await api.get("/pools/nfs"))["claimed"] == 0
        await api.delete("/pools/nfs")


async def test_a_volume_is_extended_and_the_instance_that_has_it_knows(tmp_path: Path) -> None:
    async with whole(tmp_path) as api:
        booted = await api.post("/instances", {"name": "web", "flavor": "small", "image": "tiny"}, 202)
        await ended(api, booted["task_id"])
        made = await api.post("/volumes", {"name": "data", "size": SIZE, "instance": "web"}, 202)
        await ended(api, made["task_id"])
        attached = await api.post("/instances/web/actions/attach-volume", {"volume_id": "data"}, 202)
        await ended(api, attached["task_id"])
        extend = "/volumes/data/actions/extend"
        before = (await api.get("/usage"))["usage"][0]["disk"]
        task = await api.post(extend, {"size": 2 * SIZE}, 202)
        assert (await ended(api, task["task_id"]))["status"] == "finished"
        shown = await api.get("/volumes/data")
        assert (shown["size"], shown["status"]) == (2 * SIZE, "in_use")
        assert (await api.get("/instances/web"))["volumes"][0]["size"] == 2 * SIZE
        assert (await api.get("/usage"))["usage"][0]["disk"] == before + SIZE
        assert (await api.post(extend, {"size": 2 * SIZE}, 200))["already"]
        refused = await api.post(extend, {"size": SIZE}, 422)
        assert refused["code"] == "invalid"
        assert refused["detail"] == "size is 1 GiB: it has 2 GiB, and never shrinks."
        task = await api.post(extend, {"size": 1 << 45}, 202)
        failed = await ended(api, task["task_id"])
        assert (failed["status"], failed["fault"]["code"]) == ("failed", "host-full")
        assert (await api.get("/volumes/data"))["size"] == 2 * SIZE
        assert (await api.post(extend, {"size": 1000}, 422))["code"] == "invalid"


async def test_of_fifty_volumes_at_once_a_pool_takes_those_that_it_has_room_for(tmp_path: Path) -> None:
    drivers = {"h1": SimulatedDriver()}
    async with whole(tmp_path, drivers) as api:
        pool = await api.post("/pools", {"name": "nfs", "path": "/srv/nfs", "ratio": 0.01})
        await api.agent.know_pools([PoolPlace(id=pool["id"], name="nfs", path="/srv/nfs")])
        async with asyncio.timeout(10.0):
            while (room := (await api.get("/pools/nfs"))["room"]) == 0:
                await api.world.log.wait(0.01)
        size = room // 49 // (1 << 20) << 20
        wanted = [{"name": f"v{number}", "size": size, "pool": "nfs"} for number in range(50)]
        made = await asyncio.gather(*(api.post("/volumes", each, 202) for each in wanted))
        tasks = [await ended(api, each["task_id"]) for each in made]
        assert sorted(each["status"] for each in tasks) == ["failed", *["finished"] * 49]
        (failed,) = [each for each in tasks if each["fault"]]
        assert failed["fault"]["code"] == "pool-full"
        assert (await api.get("/pools/nfs"))["claimed"] == 49 * size
