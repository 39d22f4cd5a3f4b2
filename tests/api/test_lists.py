"""What all lists share: pages, fields, and the wait for what was done before."""

import asyncio
import uuid

import pytest

from api.resource import RESOURCES
from tests.api.api import DESCRIBED, Api

VIEWS = sorted(RESOURCES)


async def _zones(api: Api, count: int) -> list[str]:
    for number in range(count):
        await api.post("/zones", {"name": f"z{number}"})
    return [f"z{number}" for number in reversed(range(count))]


async def test_pages_follow_the_marker(empty: Api) -> None:
    names = await _zones(empty, 5)
    first = await empty.get("/zones", limit=2)
    assert [zone["name"] for zone in first["zones"]] == names[:2]
    second = await empty.get("/zones", limit=2, marker=first["next"])
    third = await empty.get("/zones", limit=2, marker=second["next"])
    assert [zone["name"] for page in (second, third) for zone in page["zones"]] == names[2:]
    assert third["next"] is None


async def test_skip_and_limits(empty: Api) -> None:
    names = await _zones(empty, 3)
    assert [zone["name"] for zone in (await empty.get("/zones", skip=1))["zones"]] == names[1:]
    for params in ({"limit": 0}, {"limit": 1001}, {"skip": -1}, {"skip": 10001}):
        assert (await empty.get("/zones", 422, **params))["code"] == "invalid"


async def test_an_unknown_marker_is_refused(empty: Api) -> None:
    refused = await empty.get("/zones", 422, marker=str(uuid.uuid4()))
    assert (refused["code"], refused["values"]["field"]) == ("invalid", "marker")


async def test_only_some_fields(empty: Api) -> None:
    await _zones(empty, 1)
    assert (await empty.get("/zones", fields="name,version"))["zones"] == [{"name": "z0", "version": 1}]
    assert await empty.get("/zones/z0", fields="name") == {"name": "z0"}
    refused = await empty.get("/zones", 422, fields="name,colour")
    assert "colour" in refused["detail"]
    assert "description" in refused["detail"]


async def make_as_described(api: Api, view: str) -> None:
    """Make one of a kind that is made by its fields alone, as the description shows it."""
    operation = DESCRIBED["paths"][f"/v1/{view}"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]["examples"][0]
    await api.post(f"/{view}", body, 201 if "201" in operation["responses"] else 202)
    await api.world.settle()


@pytest.mark.parametrize("view", VIEWS)
async def test_every_list_and_every_document_is_as_described(api: Api, view: str) -> None:
    await api.post("/keypairs", {"name": "laptop"})
    await api.post("/webhooks", {"name": "hook", "url": "https://example.com/"})
    await api.booted("web")
    api.floating()
    await api.post("/floating-ips", {})
    if view == "volume-snapshots":
        await make_as_described(api, "volumes")
    kind = RESOURCES[view].kind
    if kind is not None and kind.create is not None and not (await api.get(f"/{view}"))[view]:
        await make_as_described(api, view)
    await api.world.host("h2")
    await api.post("/instances/web/actions/migrate", {}, 202)
    await api.world.settle()
    page = await api.get(f"/{view}")
    assert set(page) == {view, "next"}
    for doc in page[view]:
        RESOURCES[view].document.model_validate(doc)
        assert set(doc) == set(RESOURCES[view].document.model_fields)
        assert await api.get(f"/{view}/{doc['id']}") == doc
    assert page[view]


@pytest.mark.parametrize("view", VIEWS)
async def test_what_is_not_there_is_404_and_what_is_not_known_is_422(empty: Api, view: str) -> None:
    assert (await empty.get(f"/{view}/{uuid.uuid4()}", 404))["code"] == "not-found"
    assert (await empty.get(f"/{view}/nothing", 404))["code"] == "not-found"
    assert (await empty.get(f"/{view}", 422, nonsense=1))["errors"][0]["field"] == "nonsense"


async def test_a_read_after_waits_for_the_projection(api: Api) -> None:
    api.world.stopped.add("projector")
    given = await api.boot("web")
    await api.get(f"/instances/{given['id']}", 404)

    async def later() -> None:
        await asyncio.sleep(0.1)
        api.world.stopped.clear()

    waking = asyncio.create_task(later())
    assert (await api.get(f"/instances/{given['id']}", after=given["task_id"]))["name"] == "web"
    await waking


async def test_a_read_after_gives_up_with_504(api: Api) -> None:
    api.world.stopped.add("projector")
    given = await api.boot("web")
    paths = ("/instances", f"/instances/{given['id']}", "/events", "/tasks", "/zones")
    for refused in await asyncio.gather(*(api.get(path, 504, after=given["command_id"]) for path in paths)):
        assert refused["code"] == "not-applied-yet"


@pytest.mark.parametrize(
    ("view", "by"),
    [
        *(("instances", by) for by in ("host_id", "image_id", "flavor_ids")),
        *(("ports", by) for by in ("network", "instance")),
        *(("jobs", by) for by in ("host", "instance")),
        ("tasks", "instance"),
        *(("migrations", by) for by in ("host", "instance")),
    ],
)
async def test_a_name_that_nobody_has_is_told_apart_from_an_empty_page(api: Api, view: str, by: str) -> None:
    assert (await api.get(f"/{view}", 404, **{by: "nobody"}))["code"] == "not-found"
