"""What is due is told, to whom it concerns, once; and again when it is still due long after."""

import asyncio
import contextlib
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from commands.engine import EngineRules
from commands.processor import Processor
from commands.timers import EVERY_SECONDS, MOST, REPEAT_SECONDS, Timers
from domain.core.messages import Envelope, Key, Record, Topic, from_record, to_record
from domain.instance.state import Instance
from domain.tasks.events import DeadlinePassed
from infra.db.memory import MemoryWriteStore
from infra.db.write_store import AggregateWrite, Due, WriteStoreUnavailable
from infra.log.log import LogUnavailable
from infra.log.memory import MemoryLog
from tests.domain.instances import boot_command

START = datetime(2026, 1, 1, tzinfo=UTC)
KEEP = 3600.0
ONE, TWO = (Key("instance", str(uuid.UUID(int=number))) for number in (1, 2))


class Desk:
    """Timers with a clock that is moved by hand."""

    def __init__(self, write_store: MemoryWriteStore | None = None, log: MemoryLog | None = None) -> None:
        self.now = START
        self.write_store = write_store or MemoryWriteStore(lambda: self.now)
        self.log = log or MemoryLog()
        self.timers = Timers(self.write_store, self.log, lambda: self.now, KEEP)

    async def due(self, key: Key, seconds: float, due_id: str = str(uuid.UUID(int=9))) -> None:
        """Store an aggregate for which something is due so many seconds after the start."""
        before = (await self.write_store.all(key.kind)).get(key)
        version = before.version if before else 0
        async with self.write_store.step() as step:
            await step.open([], [], [])
            due_at = START + timedelta(seconds=seconds)
            await step.close([AggregateWrite(key, version, version + 1, b"{}", due_at, due_id)], [], [], [])

    def after(self, seconds: float) -> "Desk":
        self.now = START + timedelta(seconds=seconds)
        return self

    def told(self) -> list[Envelope]:
        return [from_record(record) for record in self.log.all(Topic.COMMANDS)]


async def test_what_is_not_due_is_not_told() -> None:
    desk = Desk()
    await desk.due(ONE, 10)
    assert await desk.after(9.9).timers.look() == 0
    assert desk.told() == []


async def test_what_is_due_is_told_to_whom_it_concerns() -> None:
    desk = Desk()
    await desk.due(ONE, 10)
    assert await desk.after(10).timers.look() == 1
    (command,) = desk.told()
    assert command.subject == ONE
    assert command.data == DeadlinePassed(due_id=str(uuid.UUID(int=9)))
    assert (command.time, command.actor, command.source) == (desk.now, "system", "gostack/timers")
    assert desk.log.all(Topic.COMMANDS)[0].key == ONE.id.encode(), "it is read by who reads the instance's commands"


async def test_looking_again_tells_it_under_the_same_id_so_that_it_is_done_once() -> None:
    desk = Desk()
    await desk.due(ONE, 10)
    await desk.after(10).timers.look()
    await desk.after(10 + REPEAT_SECONDS - 1).timers.look()
    twin = Desk(desk.write_store, desk.log)
    await twin.after(11).timers.look()
    assert len(desk.told()) == 3
    assert len({each.id for each in desk.told()}) == 1


async def test_what_is_still_due_long_after_is_told_anew() -> None:
    desk = Desk()
    await desk.due(ONE, 10)
    for turn in range(3):
        await desk.after(10 + REPEAT_SECONDS * turn).timers.look()
    assert len({each.id for each in desk.told()}) == 3


async def test_every_deadline_has_an_id_of_its_own() -> None:
    desk = Desk()
    await desk.due(ONE, 10)
    await desk.due(TWO, 10, str(uuid.UUID(int=10)))
    await desk.after(10).timers.look()
    await desk.due(ONE, 12)
    await desk.after(12).timers.look()
    assert len({each.id for each in desk.told()}) == 3


async def test_the_longest_due_come_first_and_no_more_at_once_than_a_step_takes() -> None:
    desk = Desk()
    for number in range(MOST + 5):
        await desk.due(Key("instance", str(uuid.UUID(int=number))), 1000 - number)
    assert await desk.after(2000).timers.look() == MOST
    first = str(uuid.UUID(int=MOST + 4))
    assert first in {each.subject.id for each in desk.told()}
    assert str(uuid.UUID(int=0)) not in {each.subject.id for each in desk.told()}


async def test_a_step_that_nobody_answers_is_given_up_in_the_end() -> None:
    """Timers and engine together: the task of a boot that no scheduler hears ends."""
    desk = Desk()
    engine = Processor(EngineRules(), desk.write_store, desk.log, (Topic.COMMANDS,), lambda: desk.now)
    partitions = list(await desk.log.bounds([Topic.COMMANDS]))
    positions = await engine.assigned(partitions)
    boot = Envelope(ONE.id, boot_command(), ONE, START, "test", "c")
    await desk.log.publish([to_record(boot, Topic.COMMANDS)])
    reader = await desk.log.reader(positions)
    for _ in range(20):
        await engine.step(await reader.fetch(100, 0))
        desk.now += timedelta(seconds=31)
        await desk.timers.look()
    row = (await desk.write_store.all("instance"))[ONE]
    instance = Instance.model_validate_json(row.state)
    assert instance.task is None
    assert instance.fault is not None
    assert instance.fault.code == "deadline-passed"
    assert await desk.write_store.due(desk.now, 10) == []


class FlakyWriteStore(MemoryWriteStore):
    """A database that is away for the first looks."""

    def __init__(self, away: int) -> None:
        super().__init__(lambda: START + timedelta(days=1))
        self.away = away
        self.pruned: list[tuple[datetime, timedelta]] = []
        self.was_pruned = asyncio.Event()

    async def due(self, now: datetime, most: int, sure: bool = False) -> list[Due]:
        assert sure
        self.away -= 1
        if self.away >= 0:
            raise WriteStoreUnavailable("away")
        return await super().due(now, most, sure)

    async def prune(self, now: datetime, keep: timedelta) -> int:
        self.pruned.append((now, keep))
        self.was_pruned.set()
        return await super().prune(now, keep)


class FlakyLog(MemoryLog):
    """A log that is away for the first publication."""

    away = True

    async def publish(self, records: Sequence[Record]) -> None:
        if self.away:
            self.away = False
            raise LogUnavailable("away")
        await super().publish(records)


async def test_timers_wait_for_what_is_away_and_forget_what_was_done_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.timers.EVERY_SECONDS", EVERY_SECONDS / 500)
    monkeypatch.setattr("commands.timers.PRUNE_SECONDS", -1.0)
    write_store = FlakyWriteStore(away=2)
    desk = Desk(write_store, FlakyLog())
    await desk.due(ONE, 10)
    running = asyncio.create_task(desk.after(10).timers.run())
    try:
        async with asyncio.timeout(5):
            while not desk.told():
                await desk.log.wait(1)
            await write_store.was_pruned.wait()
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert write_store.pruned[0] == (desk.now, timedelta(seconds=KEEP))
