"""Flavors, images, keypairs and zones through the API."""

import asyncio
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from api.writes import ssh_keys
from domain.core.messages import named_id
from tests.api.api import GIB, MIB, Api

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGHc1mFmOwH8jzVX6YuYhWmcIhCkLKfVhyCpxwpVrWvI me@here"


async def test_a_flavors_life(empty: Api) -> None:
    answer = await empty.http.post("/v1/flavors", json={"name": "small", "core": 1, "memory": GIB})
    flavor = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/flavors/{flavor['id']}"
    assert answer.headers["ETag"] == '"1"'
    assert flavor["id"] == named_id("flavor", "small")
    assert (await empty.patch("/flavors/small", {"core": 2}))["core"] == 2
    assert (await empty.post("/flavors/small/extra", {"extra": {"a": "1", "b": "2"}}, 200))["extra"] == {
        "a": "1",
        "b": "2",
    }
    assert (await empty.delete("/flavors/small/extra?keys=a,c"))["extra"] == {"b": "2"}
    assert (await empty.delete("/flavors/small/extra?keys=a"))["already"] is True
    assert (await empty.delete("/flavors/small"))["deleted"]
    assert (await empty.get("/flavors"))["flavors"] == []
    assert (await empty.delete("/flavors/small", 404))["code"] == "not-found"
    again = await empty.post("/flavors", {"name": "small", "core": 3, "memory": GIB})
    assert (again["id"] != flavor["id"], again["core"], again["version"]) == (True, 3, 1)
    assert (await empty.get("/flavors/small"))["id"] == again["id"]


async def test_a_flavors_name_is_its_own(empty: Api) -> None:
    await empty.post("/flavors", {"name": "a", "core": 1, "memory": GIB})
    await empty.post("/flavors", {"name": "b", "core": 1, "memory": GIB})
    assert (await empty.post("/flavors", {"name": "a", "core": 1, "memory": GIB}, 409))["code"] == "already-exists"
    assert (await empty.patch("/flavors/b", {"name": "a"}, 409))["code"] == "already-exists"
    assert (await empty.patch("/flavors/b", {"name": "c"}))["name"] == "c"
    reborn = await empty.post("/flavors", {"name": "b", "core": 1, "memory": GIB})
    assert reborn["name"] == "b"
    assert reborn["id"] != (await empty.get("/flavors/c"))["id"]
    assert (await empty.post("/flavors", {"name": "c", "core": 1, "memory": GIB}, 409))["code"] == "already-exists"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"core": 0}, "core"),
        ({"core": 257}, "core"),
        ({"memory": 8 * MIB}, "memory"),
        ({"memory": GIB + 1}, "memory"),
        ({"memory": (16 << 40) + MIB}, "memory"),
        ({"multi_queue": -1}, "multi_queue"),
        ({"multi_queue": 257}, "multi_queue"),
        ({"name": ""}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"policy": "shared"}, "policy"),
        ({"mode": "Strict"}, "mode"),
        ({"extra": {"k": "v" * 256}}, "extra.k"),
        ({"disk": 5}, "disk"),
    ],
)
async def test_a_flavors_limits(empty: Api, change: dict[str, object], field: str) -> None:
    body = {"name": "small", "core": 1, "memory": GIB} | change
    refused = await empty.post("/flavors", body, 422)
    assert (refused["code"], refused["errors"][0]["field"]) == ("invalid", field)


async def test_flavors_that_can_be_live_resized(empty: Api) -> None:
    for name in "abcd":
        extra = {"hw:support_live_resize": "True"} if name in "ac" else {}
        await empty.post("/flavors", {"name": name, "core": 1, "memory": GIB, "extra": extra})
    able = await empty.get("/flavors", live_resize=True, fields="name")
    assert able == {"flavors": [{"name": "c"}, {"name": "a"}], "next": None}
    first = await empty.get("/flavors", live_resize=True, limit=1)
    assert [each["name"] for each in first["flavors"]] == ["c"]
    second = await empty.get("/flavors", live_resize=True, limit=1, marker=first["next"])
    assert [each["name"] for each in second["flavors"]] == ["a"]
    assert second["next"] is None
    assert [each["name"] for each in (await empty.get("/flavors", live_resize=False))["flavors"]] == ["d", "b"]


async def test_a_keypair_from_a_public_key(empty: Api) -> None:
    keypair = await empty.post("/keypairs", {"name": "me", "public_key": KEY + "\n"})
    assert keypair["public_key"] == KEY
    assert "private_key" not in keypair
    assert keypair["id"] == named_id("keypair", "admin", "me")
    assert (await empty.post("/keypairs", {"name": "me", "public_key": KEY}, 409))["code"] == "already-exists"
    other = await empty.post("/keypairs", {"name": "me", "public_key": KEY}, X_GoStack_Project="shop")
    assert other["project_id"] == "shop"
    assert (await empty.get("/keypairs/me"))["id"] == keypair["id"]
    assert (await empty.delete("/keypairs/me"))["deleted"]
    await empty.delete("/keypairs/me", 404)
    assert [each["id"] for each in (await empty.get("/keypairs"))["keypairs"]] == [other["id"]]


@pytest.mark.parametrize("wrong", ["", "hello", "ssh-ed25519 AAAA", KEY + "\n" + KEY, KEY.replace("ed25519", "rsa")])
async def test_what_is_no_public_key(empty: Api, wrong: str) -> None:
    refused = await empty.post("/keypairs", {"name": "me", "public_key": wrong}, 422)
    assert (refused["code"], refused["values"]["field"]) == ("invalid", "public_key")


async def test_a_keypair_that_is_made_tells_its_private_key_in_its_own_answer(empty: Api) -> None:
    made = await empty.post("/keypairs", {"name": "me"}, Idempotency_Key="k")
    private = load_ssh_private_key(made["private_key"].encode(), None)
    assert private.public_key()
    assert "PRIVATE" not in (await empty.http.get("/v1/keypairs/me")).text
    assert await empty.post("/keypairs", {"name": "me"}, Idempotency_Key="k") == made
    assert "private_key" not in await empty.post("/keypairs", {"name": "me"}, 409, Idempotency_Key="other")


async def test_a_keypair_whose_verdict_did_not_come_in_time_has_one_private_key(empty: Api) -> None:
    empty.world.stopped.add("engine")
    first, second = [await empty.post("/keypairs", {"name": "me"}, 202, Idempotency_Key="k") for _ in range(2)]
    assert first["private_key"] == second["private_key"]
    empty.world.stopped.clear()
    await empty.world.settle()
    public = (await empty.get("/keypairs/me"))["public_key"]
    assert ssh_keys.public_key_of(first["private_key"], "me") == public


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen here to compare with")
def test_fingerprints_are_as_ssh_keygen_prints_them(tmp_path: Path) -> None:
    file = tmp_path / "key.pub"
    public = ssh_keys.public_key_of(ssh_keys.new_private_key(), "me")
    file.write_text(public)
    said = subprocess.run(["ssh-keygen", "-lf", str(file)], capture_output=True, text=True, check=True).stdout
    assert ssh_keys.fingerprint(public) in said


CREATED_AGAIN = {
    "flavors": {"name": "small", "core": 1, "memory": GIB},
    "keypairs": {"name": "small", "public_key": KEY},
    "zones": {"name": "small"},
}


@pytest.mark.parametrize(("kind", "body"), CREATED_AGAIN.items())
async def test_what_is_made_under_a_name_that_is_free_again_is_another_thing(
    empty: Api, kind: str, body: dict[str, Any]
) -> None:
    ids = []
    for number in range(3):
        made = await empty.post(f"/{kind}", body, Idempotency_Key=f"k{number}")
        ids.append(made["id"])
        assert made["version"] == 1
        assert (await empty.get(f"/{kind}/small"))["id"] == made["id"]
        assert (await empty.post(f"/{kind}", body, 409))["code"] == "already-exists"
        assert (await empty.post(f"/{kind}", body, Idempotency_Key=f"k{number}"))["id"] == made["id"]
        assert (await empty.delete(f"/{kind}/small"))["id"] == made["id"]
        assert (await empty.post(f"/{kind}", body, Idempotency_Key=f"k{number}"))["id"] == made["id"]
        await empty.get(f"/{kind}/small", 404)
    assert len(set(ids)) == 3
    gone = (await empty.get(f"/{kind}", name="small", deleted=True))[kind]
    assert [each["id"] for each in gone] == ids[::-1]


@pytest.mark.parametrize(("kind", "body"), CREATED_AGAIN.items())
async def test_of_two_requests_for_a_name_that_is_free_again_one_is_refused(
    empty: Api, kind: str, body: dict[str, Any]
) -> None:
    await empty.post(f"/{kind}", body)
    await empty.delete(f"/{kind}/small")
    answers = await asyncio.gather(*(empty.http.post(f"/v1/{kind}", json=body) for _ in range(3)))
    assert sorted(each.status_code for each in answers) == [201, 409, 409]


async def test_two_flavors_made_at_once_under_the_first_name_of_another_are_not_both_made(empty: Api) -> None:
    await empty.post("/flavors", CREATED_AGAIN["flavors"])
    await empty.patch("/flavors/small", {"name": "renamed"})
    body = CREATED_AGAIN["flavors"]
    answers = await asyncio.gather(*(empty.http.post("/v1/flavors", json=body) for _ in range(2)))
    assert sorted(each.status_code for each in answers) == [201, 409]


async def test_instances_of_a_flavor_are_not_those_of_another_that_has_its_name(api: Api) -> None:
    await api.booted("old")
    await api.delete("/flavors/small")
    await api.post("/flavors", {"name": "small", "core": 1, "memory": 512 * MIB})
    await api.booted("new")
    named = (await api.get("/instances", flavor_ids="small"))["instances"]
    assert [each["name"] for each in named] == ["new"]


async def test_zones_and_their_hosts(empty: Api) -> None:
    await empty.world.host("h1")
    zone = await empty.post("/zones", {"name": "east", "description": "the east wing"})
    assert zone["id"] == named_id("zone", "east")
    assert (await empty.post("/zones", {"name": "east"}, 409))["code"] == "already-exists"
    assert (await empty.post("/zones/east/hosts", {"host": "h1"}, 200))["zone"] == "east"
    assert (await empty.post("/zones/east/hosts", {"host": "h1"}, 200))["already"] is True
    refused = await empty.delete("/zones/east", 409)
    assert (refused["code"], "h1" in refused["detail"]) == ("in-use", True)
    assert (await empty.delete("/zones/east/hosts/h1"))["zone"] == "default"
    assert (await empty.delete("/zones/east/hosts/h1", 404))["code"] == "not-found"
    assert (await empty.delete("/zones/default/hosts/h1", 422))["code"] == "invalid"
    assert (await empty.post("/zones/west/hosts", {"host": "h1"}, 404))["values"]["kind"] == "zone"
    assert (await empty.post("/zones/east/hosts", {"host": "h9"}, 404))["values"]["kind"] == "host"
    await empty.world.host("h5", zone="far", cell="far")
    assert (await empty.get("/hosts/h5"))["cell"] == "far"
    assert [each["name"] for each in (await empty.get("/hosts", cell="far"))["hosts"]] == ["h5"]
    assert (await empty.post("/hosts/h5/actions/disable", {}, 200))["status"] == "disabled"
    assert (await empty.post("/zones/east/hosts", {"host": "h5"}, 409))["code"] == "other-cell"
    assert (await empty.post("/zones", {"name": "farther", "cell": "far"}))["cell"] == "far"
    assert (await empty.post("/zones/farther/hosts", {"host": "h5"}, 200))["zone"] == "farther"
    assert (await empty.delete("/zones/farther", 409))["code"] == "in-use"
    assert (await empty.delete("/zones/far"))["deleted"]
    assert (await empty.post("/zones", {"name": "far"}, 409))["code"] == "other-cell"
    assert (await empty.delete("/zones/farther/hosts/h5", 409))["code"] == "other-cell"
    assert (await empty.delete("/zones/east"))["deleted"]
    assert (await empty.delete("/zones/east", 404))["code"] == "not-found"
    assert [each["name"] for each in (await empty.get("/zones"))["zones"]] == ["farther", "default"]


async def test_hosts_are_disabled_with_a_reason_and_enabled(empty: Api) -> None:
    host_id = await empty.world.host("h1")
    disabled = await empty.post("/hosts/h1/actions/disable", {"reason": "its fan"}, 200)
    assert (disabled["id"], disabled["status"], disabled["why_disabled"]) == (host_id, "disabled", "its fan")
    assert [each["name"] for each in (await empty.get("/hosts", status="disabled"))["hosts"]] == ["h1"]
    assert (await empty.get("/hosts", status="enabled"))["hosts"] == []
    assert (await empty.get("/hosts", health="up,suspect", zone="default", name="h1"))["hosts"] == [disabled]
    assert (await empty.post("/hosts/h1/actions/enable", status=200))["status"] == "enabled"
    assert (await empty.post("/hosts/h1/actions/enable", status=200))["already"] is True
    gone = await empty.post(f"/hosts/{named_id('host', 'h9')}/actions/enable", status=404)
    assert gone["code"] == "host-gone"
