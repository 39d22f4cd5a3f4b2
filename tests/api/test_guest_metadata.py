"""What a guest is told follows its record, and is kept where it is told from, whatever is done with the instance."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.drivers.driver import Secrets
from agent.drivers.simulated.driver import SimulatedDriver
from agent.drivers.simulated.guest import kept_form
from tests.api.api import Api
from tests.harness.whole import PATIENCE, ended, whole

PASSWORD, USER_DATA = "pass-of-a-test", "#!/bin/sh\necho hello\n"
VERBS = {
    "hard-reboot": ((), ("hard-reboot",)),
    "start": (("stop",), ("start",)),
    "resume": (("suspend",), ("resume",)),
    "rescue": ((), ("rescue",)),
    "unrescue": (("rescue",), ("unrescue",)),
    "rebuild": ((), ("rebuild",)),
    "rebuild-stopped": (("stop",), ("rebuild", "start")),
    "migrate": ((), ("migrate", "migrate-confirm")),
    "migrate-stopped": (("stop",), ("migrate", "migrate-confirm", "start")),
    "migrate-revert": (("migrate",), ("migrate-revert",)),
    "restore": (("delete",), ("restore",)),
    "hostname": ((), ("hostname",)),
    "attach-interface": ((), ("attach-interface",)),
    "detach-interface": (("attach-interface",), ("detach-interface",)),
}
"""What is tried -> the verbs before the record changes, and those after."""
BODIES = {
    "hostname": {"hostname": "renamed"},
    "attach-interface": {"port": "second"},
    "detach-interface": {"port": "second"},
}


@pytest.mark.parametrize("config_drive", [True, False])
@pytest.mark.parametrize(("before", "after"), VERBS.values(), ids=VERBS)
async def test_a_guest_is_told_what_its_record_says_after_every_verb(
    tmp_path: Path, config_drive: bool, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    drivers = {"h1": SimulatedDriver(), "h2": SimulatedDriver()}
    async with whole(tmp_path, drivers) as api:
        ident = await booted(api, config_drive)
        await api.post("/ports", {"network": "lan", "name": "second"})

        async def do(verb: str) -> None:
            began = await api.post(f"/instances/{ident}/actions/{verb}", BODIES.get(verb), 202)
            task = await ended(api, began["task_id"])
            assert (verb, task["status"], task["fault"]) == (verb, "finished", None)

        for verb in before:
            await do(verb)
        await api.patch(f"/instances/{ident}", {"name": "other", "metadata": {"role": "db"}})
        shown = await api.get(f"/instances/{ident}")
        async with asyncio.timeout(PATIENCE):
            while await at_its_host(api, drivers, ident) != told(shown):
                await api.world.log.wait(0.01)
        for verb in after:
            await do(verb)
        shown = await api.get(f"/instances/{ident}")
        assert await at_its_host(api, drivers, ident) == told(shown)
        gone = await api.delete(f"/instances/{ident}?hard=true", 202)
        assert (await ended(api, gone["task_id"]))["status"] == "finished"
        assert [await driver.told(ident) for driver in drivers.values()] == [None, None]


async def booted(api: Api, config_drive: bool) -> str:
    """The id of an instance that runs, whose secrets nobody but its host has."""
    body = {"name": "web", "flavor": "small", "image": "tiny", "password": PASSWORD, "user_data": USER_DATA}
    given = await api.post("/instances", {**body, "config_drive": config_drive}, 202)
    assert (await ended(api, given["task_id"]))["status"] == "finished"
    async with asyncio.timeout(PATIENCE):
        while await api.world.secrets.held(datetime.now(UTC) + timedelta(hours=1), 10):
            await api.world.log.wait(0.01)
    return str(given["id"])


def told(shown: dict[str, Any]) -> dict[str, Any]:
    """What the guest of this document is told."""
    own = {name: shown[name] for name in ("name", "hostname", "metadata")}
    macs = [nic["mac"] for nic in shown["nics"]]
    secrets = kept_form(Secrets(PASSWORD, USER_DATA.encode()))
    return {**secrets, "public_key": "", "macs": macs, **own}


async def at_its_host(api: Api, drivers: dict[str, SimulatedDriver], ident: str) -> dict[str, Any]:
    """What the host that the instance is on tells it."""
    host = (await api.get(f"/instances/{ident}"))["host"]["name"]
    return drivers[host]._guests[ident].told
