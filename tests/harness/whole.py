"""All of GoStack in one process, its agent too: the API, the write side, the projector, and an agent with simulated
hypervisors, on the twins in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agent.drivers.driver import Driver, DriverError, DriverFault, Secrets
from agent.drivers.simulated.driver import SimulatedDriver
from agent.jobs import Outside
from agent.outside.other_hosts import OtherHostsInMemory
from agent.runner.journal import Journal
from agent.service import AgentOptions, AgentService
from domain.core.cells import DEFAULT_CELL
from domain.core.messages import named_id
from domain.guest_spec import GuestSpec
from infra.secrets.memory import MemorySecrets
from tests.api.api import MIB, Api, serving

PATIENCE = 20.0
OPTIONS = AgentOptions(
    cell=DEFAULT_CELL, zone="default", endpoint="http://agent", parallel=4, heartbeat=3600.0, reconcile=3600.0
)


@asynccontextmanager
async def whole(directory: Path, drivers: Mapping[str, Driver] | None = None) -> AsyncIterator[Api]:
    """An API with a flavor `small`, an image `tiny`, a network `lan`, and hosts that really do their jobs."""
    async with serving(directory) as api:
        api.world.stopped.add("agents")
        journal = Journal(directory / "journal.db")
        drivers = drivers or {"h1": SimulatedDriver()}
        by_id = {named_id("host", name): driver for name, driver in drivers.items()}
        agent = AgentService(
            api.world.log,
            journal,
            drivers,
            Outside(secrets=secrets_from(api.world.secrets), other_hosts=OtherHostsInMemory(by_id)),
            api.world.clock,
            OPTIONS,
        )
        await agent.start()
        working = asyncio.create_task(agent.run())
        try:
            await api.post("/flavors", {"name": "small", "core": 1, "memory": 512 * MIB})
            await api.image("tiny")
            await api.post("/networks", {"name": "lan", "cidr": "10.0.0.0/24"})
            api.agent = agent
            yield api
            assert not working.done(), working.exception()
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await agent.close()


def secrets_from(kept: MemorySecrets) -> Callable[[GuestSpec], Any]:
    """What a guest is to be told, as long as it is kept."""

    async def value(ref: str) -> bytes:
        found = await kept.get_bytes(ref) if ref else b""
        if found is None:
            raise DriverError(DriverFault.SECRET_GONE, f"the secret {ref} was deleted")
        return found

    async def secrets(guest: GuestSpec) -> Secrets:
        return Secrets(password=(await value(guest.password_ref)).decode(), user_data=await value(guest.user_data_ref))

    return secrets


async def ended(api: Api, task_id: str) -> dict[str, Any]:
    """The task, once it has finished or failed."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await api.http.get(f"/v1/tasks/{task_id}")
            if answer.status_code == 200 and answer.json()["status"] not in ("running", "undoing"):
                found: dict[str, Any] = answer.json()
                return found
            await api.world.log.wait(0.005)
