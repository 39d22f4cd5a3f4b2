"""Names through the API: refused before anything is made, in words, and kept in one form."""

import unicodedata
from typing import Any

import pytest

from domain.core.messages import Topic
from tests.api.api import GIB, Api

UUID = "6f1c1b1e-0d5c-4f43-9a53-0b5a2f3d7c10"
BODIES: dict[str, dict[str, Any]] = {
    "flavors": {"core": 1, "memory": GIB},
    "keypairs": {},
    "networks": {"cidr": "10.1.0.0/24"},
    "ports": {"network": "lan"},
    "volumes": {"size": GIB},
    "webhooks": {"url": "http://127.0.0.1:9/"},
    "zones": {},
    "instances": {"flavor": "small", "image": "tiny"},
}


@pytest.mark.parametrize("name", [UUID, UUID.upper(), "   ", "a/b", "..", "a\u202eb", "a\u200b", "a\x9b", "x" * 256])
@pytest.mark.parametrize("view", [*BODIES, "images"])
async def test_a_name_that_no_thing_may_have(api: Api, view: str, name: str) -> None:
    image = await api.get("/images/tiny")
    body = {"name": name, **(BODIES.get(view) or {"checksum": image["checksum"]})}
    sent = len(api.world.log.all(Topic.COMMANDS))
    refused = await api.post(f"/{view}", body, 422)
    assert (refused["code"], refused["errors"][0]["field"]) == ("invalid", "name")
    assert "pattern" not in str(refused)
    assert len(api.world.log.all(Topic.COMMANDS)) == sent


@pytest.mark.parametrize("path", ["flavors/small", "networks/lan", "images/tiny", "ports/db", "instances/web"])
async def test_a_name_that_no_thing_is_given(api: Api, path: str) -> None:
    await api.post("/ports", {"network": "lan", "name": "db"})
    await api.booted("web")
    for name in (UUID, " ", "a/b", "a\u202eb"):
        refused = await api.patch(f"/{path}", {"name": name}, 422)
        assert refused["errors"][0]["field"] == "name"


async def test_an_image_of_an_instance_has_a_name_that_may_be(api: Api) -> None:
    await api.booted("web")
    refused = await api.post("/instances/web/actions/create-instance-image", {"name": UUID}, 422)
    assert refused["errors"][0]["field"] == "name"


async def test_a_name_is_kept_in_one_form(api: Api) -> None:
    typed = unicodedata.normalize("NFD", "Zürich")
    made = await api.post("/flavors", {"name": typed, "core": 1, "memory": GIB})
    assert made["name"] == unicodedata.normalize("NFC", typed)
    for name in (typed, made["name"]):
        assert (await api.get(f"/flavors/{name}"))["id"] == made["id"]
        assert (await api.post("/flavors", {"name": name, "core": 1, "memory": GIB}, 409))["code"] == "already-exists"
    zone = await api.post("/zones", {"name": typed})
    await api.post("/keypairs", {"name": typed})
    assert (await api.boot(zone=typed, key_name=typed))["task_id"]
    assert (await api.delete(f"/zones/{typed}"))["id"] == zone["id"]


@pytest.mark.parametrize(("count", "length", "status"), [(1, 255, 202), (2, 253, 202), (2, 254, 422), (10, 253, 422)])
async def test_several_instances_have_names_that_are_not_too_long(
    api: Api, count: int, length: int, status: int
) -> None:
    answer = await api.boot("x" * length, status, count=count)
    if status == 202:
        assert max(len(each["name"]) for each in answer["instances"]) <= 255
    else:
        assert answer["errors"][0]["field"] == "count"
        assert f"the name has {length + len(str(count)) + 1} characters" in answer["detail"]
        assert api.world.log.all(Topic.JOBS) == []


async def test_what_is_renamed(api: Api) -> None:
    network = await api.get("/networks/lan")
    changed = await api.patch("/networks/lan", {"name": "wan", "description": "outside"})
    assert (changed["id"], changed["name"], changed["description"]) == (network["id"], "wan", "outside")
    assert await api.get("/networks/wan") == changed
    port = await api.post("/ports", {"network": "wan", "name": "db"})
    assert port["network_name"] == "wan"
    assert (await api.patch("/ports/db", {"name": "cache"}))["name"] == "cache"
    assert (await api.get("/ports/cache"))["ip"] == port["ip"]
    assert (await api.patch("/ports/cache", {"name": "cache"}))["already"] is True
    assert (await api.patch(f"/ports/{port['id']}", {"name": ""}))["name"] == ""
    assert (await api.patch("/ports/none", {"name": "x"}, 404))["code"] == "not-found"
    image = await api.patch("/images/tiny", {"name": "small", "description": "d", "arch": "aarch64"})
    assert (image["name"], image["description"], image["arch"]) == ("small", "d", "aarch64")
    assert "small letters" in (await api.patch("/images/small", {"arch": "X"}, 422))["detail"]
    await api.post("/zones", {"name": "east"})
    zone = await api.patch("/zones/east", {"description": "the east wing"})
    assert (zone["name"], zone["description"]) == ("east", "the east wing")
    assert "no such field" in (await api.patch("/zones/east", {"name": "west"}, 422))["detail"]
    for path in ("networks/wan", "images/small", "zones/east"):
        types = [each["type"] for each in (await api.get(f"/{path}/history"))["events"]]
        assert any(each.startswith(f"gostack.{path.partition('s/')[0]}.updated.v") for each in types)
