"""What was deleted can be listed, is told apart from what never was, and what stands in the way is named."""

import pytest

from tests.api.api import Api


async def names(api: Api, view: str, **query: str) -> list[str]:
    return sorted(each["name"] for each in (await api.get(f"/{view}", **query))[view])


async def test_a_softly_deleted_instance_is_listed_by_its_status_and_by_deleted(api: Api) -> None:
    for name in ("old", "new"):
        await api.booted(name)
    await api.ended((await api.delete("/instances/old", 202))["task_id"])
    assert await names(api, "instances") == ["new"]
    assert await names(api, "instances", status="soft_deleted") == ["old"]
    assert await names(api, "instances", vm_state="Soft_Deleted") == ["old"]
    assert await names(api, "instances", status="active,soft_deleted") == ["new", "old"]
    assert await names(api, "instances", deleted="only") == await names(api, "instances", deleted="true") == ["old"]
    assert await names(api, "instances", deleted="also") == ["new", "old"]
    assert await names(api, "instances", deleted="no") == await names(api, "instances", deleted="false") == ["new"]
    assert await names(api, "instances", deleted="no", status="soft_deleted") == []
    assert await names(api, "instances", at="now", deleted="also") == ["new", "old"]
    assert await names(api, "instances", at="now", status="soft_deleted") == ["old"]


async def test_its_name_tells_when_it_was_deleted_and_how_it_comes_back(api: Api) -> None:
    web = await api.booted("web")
    await api.ended((await api.delete("/instances/web", 202))["task_id"])
    purged_at = (await api.get(f"/instances/{web['id']}"))["purge_at"]
    for refused in (
        await api.get("/instances/web", 404),
        await api.post("/instances/web/actions/start", {}, 404),
        await api.get("/tasks", 404, instance="web"),
    ):
        assert f"gs instance restore {web['id']}" in refused["hint"]
        assert "was deleted at 20" in refused["hint"]
        assert purged_at[:19] in refused["hint"]
    await api.ended((await api.post(f"/instances/{web['id']}/actions/restore", {}, 202))["task_id"])
    await api.ended((await api.delete("/instances/web?hard=true", 202))["task_id"])
    refused = await api.get("/instances/web", 404)
    assert "was deleted at" in refused["hint"]
    assert "restore" not in refused["hint"]


@pytest.mark.parametrize("view", ["flavors", "images", "networks", "keypairs", "zones", "webhooks"])
async def test_every_kind_lists_what_is_deleted_and_says_when(api: Api, view: str) -> None:
    await api.post("/flavors", {"name": "gone", "core": 1, "memory": 512 << 20})
    await api.image("gone")
    await api.post("/networks", {"name": "gone", "cidr": "10.9.0.0/24"})
    await api.post("/keypairs", {"name": "gone"})
    await api.post("/zones", {"name": "gone"})
    await api.post("/webhooks", {"name": "gone", "url": "https://example.com/"})
    gone = await api.get(f"/{view}/gone")
    await api.delete(f"/{view}/gone")
    assert "gone" not in await names(api, view)
    assert await names(api, view, deleted="only") == ["gone"]
    assert "gone" in await names(api, view, deleted="also")
    refused = await api.get(f"/{view}/gone", 404)
    assert f"{gone['id']} of this name was deleted at 20" in refused["hint"]
    again = await api.delete(f"/{view}/{gone['id']}", 404)
    assert "It was deleted at 20" in again["hint"]


async def test_a_boot_of_what_was_deleted_says_so(api: Api) -> None:
    await api.post("/keypairs", {"name": "laptop"})
    await api.delete("/keypairs/laptop")
    flavor = await api.get("/flavors/small")
    await api.delete("/flavors/small")
    for wanted in ({"flavor": "small"}, {"flavor": flavor["id"]}, {"key_name": "laptop"}):
        body = {"name": "web", "image": "tiny", "flavor": "small", **wanted}
        assert "was deleted at" in (await api.post("/instances", body, 404))["hint"]


async def test_what_uses_a_network_is_named(api: Api) -> None:
    booted = [await api.booted(f"web-{number}") for number in range(4)]
    await api.post("/ports", {"network": "lan", "name": "kept"})
    await api.ended((await api.delete("/instances/web-0", 202))["task_id"])
    refused = await api.delete("/networks/lan", 409)
    assert refused["code"] == "in-use"
    assert "5 ports: " in refused["detail"]
    assert f"instance {booted[0]['id']}" in refused["detail"]
    assert "and 2 more" in refused["detail"]
    assert "gs port list --network" in refused["hint"]


async def test_what_uses_a_zone_is_named(api: Api) -> None:
    await api.post("/zones", {"name": "east"})
    for number in range(2, 7):
        await api.world.host(f"h{number}")
        await api.post("/zones/east/hosts", {"host": f"h{number}"}, 200)
    refused = await api.delete("/zones/east", 409)
    assert "5 hosts: h2, h3, h4 and 2 more" in refused["detail"]
    assert refused["hint"] == "All of them: gs host list --zone east."


async def test_what_uses_a_port_is_named(api: Api) -> None:
    port = await api.post("/ports", {"network": "lan", "name": "own"})
    web = await api.booted("web", port="own")
    refused = await api.delete(f"/ports/{port['id']}", 409)
    assert web["id"] in refused["detail"]
    assert f"gs instance show {web['id']}" in refused["hint"]
