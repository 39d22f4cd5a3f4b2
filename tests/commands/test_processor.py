"""The one step of the write path: nothing lost, nothing twice, whatever breaks and whenever."""

import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.engine import EngineRules
from commands.processor import GapInLog, Overtaken, Processor, Rules, restored
from commands.scheduler import SchedulerRules
from domain.flavor.flavor import CreateFlavor, DeleteFlavor, Flavor, UpdateFlavor
from domain.host.messages import (
    DisableHost,
    HostClaimMade,
    HostRegistered,
    Inventory,
    PlaceInstance,
    RegisterHost,
)
from domain.jobs import JobsAnswered, Reply
from domain.messages import Envelope, Key, Message, Outcome, Record, Topic, derived_id, from_record, to_record
from domain.network.messages import BindNetworkPort, CreateNetwork, CreatePort
from domain.parking import AggregateParked, ReleaseAggregate
from domain.scheduling.table import Ratios
from domain.task import CommandRefused, CommandSatisfied
from infra.db.ledger import Conflict, Ledger
from infra.db.memory import MemoryLedger, MemoryStep
from infra.log.log import LogUnavailable, TopicPartition
from infra.log.memory import MemoryLog
from infra.log.topics import partition_of
from tests.domain.instances import boot_command

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COUNT = 4
"""Partitions of every topic here."""
SMALL = CreateFlavor(name="small", core=1, memory=1 << 30)


class Crash(Exception):
    """The process ends here."""


class CrashingLedger(MemoryLedger):
    """A database whose client dies just before the commit it is told to die at."""

    def __init__(self) -> None:
        super().__init__()
        self.crash_in = 0
        self.forgets_what_is_sent = False

    @asynccontextmanager
    async def step(self) -> AsyncIterator[MemoryStep]:
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
    """One worker with its log and its ledger."""

    def __init__(
        self,
        ledger: Ledger | None = None,
        log: BreakingLog | None = None,
        rules: Rules | None = None,
        topics: Sequence[Topic] = (Topic.COMMANDS,),
        clock: Callable[[], datetime] = lambda: NOW,
    ) -> None:
        self.ledger = ledger or MemoryLedger()
        self.log = log or BreakingLog()
        self.topics = topics
        self.processor = Processor(rules or EngineRules(), self.ledger, self.log, topics, clock)

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
        row = (await self.ledger.all(envelope.subject.kind)).get(envelope.subject)
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


# Decided once


async def test_a_command_becomes_events_a_state_and_one_verdict() -> None:
    bench = await started()
    command = about(SMALL, fingerprint="f")
    assert await (await bench.send(command)).step() == 1
    (event,) = bench.on(Topic.EVENTS)
    assert (event.subject, event.aggversion, event.verdict) == (command.subject, 1, "accepted")
    assert (event.causation, event.correlation, event.actor, event.project) == (command.id, "c1", "alice", "p")
    assert (event.source, event.fingerprint) == ("gostack/engine", "f")
    assert event.cause_place.startswith("gostack.commands:")
    assert event.id == derived_id(command.id, 0)
    state = await bench.state(command)
    assert (state.name, state.core) == ("small", 1)
    assert await bench.ledger.unsent() == []


async def test_every_command_gets_one_verdict_and_what_is_sent_with_it_none() -> None:
    bench = await started()
    sent = [
        about(boot_command(), 7, 1, "instance"),
        about(SMALL, 1, 2),
        about(SMALL, 1, 3),
        about(UpdateFlavor(core=1), 1, 4),
        about(UpdateFlavor(core=2, memory=5), 1, 5),
        about(DeleteFlavor(), 9, 6),
    ]
    await (await bench.send(*sent)).step()
    assert bench.verdicts() == {
        sent[0].id: ["accepted"],
        sent[1].id: ["accepted"],
        sent[2].id: ["refused"],
        sent[3].id: ["already"],
        sent[4].id: ["accepted"],
        sent[5].id: ["refused"],
    }
    assert len([each for each in bench.on(Topic.EVENTS) if each.causation == sent[0].id]) > 1
    (place,) = bench.on(Topic.SCHEDULING)
    assert (place.verdict, place.aggversion, place.causation) == (None, None, sent[0].id)


async def test_a_refusal_is_on_the_log_with_its_code_and_changes_nothing() -> None:
    bench = await started()
    command = about(DeleteFlavor())
    await (await bench.send(command)).step()
    refused = bench.refusal(command)
    assert (refused.code, refused.command) == ("not-found", "gostack.flavor.delete.v1")
    assert refused.values == {"kind": "flavor", "id": ident(1)}
    assert bench.on(Topic.EVENTS)[0].aggversion is None
    assert await bench.ledger.all("flavor") == {}


async def test_what_is_so_already_says_so() -> None:
    bench = await started()
    await (await bench.send(about(SMALL), about(UpdateFlavor(core=1), 1, 2))).step()
    satisfied = bench.on(Topic.EVENTS)[-1]
    assert isinstance(satisfied.data, CommandSatisfied)
    assert satisfied.aggversion is None


async def test_the_versions_of_an_aggregate_have_no_gap() -> None:
    bench = await started()
    for number in range(1, 30):
        which = number % 3
        await bench.send(about(SMALL if number < 4 else UpdateFlavor(core=number), which, number))
        if number % 4 == 0:
            await bench.step()
    await bench.step()
    for which in range(3):
        versions = [each.aggversion for each in bench.on(Topic.EVENTS) if each.subject.id == ident(which)]
        assert versions == list(range(1, len(versions) + 1))
        assert len(versions) > 5


async def test_a_record_is_decided_at_its_own_time_or_at_the_clocks_if_that_is_later() -> None:
    bench = await started(clock=lambda: NOW)
    later = NOW + timedelta(hours=1)
    await (await bench.send(about(SMALL, 1, 1, time=NOW - timedelta(hours=1)), about(SMALL, 2, 2, time=later))).step()
    assert {each.subject.id: each.time for each in bench.on(Topic.EVENTS)} == {ident(1): NOW, ident(2): later}


async def test_a_record_with_an_id_that_was_done_leads_to_nothing() -> None:
    bench = await started()
    await (await bench.send(about(SMALL), about(SMALL))).step()
    assert len(bench.log.all(Topic.EVENTS)) == 1
    await (await bench.send(about(SMALL))).step()
    assert len(bench.log.all(Topic.EVENTS)) == 1
    again = await Bench(bench.ledger, bench.log).start()
    assert await (await again.send(about(SMALL))).step() == 0
    assert len(bench.log.all(Topic.EVENTS)) == 1


async def test_a_batch_that_is_delivered_again_leads_to_nothing() -> None:
    bench = await started()
    assert await (await bench.send(about(SMALL), about(SMALL, 2, 2))).step() == 2
    assert await bench.step() == 0
    assert len(bench.log.all(Topic.EVENTS)) == 2


async def test_records_of_partitions_that_are_not_this_workers_are_left_alone() -> None:
    bench = Bench()
    await bench.start([])
    bench.mine = [TopicPartition(Topic.COMMANDS, number) for number in range(COUNT)]
    assert await (await bench.send(about(SMALL))).step() == 0
    assert bench.log.all(Topic.EVENTS) == []


# Other workers


async def test_a_worker_whose_position_another_has_moved_drops_its_batch_and_begins_anew() -> None:
    first = await started()
    second = await Bench(first.ledger, first.log).start()
    await first.send(about(SMALL), about(SMALL, 2, 2))
    assert await second.step() == 2
    await first.ledger.prune(datetime.now(UTC) + timedelta(hours=1))
    # Its position alone says so, even where the records' ids are forgotten.
    with pytest.raises(Overtaken, match=re.escape(Topic.COMMANDS)):
        await first.step()
    assert len(first.log.all(Topic.EVENTS)) == 2
    await first.send(about(UpdateFlavor(core=3), 1, 3))
    assert await second.step() == 1


async def test_one_that_took_over_while_the_other_was_at_work_goes_on_after_beginning_anew() -> None:
    first = await started()
    await first.send(about(SMALL))
    second = await Bench(first.ledger, first.log).start()
    assert await first.step() == 1, "it had not heard of the other yet"
    await first.send(about(UpdateFlavor(core=3), 1, 3))
    with pytest.raises(Overtaken):
        await second.step()
    assert await (await second.start()).step() == 1


async def test_what_the_owner_before_committed_is_sent_before_what_follows_from_it() -> None:
    """The other commits while this one takes over, and stands still before it has published."""
    first = await started(log=BreakingLog())
    await first.send(about(SMALL))

    class Late(MemoryLedger):
        async def positions(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
            if self.meanwhile:
                self.meanwhile = False
                first.log.room = 0
                with pytest.raises(LogUnavailable):
                    await first.step()
                first.log.room = None
            return await super().positions(partitions)

        meanwhile = False

    late = Late()
    late.__dict__ |= first.ledger.__dict__
    late.meanwhile = True
    second = await Bench(late, first.log).start()
    await first.send(about(UpdateFlavor(core=3), 1, 3))
    await second.step()
    assert [each.aggversion for each in second.on(Topic.EVENTS)] == [1, 2]


async def test_of_a_batch_only_the_partitions_that_were_lost_are_dropped() -> None:
    first = await started()
    await first.send(*(about(SMALL, which, which) for which in range(1, 20)))
    taken = {record.partition for record in first.waiting()}
    assert len(taken) == COUNT
    second = await Bench(first.ledger, first.log).start([0])
    done_by_second = await second.step()
    assert 0 < done_by_second < 19
    with pytest.raises(Overtaken):
        await first.step()
    assert len(first.log.all(Topic.EVENTS)) == 19
    assert Counter(map(len, first.verdicts().values())) == {1: 19}


async def test_workers_share_the_partitions_and_one_takes_over_from_another() -> None:
    even = await Bench().start([0, 2])
    odd = await Bench(even.ledger, even.log).start([1, 3])
    number = 0
    for turn in range(6):
        for which in range(8):
            number += 1
            await even.send(about(SMALL if turn == 0 else UpdateFlavor(core=turn + 1), which, number))
        await (even if turn % 2 else odd).step()
    await even.step()
    await odd.start()
    await even.send(about(UpdateFlavor(core=99), 0, 1000))
    await odd.step()
    assert await even.step() == 0
    verdicts = even.verdicts()
    assert len(verdicts) == number + 1
    assert set(map(tuple, verdicts.values())) == {("accepted",)}
    for which in range(8):
        versions = [each.aggversion for each in even.on(Topic.EVENTS) if each.subject.id == ident(which)]
        assert versions == list(range(1, len(versions) + 1))


async def test_a_worker_that_gets_a_partition_back_knows_what_was_done_meanwhile() -> None:
    first = await started()
    await (await first.send(about(SMALL))).step()
    second = await Bench(first.ledger, first.log).start()
    await (await second.send(about(UpdateFlavor(core=7), 1, 2))).step()
    await first.start()
    back = about(UpdateFlavor(core=1), 1, 3)
    await (await first.send(back)).step()
    assert first.verdicts()[back.id] == ["accepted"], "it is not so already: that is what it was before"


async def test_what_another_writer_changed_is_read_and_decided_anew() -> None:
    first = await started()
    second = await Bench(first.ledger, first.log, topics=(Topic.RESULTS,)).start()
    await (await first.send(about(SMALL))).step()
    await (await second.send(about(UpdateFlavor(core=7), 1, 2))).step()
    await (await first.send(about(UpdateFlavor(memory=5), 1, 3))).step()
    last = max(first.on(Topic.EVENTS), key=lambda each: each.aggversion or 0)
    assert (last.aggversion, last.causation, last.verdict) == (3, ident(1003), "accepted")
    state = await first.state(about(SMALL))
    assert (state.core, state.memory) == (7, 5)


async def test_a_conflict_that_never_ends_is_raised_and_nothing_is_kept() -> None:
    class Contended(MemoryLedger):
        @asynccontextmanager
        async def step(self) -> AsyncIterator[MemoryStep]:
            async with super().step() as step:
                yield step
                raise Conflict("always")

    bench = await started(ledger=Contended())
    with pytest.raises(Conflict):
        await (await bench.send(about(SMALL))).step()
    assert bench.log.all(Topic.EVENTS) == []
    assert await bench.ledger.all("flavor") == {}


# Crashes


async def test_a_crash_before_the_commit_leaves_nothing_and_the_next_worker_does_it_all() -> None:
    ledger = CrashingLedger()
    bench = await started(ledger=ledger)
    ledger.crash_in = 1
    with pytest.raises(Crash):
        await (await bench.send(about(SMALL), about(SMALL, 2, 2))).step()
    assert (bench.log.all(Topic.EVENTS), await ledger.unsent(), await ledger.all("flavor")) == ([], [], {})
    assert set((await ledger.positions(bench.mine)).values()) == {0}
    again = await Bench(ledger, bench.log).start()
    assert await again.step() == 2
    assert len(bench.log.all(Topic.EVENTS)) == 2


async def test_a_worker_remembers_nothing_of_a_step_that_failed() -> None:
    ledger = CrashingLedger()
    bench = await started(ledger=ledger)
    await (await bench.send(about(SMALL))).step()
    ledger.crash_in = 1
    await bench.send(about(UpdateFlavor(core=2), 1, 2))
    with pytest.raises(Crash):
        await bench.step()
    assert await bench.step() == 1
    assert [each.aggversion for each in bench.on(Topic.EVENTS)] == [1, 2]


async def test_while_the_log_takes_nothing_no_more_is_decided_however_often_a_worker_starts() -> None:
    bench = await started()
    bench.log.room = 0
    await MemoryLog.publish(bench.log, [to_record(about(SMALL, which, which), Topic.COMMANDS) for which in (1, 2)])
    with pytest.raises(LogUnavailable):
        await bench.step()
    await MemoryLog.publish(bench.log, [to_record(about(SMALL, which, which), Topic.COMMANDS) for which in (3, 4)])
    for _ in range(5):
        with pytest.raises(LogUnavailable):
            await Bench(bench.ledger, bench.log).start()
        assert len(await bench.ledger.unsent()) == 1
    bench.log.room = None
    assert await (await Bench(bench.ledger, bench.log).start()).step() == 2


@pytest.mark.parametrize("room", [0, 1])
async def test_what_was_committed_and_not_published_is_published_by_the_next_worker(room: int) -> None:
    bench = await started()
    bench.log.room = room
    await MemoryLog.publish(bench.log, [to_record(about(SMALL, which, which), Topic.COMMANDS) for which in (1, 2)])
    with pytest.raises(LogUnavailable):
        await bench.step()
    assert len(bench.log.all(Topic.EVENTS)) == room
    assert len(await bench.ledger.unsent()) == 1
    bench.log.room = None
    again = await Bench(bench.ledger, bench.log).start()
    assert await bench.ledger.unsent() == []
    assert await again.step() == 0
    assert {each.id for each in bench.on(Topic.EVENTS)} == {derived_id(ident(1000 + which), 0) for which in (1, 2)}


async def test_what_was_published_and_not_forgotten_is_published_again_under_the_same_ids() -> None:
    ledger = CrashingLedger()
    bench = await started(ledger=ledger)
    ledger.forgets_what_is_sent = True
    with pytest.raises(Crash):
        await (await bench.send(about(SMALL))).step()
    ledger.forgets_what_is_sent = False
    await Bench(ledger, bench.log).start()
    first, second = bench.log.all(Topic.EVENTS)
    assert first.headers == second.headers
    assert first.value == second.value


async def test_a_partition_is_gone_on_with_where_it_was_left() -> None:
    bench = await started()
    await (await bench.send(about(SMALL))).step()
    positions = await Bench(bench.ledger, bench.log).processor.assigned(bench.mine)
    assert sum(positions.values()) == 1
    await bench.send(about(SMALL, 2, 2))
    assert await bench.processor.lag() == 1
    await bench.step()
    assert await bench.processor.lag() == 0


story = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3)), min_size=1, max_size=15)


def envelopes(told: list[tuple[int, int]]) -> list[Envelope]:
    commands: list[Message] = [SMALL, UpdateFlavor(core=5), DeleteFlavor(), UpdateFlavor(memory=9)]
    return [about(commands[what], which, number) for number, (which, what) in enumerate(told)]


async def outcome(sent: list[Envelope], size: int, crashes: Sequence[int] = ()) -> tuple[set[Record], Any]:
    """What is on the log, without offsets, and in the ledger, after batches of this size, with these crashes."""
    ledger = CrashingLedger()
    bench = await started(ledger=ledger)
    crash_at = iter(crashes)
    for start in range(0, len(sent), size):
        await bench.send(*sent[start : start + size])
        ledger.crash_in = next(crash_at, 0)
        try:
            await bench.step()
        except Crash:
            bench = await Bench(ledger, bench.log).start()
            await bench.step()
    found = {replace(record, offset=-1) for record in bench.log.all(Topic.EVENTS)}
    return found, await ledger.all("flavor")


@settings(max_examples=40, deadline=None, database=None, print_blob=True)
@given(story, st.integers(1, 15), st.lists(st.integers(0, 1), max_size=6))
async def test_the_same_input_leads_to_the_same_records_however_it_is_batched_and_whatever_crashes(
    told: list[tuple[int, int]], size: int, crashes: list[int]
) -> None:
    sent = envelopes(told)
    assert await outcome(sent, size, crashes) == await outcome(sent, len(sent))


# What cannot be read or applied


POISON = {
    "no headers": Record(Topic.COMMANDS, b"k", b"\xff\x00nonsense"),
    "no text": Record(Topic.COMMANDS, b"k", b"{}", (("ce_id", b"\xff"),)),
    "unknown type": replace(
        to_record(about(SMALL), Topic.COMMANDS),
        headers=tuple(
            (name, b"gostack.x.y.v1" if name == "ce_type" else value)
            for name, value in to_record(about(SMALL), Topic.COMMANDS).headers
        ),
    ),
    "no uuid": to_record(about(SMALL, id="1"), Topic.COMMANDS),
    "no zone": to_record(about(SMALL, time=datetime(2026, 1, 1)), Topic.COMMANDS),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
async def test_a_record_that_cannot_be_read_goes_to_the_dead_and_the_partition_goes_on(poison: Record) -> None:
    bench = await started()
    await bench.log.publish(
        [replace(poison, partition=1), replace(to_record(about(SMALL), Topic.COMMANDS), partition=1)]
    )
    assert await bench.step() == 1
    (dead,) = bench.log.all(Topic.DEAD)
    assert (dead.key, dead.value) == (poison.key, poison.value)
    assert dead.headers[: len(poison.headers)] == poison.headers
    added = dict(dead.headers)
    assert added["gostack_place"] == b"gostack.commands:1:0"
    assert added["gostack_why"]
    assert bench.verdicts() == {ident(1001): ["accepted"]}


async def parked_bench(rules: Rules | None = None) -> Bench:
    """A worker whose flavor 1 was parked in an earlier step; flavor 2 is well."""
    bench = await started(rules=rules or Explosive())
    await (await bench.send(about(SMALL), about(SMALL, 2, 2), about(BOOM, 1, 3))).step()
    return bench


async def test_a_command_that_cannot_be_decided_goes_to_the_dead_and_is_refused_as_parked() -> None:
    bench = await parked_bench()
    (dead,) = bench.log.all(Topic.DEAD)
    assert dict(dead.headers)["gostack_why"] == b"ZeroDivisionError: boom"
    parked, refused = [each for each in bench.on(Topic.EVENTS) if each.causation == ident(1003)]
    assert isinstance(parked.data, AggregateParked)
    assert (parked.data.place, parked.aggversion, parked.verdict) == (
        dict(dead.headers)["gostack_place"].decode(),
        None,
        None,
    )
    assert isinstance(refused.data, CommandRefused)
    assert (refused.data.code, refused.verdict) == ("parked", "refused")
    assert "boom" in refused.data.message
    assert (await bench.state(about(SMALL))).name == "small"


async def test_later_commands_for_what_is_parked_are_refused_and_others_go_on() -> None:
    bench = await parked_bench()
    for number in (4, 5):
        late, other = about(UpdateFlavor(core=number), 1, number), about(UpdateFlavor(core=number), 2, 10 + number)
        await (await bench.send(late, other)).step()
        assert bench.refusal(late).code == "parked"
        assert bench.verdicts()[other.id] == ["accepted"]


async def test_a_command_behind_the_one_that_could_not_be_decided_is_refused_in_the_same_batch() -> None:
    bench = await started(rules=Explosive())
    late = about(UpdateFlavor(core=4), 1, 4)
    await (await bench.send(about(SMALL), about(BOOM, 1, 3), late)).step()
    assert bench.refusal(late).code == "parked"


async def test_what_is_parked_stays_so_for_the_next_worker() -> None:
    bench = await parked_bench()
    again = await Bench(bench.ledger, bench.log).start()
    late = about(UpdateFlavor(core=4), 1, 4)
    await (await again.send(late)).step()
    assert again.refusal(late).code == "parked"


async def test_what_an_operator_releases_is_decided_again() -> None:
    bench = await parked_bench()
    release, free, again = (
        about(ReleaseAggregate(), 1, 4),
        about(UpdateFlavor(core=4), 1, 5),
        about(ReleaseAggregate(), 1, 6),
    )
    await (await bench.send(release, free, again)).step()
    assert bench.verdicts()[release.id] == ["accepted"]
    assert bench.verdicts()[free.id] == ["accepted"]
    assert bench.verdicts()[again.id] == ["already"]
    assert await bench.ledger.parked() == {}
    assert (await bench.state(free)).core == 4


async def test_what_fails_again_right_after_its_release_is_parked_again() -> None:
    bench = await parked_bench()
    await (
        await bench.send(about(ReleaseAggregate(), 1, 4), about(BOOM, 1, 5), about(UpdateFlavor(core=4), 1, 6))
    ).step()
    assert bench.verdicts()[ident(1004)] == ["accepted"]
    assert bench.verdicts()[ident(1006)] == ["refused"]
    assert list(await bench.ledger.parked()) == [about(SMALL).subject]


async def test_a_crash_at_the_commit_parks_nothing() -> None:
    ledger = CrashingLedger()
    bench = await started(ledger=ledger, rules=Explosive())
    await (await bench.send(about(SMALL))).step()
    ledger.crash_in = 1
    await bench.send(about(BOOM, 1, 2))
    with pytest.raises(Crash):
        await bench.step()
    again = await Bench(ledger, bench.log).start()
    await (await again.send(about(UpdateFlavor(core=3), 1, 3))).step()
    assert again.verdicts()[ident(1003)] == ["accepted"], "without its fault the program decides on both"
    assert bench.log.all(Topic.DEAD) == []


async def test_a_record_for_a_kind_that_nobody_decides_goes_to_the_dead() -> None:
    bench = await started()
    command = about(SMALL, kind="unicorn")
    await (await bench.send(command, about(SMALL, 2, 2))).step()
    assert len(bench.log.all(Topic.DEAD)) == 1
    assert bench.refusal(command).code == "parked"
    assert bench.verdicts()[ident(1002)] == ["accepted"]


async def test_an_answer_that_cannot_be_applied_is_not_answered_itself() -> None:
    class Deaf(EngineRules):
        def decide(self, envelope: Envelope, states: Callable[[Key], Any]) -> Outcome:
            raise ZeroDivisionError

    bench = await started(rules=Deaf())
    answer = about(JobsAnswered(task_id="t", dispatch_id="d", results=()), 7, 1, "instance")
    await (await bench.send(answer)).step()
    assert len(bench.log.all(Topic.DEAD)) == 1
    assert [type(each.data) for each in bench.on(Topic.EVENTS)] == [AggregateParked]


# If-Match


async def test_a_command_for_the_version_there_is_passes_and_for_another_is_refused() -> None:
    bench = await started()
    await (await bench.send(about(SMALL))).step()
    right, wrong = about(UpdateFlavor(core=2), 1, 2, if_match=1), about(UpdateFlavor(core=3), 1, 3, if_match=1)
    await (await bench.send(right, wrong)).step()
    assert bench.verdicts()[right.id] == ["accepted"]
    refused = bench.refusal(wrong)
    assert refused.code == "version-conflict"
    assert (refused.values["actual"], refused.values["expected"]) == ("2", "1")
    late = about(UpdateFlavor(core=4), 1, 4, if_match=2)
    again = await Bench(bench.ledger, bench.log).start()
    await (await again.send(late)).step()
    assert again.verdicts()[late.id] == ["accepted"]


async def test_what_is_not_there_has_version_nought() -> None:
    bench = await started()
    await (await bench.send(about(SMALL, 1, 1, if_match=0), about(SMALL, 2, 2, if_match=5))).step()
    assert bench.verdicts() == {ident(1001): ["accepted"], ident(1002): ["refused"]}


# Jobs for others


def bind(number: int = 1) -> Envelope:
    reply = Reply(instance_id=ident(7), task_id=ident(8), dispatch_id=ident(9), job_id=ident(10))
    message = BindNetworkPort(reply=reply, nic=0, port_id="p", instance_id=ident(7), host_id="h")
    return about(message, 5, number, "network")


def place(number: int, instance: int = 7, zone: str = "") -> Envelope:
    reply = Reply(instance_id=ident(instance), task_id=ident(8), dispatch_id=ident(9), job_id=ident(10))
    message = PlaceInstance(reply=reply, instance_id=ident(instance), project="p", vcpus=1, memory=1, disk=1, zone=zone)
    return about(message, 1, number, "cell")


async def test_a_job_that_is_refused_is_answered_as_failed_and_gets_no_verdict() -> None:
    bench = await started()
    await (await bench.send(bind())).step()
    assert bench.log.all(Topic.EVENTS) == []
    (answer,) = bench.on(Topic.RESULTS)
    assert answer.subject == Key("instance", ident(7))
    assert isinstance(answer.data, JobsAnswered)
    assert (answer.data.task_id, answer.data.dispatch_id) == (ident(8), ident(9))
    (result,) = answer.data.results
    assert result.job_id == ident(10)
    assert result.error is not None
    assert (result.error.code, result.error.ran) == ("not-found", False)
    assert result.error.details == {"kind": "network", "id": ident(5)}


async def test_a_job_for_what_is_parked_is_answered_as_failed() -> None:
    bench = await started(rules=ExplosiveScheduler(Ratios(), 4), topics=(Topic.SCHEDULING,))
    await (await bench.send(place(1, zone="boom"))).step()
    (answer,) = bench.on(Topic.RESULTS)
    assert isinstance(answer.data, JobsAnswered)
    error = answer.data.results[0].error
    assert error is not None
    assert (error.code, error.ran) == ("parked", False)
    assert len(bench.log.all(Topic.DEAD)) == 1


# The scheduler's processor


async def scheduler(ledger: Ledger | None = None, log: BreakingLog | None = None) -> Bench:
    rules = ExplosiveScheduler(Ratios(), 4)
    return await started(ledger=ledger, log=log, rules=rules, topics=(Topic.SCHEDULING,))


def register(which: int, number: int) -> Envelope:
    inventory = Inventory(vcpus=4, memory=100, disk=100)
    return about(RegisterHost(name=f"h{which}", zone="z", cell=ident(1), inventory=inventory), which, number, "host")


async def test_the_scheduler_knows_its_hosts_again_after_a_restart() -> None:
    bench = await scheduler()
    await (await bench.send(register(1, 1), place(2))).step()
    again = await scheduler(bench.ledger, bench.log)
    await (await again.send(place(3), place(4, 8), register(1, 5))).step()
    events = {each.id: each.data for each in again.on(Topic.EVENTS)}.values()
    assert [event.instance_id for event in events if isinstance(event, HostClaimMade)] == [ident(7), ident(8)]
    assert [event.epoch for event in events if isinstance(event, HostRegistered)] == [1, 2]


async def test_what_the_scheduler_decided_in_a_step_that_failed_did_not_happen() -> None:
    ledger = CrashingLedger()
    bench = await scheduler(ledger)
    await (await bench.send(register(1, 1))).step()
    ledger.crash_in = 1
    await bench.send(place(2))
    with pytest.raises(Crash):
        await bench.step()
    await bench.step()
    assert [each.aggversion for each in bench.on(Topic.EVENTS) if each.subject.kind == "host"] == [1, 2]
    assert len([each for each in bench.on(Topic.EVENTS) if isinstance(each.data, HostClaimMade)]) == 1


async def test_a_parked_host_is_refused_what_it_is_asked_and_its_cell_goes_on() -> None:
    bench = await scheduler()
    await (await bench.send(register(1, 1), register(2, 2), about(DisableHost(why="boom"), 1, 3, "host"))).step()
    late, other = about(DisableHost(), 1, 4, "host"), about(DisableHost(), 2, 5, "host")
    await (await bench.send(late, other)).step()
    assert bench.refusal(late).code == "parked"
    assert bench.verdicts()[other.id] == ["accepted"]


async def test_a_placement_that_cannot_be_decided_does_not_stop_those_of_other_instances() -> None:
    bench = await scheduler()
    await (await bench.send(register(1, 1), place(2, 7, zone="boom"))).step()
    await (await bench.send(place(3, 8))).step()
    again = await scheduler(bench.ledger, bench.log)
    await (await again.send(place(4, 9))).step()
    claimed = {each.data.instance_id for each in again.on(Topic.EVENTS) if isinstance(each.data, HostClaimMade)}
    assert claimed == {ident(8), ident(9)}


# Cells, and who has which


CELLS = {cell: partition_of(cell.encode(), COUNT) for cell in ("default", "east")}


def join(which: int, number: int, cell: str, zone: str) -> Envelope:
    inventory = Inventory(vcpus=4, memory=100, disk=100)
    return about(RegisterHost(name=f"h{which}", zone=zone, cell=cell, inventory=inventory), which, number, "host")


async def sent_to(log: BreakingLog, cell: str, *envelopes: Envelope) -> None:
    await log.publish([to_record(each, Topic.SCHEDULING, key=cell) for each in envelopes])


async def schedulers(ledger: Ledger | None = None) -> dict[str, Bench]:
    """One for each cell, which share ledger and log."""
    first = Bench(ledger, None, ExplosiveScheduler(Ratios(), 4), (Topic.SCHEDULING,))
    second = Bench(first.ledger, first.log, ExplosiveScheduler(Ratios(), 4), (Topic.SCHEDULING,))
    return {cell: await bench.start([CELLS[cell]]) for cell, bench in zip(CELLS, (first, second), strict=True)}


def wish(number: int, instance: int, cell: str) -> Envelope:
    return replace(place(number, instance), subject=Key("cell", cell))


async def test_each_cell_places_on_its_own_hosts_whoever_decides_for_it() -> None:
    assert len(set(CELLS.values())) == 2, "else one scheduler has both"
    both = await schedulers()
    log, ledger = both["default"].log, both["default"].ledger
    for number, cell in enumerate(CELLS, 1):
        await sent_to(log, cell, join(number, number, cell, cell), wish(10 + number, 10 + number, cell))
        await both[cell].step()
    alone = await Bench(ledger, log, ExplosiveScheduler(Ratios(), 4), (Topic.SCHEDULING,)).start()
    for number, cell in enumerate(CELLS, 1):
        await sent_to(log, cell, wish(20 + number, 20 + number, cell))
    await alone.step()
    claims = [
        (each.subject.id, each.data.instance_id, each.data.report.total)
        for each in alone.on(Topic.EVENTS)
        if isinstance(each.data, HostClaimMade)
    ]
    assert sorted(claims) == [(ident(host), ident(turn + host), 1) for host in (1, 2) for turn in (10, 20)]


async def test_a_name_that_another_cell_took_meanwhile_is_refused() -> None:
    """The other scheduler began before there was such a host or zone: it learns of them when it needs to."""
    both = await schedulers()
    log = both["default"].log
    await sent_to(log, "east", join(3, 1, "east", "x"))
    await both["east"].step()
    await sent_to(log, "default", join(1, 2, "default", "z"))
    await both["default"].step()
    host, zone, free = join(1, 3, "east", "y"), join(2, 4, "east", "z"), join(2, 5, "east", "y")
    await sent_to(log, "east", host, zone, free)
    await both["east"].step()
    assert [both["east"].refusal(each).code for each in (host, zone)] == ["other-cell", "other-cell"]
    assert both["east"].verdicts()[free.id] == ["accepted"]


class Interrupted(MemoryLedger):
    """A database in which something else happens between a step's reading and its writing."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    @asynccontextmanager
    async def step(self) -> AsyncIterator[MemoryStep]:
        async with super().step() as step:
            close = step.close

            async def closed(*about: Any) -> int | None:
                if happens := self.meanwhile:
                    self.meanwhile = None
                    await happens()
                return await close(*about)

            step.close = closed  # type: ignore[method-assign, assignment]
            yield step


async def test_a_name_that_two_cells_take_at_once_is_one_cells() -> None:
    ledger = Interrupted()
    both = await schedulers(ledger)
    first, second = join(1, 1, "default", "z"), join(2, 2, "east", "z")
    await sent_to(both["default"].log, "default", first)
    await sent_to(both["east"].log, "east", second)
    ledger.meanwhile = both["default"].step
    await both["east"].step()
    verdicts = both["east"].verdicts()
    assert (verdicts[first.id], verdicts[second.id]) == (["accepted"], ["refused"])
    assert both["east"].refusal(second).code == "other-cell"


# What Faust carries


def test_a_record_without_key_value_or_a_headers_value_is_carried_as_one_with_empty_ones() -> None:
    from commands.worker import _record

    fetched = SimpleNamespace(
        topic="t", key=None, value=None, headers=[("a", None), ("b", b"x")], partition=1, offset=2
    )
    assert _record(fetched) == Record("t", b"", b"", (("a", b""), ("b", b"x")), 1, 2)


# Holes in the log


async def test_a_record_that_is_missing_stops_the_worker() -> None:
    bench = await started()
    await bench.log.publish([to_record(about(SMALL, 1, number), Topic.COMMANDS, partition=0) for number in range(4)])
    records = bench.waiting()
    with pytest.raises(GapInLog, match="offset 1 was due"):
        await bench.processor.step([records[0], records[2]])
    assert bench.log.all(Topic.EVENTS) == []


async def test_records_that_retention_removed_are_not_waited_for() -> None:
    bench = await started()
    await bench.log.publish(
        [to_record(about(SMALL, number, number), Topic.COMMANDS, partition=0) for number in range(4)]
    )
    bench.log.first = 2
    assert await bench.processor.step(bench.waiting()[2:]) == 2
    assert bench.verdicts() == {ident(1002): ["accepted"], ident(1003): ["accepted"]}


# Large aggregates


async def test_a_large_network_is_stored_by_its_tail_and_read_back_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.processor.LARGE", 1000)
    monkeypatch.setattr("commands.processor.BYTES_A_TAIL", 100)
    bench = await Bench().start()
    key = Key("network", str(uuid.UUID(int=9)))

    async def step(*messages: Message) -> None:
        records = [
            to_record(
                Envelope(
                    id=str(uuid.uuid4()),
                    data=message,
                    subject=key,
                    time=NOW,
                    source="test",
                    correlation="c",
                    project="p",
                ),
                Topic.COMMANDS,
            )
            for message in messages
        ]
        await bench.log.publish(records)
        await bench.processor.step(bench.waiting())

    await step(CreateNetwork(name="n", cidr="10.0.0.0/16", segment=1))
    whole = tails = 0
    for number in range(60):
        await step(*(CreatePort(port_id=f"{number}-{nth}") for nth in range(number % 3 + 1)))
        row = (await bench.ledger.all("network"))[key]
        whole, tails = whole + (not row.tail), tails + bool(row.tail)
        anew = restored(EngineRules(), key, row)
        assert anew.version == row.version == len(anew.state.ports) + 1
        assert anew.state == bench.processor._cache[key].state
    assert whole > 5
    assert tails > 20, "most steps do not store it whole"
