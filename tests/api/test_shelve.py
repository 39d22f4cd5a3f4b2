"""Shelving over the API: what an instance shows meanwhile, when its host is freed, what is kept of it for how long."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.hosts.agent_api import create_internal_app
from api.serve import collect_images
from tests.api.api import TOKEN, Api, serving

DISK = "0" * 64
"""Checksum of what the hosts of the world upload."""


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as made:
        for name in ("h1", "h2"):
            await made.world.host(name)
        await made.furnish()
        yield made


async def act(api: Api, verb: str, body: dict[str, Any] | None = None, name: str = "web") -> dict[str, Any]:
    task = await api.post(f"/instances/{name}/actions/{verb}", body or {}, 202)
    assert (await api.ended(task["task_id"]))["status"] == "finished"
    shown: dict[str, Any] = await api.get(f"/instances/{name}")
    return shown


def wait(api: Api, seconds: float) -> None:
    """Have a host kept for a shelved instance for so long."""
    settings = api.services.settings
    instances = settings.instances.model_copy(update={"offload_after": seconds})
    object.__setattr__(settings, "instances", instances)


async def test_a_shelved_instance_keeps_its_host_for_the_time_of_the_setting(api: Api) -> None:
    wait(api, 600)
    booted = await api.booted("web")
    shown = await act(api, "shelve")
    assert (shown["status"], shown["power"], shown["host"]) == ("shelved", "shutdown", booted["host"])
    assert shown["disk_image"] == {"checksum": DISK, "format": "qcow2", "size": 1 << 20, "virtual_size": 1 << 26}
    assert shown["offload_at"] is not None
    assert (await api.get("/images"))["images"] == [await api.get("/images/tiny")], "it is nobody else's image"
    await api.world.pass_time(598)
    assert (await api.get("/instances/web"))["status"] == "shelved"
    await api.world.pass_time(3)
    await api.world.settle()
    shown = await api.get("/instances/web")
    assert (shown["status"], shown["host"], shown["offload_at"]) == ("shelved_offloaded", None, None)
    assert (shown["addresses"], shown["metadata"]) == (booted["addresses"], booted["metadata"])
    (used,) = (await api.get("/usage"))["usage"]
    assert (used["instances"], used["vcpus"], used["memory"], used["disk"]) == (1, 0, 0, 0)
    (port,) = (await api.get("/ports"))["ports"]
    assert (port["instance_id"], port["host_id"]) == (booted["id"], "")

    shown = await act(api, "unshelve")
    assert (shown["status"], shown["power"], shown["disk_image"]) == ("active", "running", None)
    assert shown["addresses"] == booted["addresses"]


async def test_its_host_is_freed_on_request_and_it_comes_back_on_another(api: Api) -> None:
    wait(api, 600)
    booted = await api.booted("web")
    await act(api, "shelve")
    refused = await api.post("/instances/web/actions/stop", {}, 409)
    assert refused["code"] == "wrong-status"
    shown = await act(api, "shelve", {"offload": True})
    assert (shown["status"], shown["host"]) == ("shelved_offloaded", None)
    assert (await api.post("/instances/web/actions/shelve", {}, 200))["already"]
    other = "h2" if booted["host"]["name"] == "h1" else "h1"
    shown = await act(api, "unshelve", {"host": other})
    assert (shown["status"], shown["host"]["name"]) == ("active", other)
    assert (await api.post("/instances/web/actions/unshelve", {}, 409))["code"] == "wrong-status"


async def test_the_bytes_of_its_disk_are_kept_until_nothing_needs_them(api: Api) -> None:
    (api.store / DISK).write_bytes(b"disk")
    await api.booted("web")
    await act(api, "shelve", {"offload": True})
    assert DISK not in [each.checksum for each in await collect_images(api.services)]
    task = await api.delete("/instances/web", 202)
    await api.ended(task["task_id"])
    assert DISK not in [each.checksum for each in await collect_images(api.services)]
    await api.world.pass_time(api.services.settings.instances.purge_after + 1)
    api.world.now += timedelta(days=2)
    assert DISK in [each.checksum for each in await collect_images(api.services)]


async def test_a_host_takes_a_disk_out_of_the_store_unless_another_instance_is_kept_as_the_same_bytes(api: Api) -> None:
    for name in ("web", "other"):
        await api.booted(name)
        await act(api, "shelve", name=name)
    shelved = await api.get("/instances/web")
    task = "00000000-0000-0000-0000-000000000001"
    note = api.store / "uploads" / f"{task}.task"
    note.parent.mkdir(exist_ok=True)
    transport = httpx.ASGITransport(create_internal_app(api.services, TOKEN))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as host:

        async def taken_out(instance_id: str) -> bool:
            (api.store / DISK).write_bytes(b"disk")
            note.write_text(DISK)
            answer = await host.delete(f"/internal/v1/images/uploads/{task}", params={"instance_id": instance_id})
            assert answer.status_code == 204
            assert not note.exists()
            return not (api.store / DISK).exists()

        assert not await taken_out(shelved["id"])
        await act(api, "unshelve", name="other")
        assert not await taken_out("")
        assert await taken_out(shelved["id"])
