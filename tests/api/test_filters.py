"""A filter that cannot match is refused, whichever list it narrows: a misspelt word is no empty list."""

from typing import Any

import pytest

from api.resource import RESOURCES
from projections.views.table import VIEWS
from tests.api.api import Api


@pytest.mark.parametrize(
    ("path", "by", "given", "told"),
    [
        ("/instances", "status", "actve", "active"),
        ("/instances", "vm_state", "nope", "soft_deleted"),
        ("/tasks", "status", "nope", "running"),
        ("/tasks", "action", "nope", "boot"),
        ("/jobs", "status", "nope", "dispatched"),
        ("/jobs", "name", "CreateDsk", "CreateDisk"),
        ("/migrations", "status", "nope", "finished"),
        ("/volumes", "status", "nope", "available"),
        ("/hosts", "status", "nope", "enabled"),
        ("/hosts", "health", "nope", "suspect"),
        ("/webhooks", "status", "nope", "disabled"),
        ("/parked", "kind", "instanc", "instance"),
        ("/events/dead", "kind", "nope", "instance"),
        ("/events/dead", "status", "nope", "retried"),
        ("/events", "type", "nonsense", "instance.*"),
        ("/events", "type", "instance.creatd", "instance.created"),
        ("/events", "type", "nonsense.*", "instance.*"),
        ("/events", "subject", "instnce/5", "instance"),
        ("/events/stream", "type", "nonsense", "webhook.*"),
        ("/events/export", "subject", "nope/5", "instance"),
        ("/instances", "deleted", "maybe", "also"),
        ("/instances", "ip", "nonsense", "10.0.0.5"),
        ("/ports", "ip", "10.0.0", "10.0.0.5"),
        ("/instances", "create_date", "yesterday", "FROM,TO"),
        ("/instances", "update_date", "999999999999,", "seconds"),
        ("/instances", "create_date", "now,1w", "beginning"),
        ("/instances", "sort", "colour", "created"),
        ("/flavors", "sort", "memory", "name"),
        ("/instances", "at", "0001-01-01T00:00:00Z", "1970"),
        ("/events", "since", "0001-01-01T00:00:00Z", "1970"),
        ("/events/stream", "until", "9999-12-31T23:59:59Z", "9999"),
    ],
)
async def test_what_there_is_not_is_refused_with_what_there_is(
    api: Api, path: str, by: str, given: str, told: str
) -> None:
    refused = await api.get(path, 422, **{by: given})
    assert told in refused["detail"]
    assert by in str((refused.get("errors"), refused["values"], refused["detail"]))


@pytest.mark.parametrize(
    ("path", "by"),
    [
        ("/instances", "zone"),
        ("/instances", "host_name"),
        ("/instances", "key_name"),
        ("/hosts", "zone"),
        ("/hosts", "cell"),
        ("/volumes", "host_id"),
        ("/volumes", "instance_id"),
    ],
)
async def test_a_name_that_nothing_has_is_refused(api: Api, path: str, by: str) -> None:
    assert (await api.get(path, 404, **{by: "nope"}))["code"] == "not-found"


async def test_case_does_not_matter(api: Api) -> None:
    await api.booted("web")
    for path, query in (
        ("/instances", {"status": "ACTIVE,Stopped"}),
        ("/tasks", {"action": "BOOT", "status": "Finished"}),
        ("/jobs", {"name": "createdisk"}),
        ("/hosts", {"status": "ENABLED", "health": "Up"}),
        ("/events", {"type": "Instance.Created"}),
        ("/instances", {"fields": "NAME"}),
        ("/instances", {"deleted": "NO"}),
    ):
        page = await api.get(path, **query)
        assert page[path.strip("/")], (path, query)


async def test_names_of_what_there_is_or_was_narrow(api: Api) -> None:
    await api.post("/keypairs", {"name": "laptop"})
    await api.booted("web", key_name="laptop")
    await api.delete("/keypairs/laptop")
    for query in ({"key_name": "laptop"}, {"host_name": "h1"}, {"ip": "10.0.0.2"}, {"create_date": "1h,now"}):
        (found,) = (await api.get("/instances", **query))["instances"]
        assert found["name"] == "web"
    zone = (await api.get("/hosts"))["hosts"][0]["zone"]
    assert (await api.get("/hosts", zone=zone, cell="default"))["hosts"]
    assert (await api.get("/instances", zone=zone))["instances"] == []


async def test_one_that_is_alike_is_named(api: Api) -> None:
    await api.booted("webserver")
    for refused in (
        await api.get("/instances/webservr", 404),
        await api.get("/tasks", 404, instance="WebServer1"),
        await api.post("/instances/webserve/actions/stop", {}, 404),
    ):
        assert refused["hint"] == "Did you mean webserver?"


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ("name,nics.0.ip", {"name": "web", "nics.0.ip": "10.0.0.2"}),
        ("NAME,Flavor.Name", {"name": "web", "flavor.name": "small"}),
        ("metadata.colour,volumes.0.id", {"metadata.colour": None, "volumes.0.id": None}),
        ("task.action", {"task.action": None}),
    ],
)
async def test_parts_of_fields_are_fields(api: Api, fields: str, shown: dict[str, Any]) -> None:
    await api.booted("web")
    assert await api.get("/instances/web", fields=fields) == shown
    assert (await api.get("/instances", fields=fields))["instances"] == [shown]
    assert (await api.get("/instances", fields=fields, at="now"))["instances"] == [shown]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ("nosuch", "hostname"),
        ("flavor.nam", "did you mean name"),
        ("nics.ip", "nics.0"),
        ("nics.0.nosuch", "mac"),
        ("name.first", "no parts"),
    ],
)
async def test_parts_that_there_are_not_are_refused(api: Api, fields: str, told: str) -> None:
    await api.booted("web")
    for path in ("/instances", "/instances/web"):
        refused = await api.get(path, 422, fields=fields)
        assert (refused["values"]["field"], told in refused["detail"]) == ("fields", True), refused


async def test_events_are_shown_by_their_fields(api: Api) -> None:
    await api.booted("web")
    (event,) = (await api.get("/events", type="instance.created", fields="Type,data.name,place.offset"))["events"]
    assert list(event) == ["type", "data.name", "place.offset"]
    assert event["data.name"] == "web"
    ident = (await api.get("/events", limit=1))["events"][0]["id"]
    assert await api.get(f"/events/{ident}", fields="id") == {"id": ident}
    for path in ("/events", "/events/stream", f"/events/{ident}"):
        assert "correlation_id" in (await api.get(path, 422, fields="nosuch"))["detail"]


@pytest.mark.parametrize("view", sorted(view for view in RESOURCES if VIEWS[view].column("name") and view != "jobs"))
async def test_every_kind_is_found_by_the_beginning_of_its_name(api: Api, view: str) -> None:
    await api.post("/keypairs", {"name": "web-key"})
    await api.post("/webhooks", {"name": "web-hook", "url": "https://example.com/"})
    await api.post("/ports", {"network": "lan", "name": "web-port"})
    await api.post("/security-groups", {"name": "web-rules"})
    api.floating()
    await api.post("/floating-ips", {})
    await api.booted("web-1")
    await api.post("/pools", {"name": "web-pool", "path": "/srv/web"})
    await api.post("/volumes", {"name": "web-data", "size": 1 << 30}, 202)
    await api.world.settle()
    await api.post("/volume-snapshots", {"name": "web-before", "volume": "web-data"}, 202)
    await api.world.settle()
    names = [each["name"] for each in (await api.get(f"/{view}"))[view] if each["name"]]
    assert names
    pattern = f"{names[0][:2]}*"
    assert names[0] in [each["name"] for each in (await api.get(f"/{view}", name=pattern))[view]]
    assert names[0] in [each["name"] for each in (await api.get(f"/{view}", name=f"*{names[0][-1]}"))[view]]
    assert (await api.get(f"/{view}", name="nothing*"))[view] == []
    assert (await api.get(f"/{view}", name="[a-z]*"))[view] == []


@pytest.mark.parametrize(
    ("sort", "names"), [("name", "abc"), ("-name", "cba"), ("created", "bca"), ("-created", "acb")]
)
async def test_lists_are_sorted_and_paged_in_that_order(empty: Api, sort: str, names: str) -> None:
    for name in ("b", "c", "a"):
        await empty.post("/zones", {"name": name})
    found, marker = "", None
    for _ in names:
        page = await empty.get("/zones", sort=sort, limit=1, **({"marker": marker} if marker else {}))
        found, marker = found + page["zones"][0]["name"], page["next"]
    assert (found, marker) == (names, None)
    assert "".join(each["name"] for each in (await empty.get("/zones", sort=sort.upper()))["zones"]) == names


async def test_what_is_the_same_keeps_its_order_over_pages(api: Api) -> None:
    for number in range(5):
        await api.boot(f"web-{number}")
    await api.world.settle()
    for sort in ("status", "-status"):
        found, marker = [], None
        while True:
            page = await api.get("/instances", sort=sort, limit=2, **({"marker": marker} if marker else {}))
            found += [each["name"] for each in page["instances"]]
            if (marker := page["next"]) is None:
                break
        assert found == [f"web-{number}" for number in (range(5) if sort == "-status" else reversed(range(5)))]


async def test_a_list_at_a_moment_is_not_sorted(api: Api) -> None:
    assert "newest" in (await api.get("/instances", 422, at="now", sort="name"))["detail"]


async def test_seconds_since_1970_are_a_range_as_before(api: Api) -> None:
    created = await api.booted("web")
    assert created["created"]
    assert (await api.get("/instances", create_date="0,"))["instances"]
    assert (await api.get("/instances", create_date=",10"))["instances"] == []
    assert (await api.get("/instances", update_date="2025-01-01,2025-01-02T00:00:00"))["instances"] == []
