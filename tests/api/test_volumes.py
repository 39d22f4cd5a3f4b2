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

        async def act(verb: str, **more: bool) -> dict[str, Any]:
            task = await api.post(f"/instances/web/actions/{verb}-volume", {"volume_id": "data", **more}, 202)
            return await ended(api, task["task_id"])

        assert (await act("attach"))["status"] == "finished"
        shown = await api.get("/instances/web")
        assert shown["volumes"] == [{"id": made["id"], "name": "data", "size": SIZE, "read_only": False}]
        assert driver.serials(booted["id"]) == [made["id"].replace("-", "")[:20]]
        assert [each["name"] for each in (await api.get("/volumes", instance_id="web"))["volumes"]] == ["data"]
        assert (await api.delete("/volumes/data", 409))["code"] == "in-use"

        driver.clinging.add(booted["id"])
        failed = await act("detach")
        assert (failed["status"], failed["fault"]["code"]) == ("failed", "volume-not-released")
        assert (await api.get("/volumes/data"))["status"] == "in_use"
        assert (await act("detach", force=True))["status"] == "finished"
        assert (await api.get("/instances/web"))["volumes"] == []
        assert (await act("attach", read_only=True))["status"] == "finished"
        shown = await api.get("/instances/web")
        assert (shown["status"], shown["volumes"][0]["read_only"]) == ("active", True)
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


async def test_a_volume_is_made_of_an_image_and_copied_and_says_of_what(tmp_path: Path) -> None:
    driver = SimulatedDriver()
    async with whole(tmp_path, {"h1": driver}) as api:
        image = await api.get("/images/tiny")

        async def made(status: str = "finished", **body: Any) -> dict[str, Any]:
            answer = await api.post("/volumes", body, 202)
            task = await ended(api, answer["task_id"])
            assert task["status"] == status, task
            shown: dict[str, Any] = await api.get(f"/volumes/{answer['id']}")
            return shown

        root = await made(name="root", image="tiny")
        size = max(image["virtual_size"], image["min_disk"], 1 << 20)
        assert (root["status"], root["size"]) == ("available", -(-size // 512) * 512)
        assert (root["source"]["kind"], root["source"]["id"]) == ("image", image["id"])
        assert root["image"]["checksum"] == image["checksum"]
        copy = await made(name="copy", volume="root", size=2 * SIZE)
        assert (copy["source"]["kind"], copy["source"]["name"], copy["size"]) == ("volume", "root", 2 * SIZE)
        assert copy["image"] == root["image"]
        assert (await api.get("/volumes/root"))["copies"] == []
        for body, field in (
            ({"image": "tiny", "volume": "root"}, "volume"),
            ({}, "size"),
            ({"volume": "copy", "size": SIZE}, "size"),
        ):
            refused = await api.post("/volumes", {"name": "x", **body}, 422)
            assert (refused["code"], refused["values"]["field"]) == ("invalid", field)
        assert (await api.post("/volumes", {"name": "x", "image": "none"}, 404))["code"] == "not-found"


async def test_an_instance_boots_from_a_volume_and_leaves_it_as_it_is(tmp_path: Path) -> None:
    drivers = {name: SimulatedDriver() for name in ("h1", "h2")}
    async with whole(tmp_path, drivers) as api:

        async def done(answer: dict[str, Any]) -> str:
            task = await ended(api, answer["task_id"])
            return str(task["fault"]["code"] if task["fault"] else task["status"])

        made = await api.post("/volumes", {"name": "root", "image": "tiny", "host": "h2"}, 202)
        assert await done(made) == "finished"
        assert await done(await api.post("/volumes", {"name": "empty", "size": SIZE, "host": "h2"}, 202)) == "finished"
        body = {"name": "web", "flavor": "small", "volume": "root"}
        refused = await api.post("/instances", {**body, "host": "h1"}, 422)
        assert refused["values"]["field"] == "host"
        refused = await api.post("/instances", {**body, "volume": "empty"}, 422)
        assert "this one began empty" in refused["detail"]
        booted = await api.post("/instances", body, 202)
        assert await done(booted) == "finished"
        shown = await api.get("/instances/web")
        assert (shown["status"], shown["host"]["name"], shown["disk"]) == ("active", "h2", 0)
        assert (shown["root_volume_id"], [each["id"] for each in shown["volumes"]]) == (made["id"], [made["id"]])
        assert drivers["h2"].serials(booted["id"]) == [made["id"].replace("-", "")[:20]]
        refused = await api.post("/instances", {**body, "name": "second"}, 409)
        assert (refused["code"], refused["detail"][:21]) == ("in-use", "Volume root is in use")
        for verb, given in (
            ("detach-volume", {"volume_id": "root"}),
            ("rebuild", {}),
            ("migrate", {}),
            ("create-instance-image", {"name": "x"}),
        ):
            code = "in-use" if verb == "detach-volume" else "root-is-volume"
            assert (await api.post(f"/instances/web/actions/{verb}", given, 409))["code"] == code
        assert await done(await api.post("/instances/web/actions/hard-delete", {}, 202)) == "finished"
        assert drivers["h2"].kept() == []
        assert (await api.get("/volumes/root"))["status"] == "available"
        assert await done(await api.post("/instances", {**body, "name": "second"}, 202)) == "finished"


async def test_a_volume_is_made_for_the_instances_of_a_boot_and_goes_with_them(tmp_path: Path) -> None:
    driver = SimulatedDriver()
    async with whole(tmp_path, {"h1": driver}) as api:
        body = {"name": "web", "flavor": "small", "image": "tiny", "dest_type": "volume", "volume_size": 1}
        booted = await api.post("/instances", {**body, "count": 2, "delete_on_termination": True}, 202)
        for each in booted["instances"]:
            await ended(api, each["task_id"])
        shown = [await api.get(f"/instances/web-{number}") for number in (1, 2)]
        assert [each["status"] for each in shown] == ["active", "active"]
        volumes = (await api.get("/volumes"))["volumes"]
        assert {each["id"] for each in volumes} == {each["root_volume_id"] for each in shown}
        assert {(each["name"], each["size"], each["status"]) for each in volumes} == {
            ("web-1", SIZE, "in_use"),
            ("web-2", SIZE, "in_use"),
        }
        for number in (1, 2):
            gone = await api.post(f"/instances/web-{number}/actions/hard-delete", {}, 202)
            assert (await ended(api, gone["task_id"]))["status"] == "finished"
        async with asyncio.timeout(10.0):
            while (await api.get("/volumes"))["volumes"]:
                await api.world.log.wait(0.01)
        assert (await api.get("/usage"))["usage"] == []


async def test_a_snapshot_is_made_listed_booted_from_and_deleted(tmp_path: Path) -> None:
    async with whole(tmp_path, {"h1": SimulatedDriver(), "h2": SimulatedDriver()}) as api:

        async def done(answer: dict[str, Any]) -> str:
            task = await ended(api, answer["task_id"])
            return str(task["fault"]["code"] if task["fault"] else task["status"])

        wanted = {"name": "root", "image": "tiny", "host": "h2"}
        assert await done(await api.post("/volumes", wanted, 202)) == "finished"
        made = await api.post("/volume-snapshots", {"name": "before", "volume": "root"}, 202)
        assert await done(made) == "finished"
        (shown,) = (await api.get("/volume-snapshots", volume="root", status="available"))["volume-snapshots"]
        volume = await api.get("/volumes/root")
        assert (shown["name"], shown["volume_name"], shown["host"]["name"]) == ("before", "root", "h2")
        assert (shown["size"], shown["image"]) == (volume["size"], volume["image"])
        assert volume["snapshots"] == [made["id"]]
        assert (await api.get("/usage"))["usage"][0]["disk"] == 2 * volume["size"]
        refused = await api.delete("/volumes/root", 409)
        assert (refused["code"], made["id"] in refused["detail"]) == ("in-use", True)
        assert await done(await api.post("/volumes", {"name": "copy", "snapshot": "before"}, 202)) == "finished"
        assert (await api.get("/volumes/copy"))["source"]["kind"] == "volume-snapshot"
        body = {"name": "web", "flavor": "small", "snapshot": "before", "volume_size": 2}
        assert await done(await api.post("/instances", body, 202)) == "finished"
        web = await api.get("/instances/web")
        root = await api.get(f"/volumes/{web['root_volume_id']}")
        assert (web["host"]["name"], root["name"], root["size"]) == ("h2", "web", 2 * SIZE)
        assert root["source"]["name"] == "before"
        refused = await api.post("/volume-snapshots", {"name": "x", "volume": root["id"]}, 409)
        assert refused["code"] == "in-use"
        renamed = await api.patch("/volume-snapshots/before", {"name": "after"})
        assert renamed["name"] == "after"
        assert await done(await api.delete("/volume-snapshots/after", 202)) == "finished"
        assert await done(await api.delete("/volumes/root", 202)) == "finished"
        assert (await api.post("/volume-snapshots", {"name": "x", "volume": "root"}, 404))["code"] == "not-found"


async def test_a_root_volume_in_a_pool_is_booted_from_where_that_is_reached(tmp_path: Path) -> None:
    shared: dict[str, int] = {}
    drivers = {name: SimulatedDriver(shared=shared) for name in ("h1", "h2")}
    async with whole(tmp_path, drivers) as api:

        async def done(answer: dict[str, Any]) -> str:
            task = await ended(api, answer["task_id"])
            return str(task["fault"]["code"] if task["fault"] else task["status"])

        pool = await api.post("/pools", {"name": "nfs", "path": "/srv/nfs"})
        body = {"name": "web", "flavor": "small", "image": "tiny", "dest_type": "volume", "pool": "nfs"}
        assert (await api.post("/instances", body, 409))["code"] == "pool-not-reached"
        await api.agent.know_pools([PoolPlace(id=pool["id"], name="nfs", path="/srv/nfs")])
        async with asyncio.timeout(10.0):
            while len((await api.get("/pools/nfs"))["hosts"]) < len(drivers):
                await api.world.log.wait(0.01)
        assert await done(await api.post("/instances", {**body, "volume_size": 1}, 202)) == "finished"
        root = (await api.get("/instances/web"))["root_volume_id"]
        assert shared == {root: SIZE}
        shown = await api.get("/pools/nfs")
        assert shown["claimed"] == SIZE
        assert await done(await api.post("/instances/web/actions/hard-delete", {}, 202)) == "finished"
        second = {"name": "second", "flavor": "small", "volume": root, "host": "h2"}
        assert await done(await api.post("/instances", second, 202)) == "finished"
        web = await api.get("/instances/second")
        assert (web["host"]["name"], web["root_volume_id"], web["status"]) == ("h2", root, "active")
        assert drivers["h2"].serials(web["id"]) == [root.replace("-", "")[:20]]
