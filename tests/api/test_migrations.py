"""Migrations through the API: asked for by a host's name, listed, and shown."""

import pytest

from tests.api.api import Api


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


async def test_a_host_that_nobody_knows_is_refused(api: Api) -> None:
    await api.booted("web")
    refused = await api.post("/instances/web/actions/migrate", {"host": "nowhere"}, 404)
    assert refused["code"] == "not-found"
