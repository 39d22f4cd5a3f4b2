"""What one answer promised is there for the next request, however far the read models are behind the log."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.api.api import GIB, READ_TIMEOUT, Api, serving

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGHc1mFmOwH8jzVX6YuYhWmcIhCkLKfVhyCpxwpVrWvI me@here"
FOR_EVER = 1e6


async def meanwhile(api: Api, request: Coroutine[Any, Any, Any]) -> Any:
    """The answer to a request that is made while the read models stand still, and waits until they go on."""
    waiting = asyncio.create_task(request)
    await asyncio.sleep(READ_TIMEOUT / 5)
    assert not waiting.done(), "it did not wait"
    api.world.stopped.clear()
    return await waiting


async def test_a_task_is_cancelled_right_after_it_was_promised(api: Api) -> None:
    api.world.agents.silent.add("PrepareImage")
    api.world.stopped.add("projector")
    given = await api.boot("web")
    await meanwhile(api, api.post(f"/tasks/{given['task_id']}/cancel", status=200))
    await api.world.answer_late()
    assert (await api.get(f"/tasks/{given['task_id']}"))["status"] == "cancelled"


PROMISED: tuple[tuple[str, dict[str, str]], ...] = (
    ("/tasks/{task_id}", {}),
    ("/tasks/{task_id}/history", {}),
    ("/tasks", {"correlation": "correlation_id"}),
    ("/jobs", {"task": "task_id"}),
    ("/instances/{id}", {}),
    ("/instances/web", {}),
)


@pytest.mark.parametrize(("path", "query"), PROMISED, ids=[path for path, _ in PROMISED])
async def test_what_was_promised_can_be_read_at_once(api: Api, path: str, query: dict[str, str]) -> None:
    api.world.agents.silent.add("PrepareImage")
    api.world.stopped.add("projector")
    given = await api.boot("web")
    read = await meanwhile(api, api.get(path.format(**given), **{name: given[of] for name, of in query.items()}))
    assert next(iter(read.values())), "a document's id, or a list"


@pytest.mark.parametrize("verb", ["stop", "hard-reboot", "pause"])
async def test_a_verb_right_after_a_boot_is_told_of_its_task(api: Api, verb: str) -> None:
    api.world.agents.silent.add("PrepareImage")
    api.world.stopped.add("projector")
    await api.boot("web")
    refused = await meanwhile(api, api.post(f"/instances/web/actions/{verb}", status=409))
    assert refused["code"] == "task-running"


MADE: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "network": ("/networks", {"name": "new", "cidr": "10.9.0.0/24"}, {"network": "new"}),
    "flavor": ("/flavors", {"name": "new", "core": 1, "memory": GIB}, {"flavor": "new", "network": "lan"}),
    "keypair": ("/keypairs", {"name": "new", "public_key": KEY}, {"key_name": "new", "network": "lan"}),
    "zone": ("/zones", {"name": "new"}, {"zone": "new", "network": "lan"}),
}


@pytest.mark.parametrize(("path", "body", "boot"), MADE.values(), ids=MADE)
async def test_a_boot_finds_a_name_that_was_made_a_moment_ago(
    api: Api, path: str, body: dict[str, Any], boot: dict[str, Any]
) -> None:
    api.world.stopped.add("projector")
    made = await api.post(path, body)
    given = await meanwhile(api, api.boot("web", **boot))
    await api.world.settle()
    web = await api.get(f"/instances/{given['id']}")
    assert made["id"] in (web["flavor"]["id"], web["nics"][0]["network_id"]) or "new" in (web["key_name"], web["zone"])


async def test_what_does_not_exist_is_refused_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path, read_timeout=FOR_EVER) as api:
        await api.furnish()
        for path in ("/tasks/00000000-0000-0000-0000-000000000001", "/instances/nobody", "/flavors/none"):
            assert (await api.get(path, 404))["code"] == "not-found"
        assert (await api.boot(status=404, network="nowhere"))["code"] == "not-found"
        assert (await api.delete("/keypairs/none", 404))["code"] == "not-found"


async def test_what_is_not_known_in_time_is_not_found(api: Api) -> None:
    api.world.stopped.add("projector")
    given = await api.boot("web")
    assert (await api.get(f"/tasks/{given['task_id']}", 404))["code"] == "not-found"
