"""Clones over the API: what a request may leave out, what is refused, and what is told of the new instances."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.api import Api, serving


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as made:
        for name in ("h1", "h2"):
            await made.world.host(name)
        await made.furnish()
        yield made


async def cloned(api: Api, **body: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    told = await api.post("/instances/web/actions/clone", body, 202)
    assert (await api.ended(told["task_id"]))["status"] == "finished"
    await api.world.settle()
    return told, [await api.get(f"/instances/{each['id']}") for each in told["clones"]]


async def test_a_clone_has_what_the_request_leaves_out_as_the_instance_has_it(api: Api) -> None:
    web = await api.booted("web", volume_size=2)
    told, (clone,) = await cloned(api)
    assert (clone["name"], clone["status"], clone["disk_image"]) == ("web-clone", "active", None)
    for field in ("flavor", "image"):
        assert clone[field] == web[field]
    assert clone["nics"][0]["network_id"] == web["nics"][0]["network_id"]
    assert clone["addresses"] != web["addresses"]
    assert told["admin_password"]
    assert (await api.get("/instances/web"))["status"] == "active"


async def test_the_request_says_how_clones_differ(api: Api) -> None:
    await api.booted("web")
    await api.post("/flavors", {"name": "big", "core": 2, "memory": 1 << 30})
    body = {"name": "copy", "count": 2, "flavor": "big", "metadata": {"role": "db"}, "password": "geheim", "host": "h2"}
    told, clones = await cloned(api, **body)
    assert [each["name"] for each in clones] == ["copy-1", "copy-2"]
    assert {(each["flavor"]["name"], each["host"]["name"], each["hostname"]) for each in clones} == {
        ("big", "h2", "copy-1"),
        ("big", "h2", "copy-2"),
    }
    assert [each["metadata"] for each in clones] == [{"role": "db"}] * 2
    assert "admin_password" not in told


async def test_what_cannot_be_is_refused_before_anything(api: Api) -> None:
    await api.booted("web", volume_size=2)
    for body, status, code in (
        ({"instance_snapshot_id": "s"}, 422, "not-supported-yet"),
        ({"group": "g"}, 422, "not-supported-yet"),
        ({"flavor": "none"}, 404, "not-found"),
        ({"volume_size": 1}, 422, "invalid"),
        ({"count": 0}, 422, "invalid"),
        ({"metadata": {"": "empty"}}, 422, "invalid"),
        ({"image": "tiny"}, 422, "invalid"),
    ):
        refused = await api.post("/instances/web/actions/clone", body, status)
        assert refused["code"] == code, body
    assert (await api.post("/instances/nobody/actions/clone", {}, 404))["code"] == "not-found"
    assert len((await api.get("/instances"))["instances"]) == 1


async def test_the_same_request_again_is_the_same_clones(api: Api) -> None:
    await api.booted("web")
    headers = {"Idempotency-Key": "once"}
    first = await api.post("/instances/web/actions/clone", {}, 202, **headers)
    await api.world.settle()
    again = await api.post("/instances/web/actions/clone", {}, 202, **headers)
    assert (again["clones"], again["admin_password"]) == (first["clones"], first["admin_password"])
    assert len((await api.get("/instances"))["instances"]) == 2
