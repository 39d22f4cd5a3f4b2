"""One worker of the write path with its log and write store, and what makes them fail."""

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from commands.engine import EngineRules
from commands.processor import Processor
from commands.rules import Rules
from commands.scheduler import SchedulerRules
from domain.core.messages import (
    Envelope,
    Key,
    Message,
    Outcome,
    Record,
    Topic,
    from_record,
    to_record,
)
from domain.flavor import CreateFlavor, Flavor, UpdateFlavor
from domain.tasks.events import CommandRefused
from infra.db.memory import MemoryTransaction, MemoryWriteStore
from infra.db.write_store import WriteStore
from infra.log.log import LogUnavailable, TopicPartition
from infra.log.memory import MemoryLog

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COUNT = 4
"""Partitions of every topic here."""
SMALL = CreateFlavor(name="small", core=1, memory=1 << 30)


class Crash(Exception):
    """The process ends here."""


class CrashingWriteStore(MemoryWriteStore):
    """A database whose client dies just before the commit it is told to die at."""

    def __init__(self) -> None:
        super().__init__()
        self.crash_in = 0
        self.forgets_what_is_sent = False

    @asynccontextmanager
    async def step(self) -> AsyncIterator[MemoryTransaction]:
        async with super().step() as step:
            yield step
            self.crash_in -= 1
            if self.crash_in == 0:
                raise Crash

    async def sent(self, numbers: Sequence[int]) -> None:
        if self.forgets_what_is_sent:
            raise Crash
        await super().sent(numbers)


class BreakingLog(MemoryLog):
    """A log that goes away, after so many records, and has an end of what it keeps."""

    def __init__(self) -> None:
        super().__init__({str(topic): COUNT for topic in Topic})
        self.room: int | None = None
        self.first = 0

    async def publish(self, records: Sequence[Record]) -> None:
        if self.room is not None and self.room < len(records):
            kept, self.room = records[: self.room], 0
            await super().publish(kept)
            raise LogUnavailable("away")
        await super().publish(records)

    async def bounds(self, topics: Sequence[str]) -> dict[TopicPartition, tuple[int, int]]:
        return {each: (self.first, end) for each, (_, end) in (await super().bounds(topics)).items()}


class Bench:
    """One worker with its log and its write store."""

    def __init__(
        self,
        write_store: WriteStore | None = None,
        log: BreakingLog | None = None,
        rules: Rules | None = None,
        topics: Sequence[Topic] = (Topic.COMMANDS,),
        clock: Callable[[], datetime] = lambda: NOW,
    ) -> None:
        self.write_store = write_store or MemoryWriteStore(clock)
        self.log = log or BreakingLog()
        self.topics = topics
        self.processor = Processor(rules or EngineRules(), self.write_store, self.log, topics, clock)

    async def start(self, numbers: Sequence[int] = range(COUNT)) -> "Bench":
        """Take these partitions."""
        self.mine = [TopicPartition(topic, number) for topic in self.topics for number in numbers]
        await self.processor.assigned(self.mine)
        return self

    async def send(self, *envelopes: Envelope) -> "Bench":
        """Put these on the first of the worker's topics."""
        await self.log.publish([to_record(each, self.topics[0]) for each in envelopes])
        return self

    def waiting(self) -> list[Record]:
        """Everything there ever was for this worker, as the log delivers it to one that starts at the beginning."""
        every = [record for topic in self.topics for record in self.log.all(topic)]
        return [record for record in every if TopicPartition(record.topic, record.partition or 0) in self.mine]

    async def step(self) -> int:
        return await self.processor.step(self.waiting())

    def on(self, topic: Topic) -> list[Envelope]:
        return [from_record(record) for record in self.log.all(topic)]

    def verdicts(self) -> dict[str, list[str]]:
        """Command id -> the verdicts that it got."""
        found: dict[str, list[str]] = {}
        for event in self.on(Topic.EVENTS):
            if event.verdict is not None:
                found.setdefault(event.causation, []).append(event.verdict)
        return found

    def refusal(self, command: Envelope) -> CommandRefused:
        (found,) = [each.data for each in self.on(Topic.EVENTS) if each.causation == command.id]
        assert isinstance(found, CommandRefused)
        return found

    async def state(self, envelope: Envelope) -> Any:
        row = (await self.write_store.all(envelope.subject.kind)).get(envelope.subject)
        return Flavor.model_validate_json(row.state) if row else None


def ident(number: int) -> str:
    return str(uuid.UUID(int=number))


def about(data: Message, which: int = 1, number: int = 1, kind: str = "flavor", **rest: Any) -> Envelope:
    """Command `number`, about thing `which`."""
    whole = Envelope(
        id=ident(1000 + number),
        data=data,
        subject=Key(kind, ident(which)),
        time=NOW,
        source="test",
        correlation=f"c{number}",
        actor="alice",
        project="p",
    )
    return replace(whole, **rest)


async def started(**parts: Any) -> Bench:
    return await Bench(**parts).start()


class Explosive(EngineRules):
    """Rules with a fault: what is named "boom" cannot be decided."""

    def decide(self, envelope: Envelope, states: Callable[[Key], Any]) -> Outcome:
        if getattr(envelope.data, "name", "") == "boom":
            raise ZeroDivisionError("boom")
        return super().decide(envelope, states)


class ExplosiveScheduler(SchedulerRules):
    """The like, for a host or an instance."""

    def decide(self, envelope: Envelope, states: Callable[[Key], Any]) -> Outcome:
        if "boom" in (getattr(envelope.data, "why", ""), getattr(envelope.data, "zone", "")):
            raise ZeroDivisionError("boom")
        return super().decide(envelope, states)


BOOM = UpdateFlavor(name="boom")
