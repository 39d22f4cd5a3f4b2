"""Migrations through the API: asked for by a host's name, listed, and shown."""

from pathlib import Path
from typing import Any

import pytest

from agent.drivers.simulated.driver import SimulatedDriver
from tests.api.api import Api
from tests.harness.whole import ended, whole


@pytest.fixture
async def migrated(api: Api) -> dict[str, str]:
    """The task of a migration from h1 to h2, of an instance web."""
    await api.booted("web")
    await api.world.host("h2")
    given: dict[str, str] = await api.post("/instances/web/actions/migrate", {"host": "h2"}, 202)
    await api.world.settle()
    return given


async def test_a_migration_goes_to_the_host_that_is_named(api: Api, migrated: dict[str, str]) -> None:
    shown = await api.get(f"/migrations/{migrated['task_id']}")
    assert (shown["type"], shown["status"]) == ("cold", "finished")
    assert (shown["source_name"], shown["destination_name"]) == ("h1", "h2")
    web = await api.get("/instances/web")
    assert (web["status"], web["host"]["name"], web["power"]) == ("resized", "h2", "running")
    await api.post("/instances/web/actions/migrate-confirm", {}, 202)
    await api.world.settle()
    assert (await api.get(f"/migrations/{migrated['task_id']}"))["status"] == "confirmed"
    web = await api.get("/instances/web")
    assert (web["status"], web["power"]) == ("active", "running")


async def test_migrations_are_listed_and_narrowed(api: Api, migrated: dict[str, str]) -> None:
    for params in (
        {},
        {"instance": "web", "status": "finished,failed"},
        {"host": "h1"},
        {"host": "h2", "project_id": "admin"},
    ):
        assert [each["id"] for each in (await api.get("/migrations", **params))["migrations"]] == [migrated["task_id"]]
    await api.world.host("h3")
    for params in ({"host": "h3"}, {"status": "failed"}, {"project_id": "other"}):
        assert (await api.get("/migrations", **params))["migrations"] == []


async def test_a_resize_is_a_migration_that_is_listed_by_its_type(tmp_path: Path) -> None:
    driver = SimulatedDriver()
    async with whole(tmp_path, {"h1": driver}) as api:
        booted = await api.post(
            "/instances", {"name": "web", "flavor": "small", "image": "tiny", "volume_size": 1}, 202
        )
        await ended(api, booted["task_id"])
        await api.post("/flavors", {"name": "big", "core": 2, "memory": 1 << 30})

        async def act(verb: str, body: dict[str, Any]) -> dict[str, Any]:
            task = await api.post(f"/instances/web/actions/{verb}", body, 202)
            assert (await ended(api, task["task_id"]))["status"] == "finished"
            shown: dict[str, Any] = await api.get("/instances/web")
            return shown

        web = await act("resize", {"flavor": "big", "disk": 2 << 30})
        assert (web["status"], web["power"]) == ("resized", "running")
        assert (web["flavor"]["name"], web["flavor"]["core"], web["disk"]) == ("big", 2, 2 << 30)
        assert driver.disk_size(booted["id"]) == 2 << 30
        (listed,) = (await api.get("/migrations", type="resize"))["migrations"]
        assert (listed["old_flavor"], listed["new_flavor"], listed["status"]) == ("small", "big", "finished")
        assert (listed["source_name"], listed["destination_name"], listed["confirm_at"]) == ("h1", "h1", None)
        assert (await api.get("/migrations", type="cold"))["migrations"] == []
        refused = await api.post("/instances/web/actions/stop", {}, 409)
        assert "gs instance resize-confirm web" in refused["hint"]

        web = await act("resize-revert", {})
        assert (web["status"], web["flavor"]["name"], web["disk"]) == ("active", "small", 1 << 30)
        assert driver.disk_size(booted["id"]) == 1 << 30
        assert (await api.get("/migrations", type="resize"))["migrations"][0]["status"] == "reverted"

        refused = await api.post("/instances/web/actions/resize", {"flavor": "small"}, 409)
        assert refused["code"] == "same-size"
        refused = await api.post("/instances/web/actions/resize", {"flavor": "big", "disk": 1 << 29}, 422)
        assert refused["detail"] == "disk is 512 MiB: the root disk has 1 GiB, and never shrinks."
        assert (await api.post("/instances/web/actions/resize", {"flavor": "none"}, 404))["code"] == "not-found"
        assert (await api.post("/instances/web/actions/resize", {}, 422))["code"] == "invalid"
        await act("resize", {"flavor": "big"})
        web = await act("resize-confirm", {})
        assert (web["status"], web["flavor"]["name"], web["disk"]) == ("active", "big", 1 << 30)
        held = (await api.get("/usage"))["usage"][0]
        assert (held["vcpus"], held["memory"]) == (2, 1 << 30)


async def test_a_resize_is_confirmed_by_itself_after_the_time_of_the_setting(api: Api) -> None:
    await api.booted("web")
    await api.post("/flavors", {"name": "big", "core": 2, "memory": 1 << 30})
    settings = api.services.settings
    instances = settings.instances.model_copy(update={"resize_confirm_after": 600.0})
    object.__setattr__(settings, "instances", instances)
    await api.post("/instances/web/actions/resize", {"flavor": "big"}, 202)
    await api.world.settle()
    (listed,) = (await api.get("/migrations"))["migrations"]
    assert (listed["status"], listed["confirm_at"] > listed["updated"]) == ("finished", True)
    await api.world.pass_time(599)
    assert (await api.get("/instances/web"))["status"] == "resized"
    await api.world.pass_time(2)
    await api.world.settle()
    web = await api.get("/instances/web")
    assert (web["status"], web["flavor"]["name"]) == ("active", "big")
    assert (await api.get("/migrations"))["migrations"][0]["status"] == "confirmed"


async def test_a_host_that_nobody_knows_is_refused(api: Api) -> None:
    await api.booted("web")
    refused = await api.post("/instances/web/actions/migrate", {"host": "nowhere"}, 404)
    assert refused["code"] == "not-found"
