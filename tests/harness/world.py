"""All of GoStack in one process: the real engine, scheduler, timers and projector, on the twins in memory.

Time stands still unless it is moved, and nothing happens unless it is driven: step() gives every part what has come
for it once, settle() goes on until nothing moves, running() does so behind whatever else a test does.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from commands.engine import EngineRules
from commands.processor import Processor
from commands.rules import Rules
from commands.scheduler import SchedulerRules
from commands.timers import Timers
from domain import catalog
from domain.aggregates import CELL_KINDS
from domain.core.cells import DEFAULT_CELL
from domain.core.messages import (
    Command,
    Envelope,
    Event,
    Key,
    Record,
    Topic,
    from_record,
    to_record,
)
from domain.host.messages import RegisterHost
from domain.scheduling.table import Ratios
from domain.zone import CreateZone
from infra.db.memory import MemoryWriteStore
from infra.log.log import Reader
from infra.log.memory import MemoryLog
from infra.secrets.memory import MemorySecrets
from infra.secrets.segments import MemorySegments
from projections.projector import Projector
from projections.store.memory import MemoryStore
from tests.harness.agents import TestAgents, host_key, registration

START = datetime(2026, 1, 1, tzinfo=UTC)
TICK = timedelta(milliseconds=1)
"""What passes each time somebody asks for the time, so that no two things happen at once."""
MOST = 500
STEPS = 10_000
"""After so many, what does not come to rest never will."""


@dataclass
class Part:
    """Somebody who reads the log."""

    name: str
    reader: Reader
    take: Callable[[Sequence[Record]], Awaitable[object]]


class World:
    """The parts, and what they stand on."""

    def __init__(self) -> None:
        assert catalog.MESSAGES
        self.now = START
        self.log = MemoryLog(clock=lambda: self.now)
        self.store = MemoryStore()
        self.secrets = MemorySecrets()
        self.segments = MemorySegments()
        self.engine_write_store = MemoryWriteStore(lambda: self.now)
        self.scheduler_write_store = MemoryWriteStore(lambda: self.now)
        self.agents = TestAgents(self.clock)
        self.timers = Timers(self.engine_write_store, self.log, self.clock, inbox_keep=86400.0)
        self.stopped: set[str] = set()
        """Names of parts that do nothing: engine, scheduler, projector, agents."""
        self.processors: dict[str, Processor] = {}
        """Engine and scheduler."""
        self._parts: dict[str, Part] = {}
        self._stepping = asyncio.Lock()

    def clock(self) -> datetime:
        """The world's time; it passes a little by being asked for."""
        self.now += TICK
        return self.now

    async def move_to(self, log: MemoryLog) -> None:
        """Every process is stopped, and started again on another log. Raises LogBehind."""
        self.log = log
        self._parts.clear()
        self.timers = Timers(self.engine_write_store, log, self.clock, inbox_keep=86400.0)
        await self.start()

    async def start(self) -> None:
        """Every part begins where it left off: at the log's beginning in a new world."""
        partitions = await self.log.partitions(Topic.JOBS)
        await self._start_processor("engine", EngineRules(), self.engine_write_store, (Topic.COMMANDS, Topic.RESULTS))
        rules = SchedulerRules(Ratios(), partitions)
        await self._start_processor("scheduler", rules, self.scheduler_write_store, (Topic.SCHEDULING,))
        await self._start_projector()
        if "agents" not in self._parts:
            await self._start_agents()

    async def _start_processor(
        self, name: str, rules: Rules, write_store: MemoryWriteStore, topics: tuple[Topic, ...]
    ) -> None:
        processor = Processor(rules, write_store, self.log, topics, self.clock)
        self.processors[name] = processor
        positions = await processor.assigned(list(await self.log.bounds(topics)))
        self._parts[name] = Part(name, await self.log.reader(positions), processor.step)

    async def _start_projector(self) -> None:
        projector = Projector(self.log, self.store)
        positions = await self.store.positions(list(await self.log.bounds([Topic.EVENTS, Topic.DEAD])))
        # Projector.run() does this before it reads; here reading is driven from outside.
        projector._positions = dict(positions)
        await projector.serve()
        self._parts["projector"] = Part("projector", await self.log.reader(positions), projector.apply)

    async def _start_agents(self) -> None:
        async def take(records: Sequence[Record]) -> None:
            await self.log.publish(self.agents.answer(records))

        positions = {each: end for each, (_, end) in (await self.log.bounds([Topic.JOBS])).items()}
        self._parts["agents"] = Part("agents", await self.log.reader(positions), take)

    async def step(self) -> int:
        """Give every part what has come for it; how many records that were."""
        moved = 0
        async with self._stepping:
            for part in self._parts.values():
                if part.name in self.stopped:
                    continue
                records = await part.reader.fetch(MOST, 0)
                if records:
                    await part.take(records)
                    moved += len(records)
        return moved

    async def settle(self) -> None:
        """Until nothing moves any more."""
        for _ in range(STEPS):
            if not await self.step():
                return
        raise AssertionError("the world does not come to rest")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The world goes on by itself, behind what the block does. An error in it is raised at the end."""

        async def run() -> None:
            while True:
                if not await self.step():
                    await self.log.wait(0.005)

        task = asyncio.create_task(run())
        try:
            yield
        finally:
            if not task.done():
                task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass

    async def pass_time(self, seconds: float) -> None:
        """Let time pass; what is due is told, and everything that follows happens."""
        self.now += timedelta(seconds=seconds)
        await self.timers.look()
        await self.settle()

    async def answer_late(self) -> None:
        """The silent hosts answer after all, and everything that follows happens."""
        await self.log.publish(self.agents.late())
        await self.settle()

    async def host(self, name: str = "h1", **rest: Any) -> str:
        """Register a host; its id."""
        await self.send(host_key(name), registration(name, **rest))
        return host_key(name).id

    async def send(self, subject: Key, data: Command, **about: Any) -> dict[str, Any]:
        """Send a command and let everything follow that follows; the verdict's document.

        `about` are members of the envelope: actor, project, reason, if_match, id.
        """
        command_id = about.pop("id", None) or str(uuid.uuid4())
        envelope = Envelope(
            id=command_id,
            data=data,
            subject=subject,
            time=self.clock(),
            source="test",
            correlation=about.pop("correlation", command_id),
            **{"actor": "admin", "project": "admin", **about},
        )
        if subject.kind in CELL_KINDS:
            await self.log.publish([to_record(envelope, Topic.SCHEDULING, key=await self._cell(subject, data))])
        else:
            await self.log.publish([to_record(envelope, Topic.COMMANDS)])
        await self.settle()
        return await self.document("verdicts", command_id)

    async def _cell(self, subject: Key, data: Command) -> str:
        if isinstance(data, RegisterHost | CreateZone):
            return data.cell
        found = await self.store.get(f"{subject.kind}s", subject.id)
        return str(orjson.loads(found.doc)["cell"]) if found else DEFAULT_CELL

    async def document(self, view: str, ident: str) -> dict[str, Any]:
        """A document of a read model; raises KeyError where there is none."""
        found = await self.store.get(view, ident)
        if found is None:
            raise KeyError(f"{view} {ident}")
        doc: dict[str, Any] = orjson.loads(found.doc)
        return doc

    def events(self, subject: Key | None = None) -> list[Event]:
        """Facts on the log: an aggregate's, in order; or all."""
        found = [from_record(record) for record in self.log.all(Topic.EVENTS) if not record.filler]
        return [each.data for each in found if subject in (None, each.subject) and isinstance(each.data, Event)]
