"""One agent before the real scheduler and engine, which can be restarted."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agent.drivers.driver import Driver
from agent.runner.journal import Journal
from agent.runner.runner import HostIdentity
from agent.service import AgentOptions, AgentService
from domain.core.cells import DEFAULT_CELL
from domain.core.messages import Key, Message, Topic, from_record, named_id
from domain.network.messages import CreateNetwork
from domain.tasks.messages import JobsAnswered
from tests.agent.bench import (
    NOTHING,
    PATIENCE,
    Hypervisor,
    ident,
)
from tests.domain.instances import NETWORK, boot_command
from tests.harness.world import World

INSTANCE = Key("instance", ident(1))
NO_HOST = HostIdentity(id=ident(66), name="stranger", epoch=1, partition=0)
OPTIONS = AgentOptions(
    cell=DEFAULT_CELL, zone="z1", endpoint="http://agent", parallel=4, heartbeat=0.01, reconcile=0.01
)


class Site:
    """A world without hosts but those of one agent, which can be restarted."""

    def __init__(self, path: Path, names: tuple[str, ...] = ("h1",)) -> None:
        self.path = path
        self.world = World()
        self.drivers = {name: Hypervisor() for name in names}
        self.service = self.agent()

    def agent(self, drivers: Mapping[str, Driver] | None = None, options: AgentOptions = OPTIONS) -> AgentService:
        """A new process."""
        journal = Journal(self.path / "journal.db")
        return AgentService(self.world.log, journal, drivers or self.drivers, NOTHING, self.world.clock, options)

    def host(self, name: str = "h1") -> HostIdentity:
        """Who a host is now."""
        return self.service.runners[named_id("host", name)].host

    def said(self, topic: Topic, kind: type[Message]) -> list[Any]:
        found = [from_record(record).data for record in self.world.log.all(topic)]
        return [each for each in found if isinstance(each, kind)]

    def answers(self, dispatch_id: str = "") -> list[JobsAnswered]:
        """What agents answered; schedulers and networks do not say which host they are."""
        found = self.said(Topic.RESULTS, JobsAnswered)
        return [each for each in found if each.host_id and dispatch_id in ("", each.dispatch_id)]

    async def until(self, holds: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():
                await self.world.log.wait(0.005)

    async def instance(self, status: str) -> dict[str, Any]:
        """Wait until the instance has this status and no task."""
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(KeyError):
                    doc = await self.world.document("instances", INSTANCE.id)
                    if doc["status"] == status and doc["task"] is None:
                        return doc
                await self.world.log.wait(0.005)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[AgentService]:
        """The agent runs meanwhile; it ends as a killed process does, without a word."""
        await self.service.start()
        running = asyncio.create_task(self.service.run())
        try:
            yield self.service
            assert not running.done(), running.exception()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            for runner in self.service.runners.values():
                for task in runner._tasks:
                    task.cancel()
                await asyncio.gather(*runner._tasks, return_exceptions=True)
            await self.service.close()


@asynccontextmanager
async def running(site: Site) -> AsyncIterator[None]:
    """Engine, scheduler and projector run; the only agents are the site's."""
    await site.world.start()
    site.world.stopped = {"agents"}
    async with site.world.running():
        yield


async def boot(site: Site) -> None:
    """Have an instance running."""
    await site.world.send(Key("network", NETWORK), CreateNetwork(name="lan", cidr="10.0.0.0/24", segment=1))
    await site.world.send(INSTANCE, boot_command())
    await site.instance("active")
