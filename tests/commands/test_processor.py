"""The one step of the write path: nothing lost, nothing twice, whatever breaks and whenever."""

import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.engine import EngineRules
from commands.processor import GapInLog, Overtaken
from commands.rules import restored
from domain.core.messages import (
    Envelope,
    Key,
    Message,
    Record,
    Topic,
    derived_id,
    to_record,
)
from domain.flavor import DeleteFlavor, UpdateFlavor
from domain.network.messages import CreateNetwork, CreatePort
from domain.tasks.events import CommandSatisfied
from infra.db.memory import MemoryTransaction, MemoryWriteStore
from infra.db.write_store import Conflict
from infra.log.log import LogUnavailable, TopicPartition
from infra.log.memory import MemoryLog
from tests.commands.bench import (
    COUNT,
    NOW,
    SMALL,
    Bench,
    BreakingLog,
    Crash,
    CrashingWriteStore,
    about,
    ident,
    started,
)
from tests.domain.instances import boot_command

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
    assert await bench.write_store.unsent() == []


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
    assert await bench.write_store.all("flavor") == {}


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
    again = await Bench(bench.write_store, bench.log).start()
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
    second = await Bench(first.write_store, first.log).start()
    await first.send(about(SMALL), about(SMALL, 2, 2))
    assert await second.step() == 2
    await first.write_store.prune(NOW, timedelta(seconds=-1))
    # Its position alone says so, even where the records' ids are forgotten.
    with pytest.raises(Overtaken, match=re.escape(Topic.COMMANDS)):
        await first.step()
    assert len(first.log.all(Topic.EVENTS)) == 2
    await first.send(about(UpdateFlavor(core=3), 1, 3))
    assert await second.step() == 1


async def test_one_that_took_over_while_the_other_was_at_work_goes_on_after_beginning_anew() -> None:
    first = await started()
    await first.send(about(SMALL))
    second = await Bench(first.write_store, first.log).start()
    assert await first.step() == 1, "it had not heard of the other yet"
    await first.send(about(UpdateFlavor(core=3), 1, 3))
    with pytest.raises(Overtaken):
        await second.step()
    assert await (await second.start()).step() == 1


async def test_what_the_owner_before_committed_is_sent_before_what_follows_from_it() -> None:
    """The other commits while this one takes over, and stands still before it has published."""
    first = await started(log=BreakingLog())
    await first.send(about(SMALL))

    class Late(MemoryWriteStore):
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
    late.__dict__ |= first.write_store.__dict__
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
    second = await Bench(first.write_store, first.log).start([0])
    done_by_second = await second.step()
    assert 0 < done_by_second < 19
    with pytest.raises(Overtaken):
        await first.step()
    assert len(first.log.all(Topic.EVENTS)) == 19
    assert Counter(map(len, first.verdicts().values())) == {1: 19}


async def test_workers_share_the_partitions_and_one_takes_over_from_another() -> None:
    even = await Bench().start([0, 2])
    odd = await Bench(even.write_store, even.log).start([1, 3])
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
    second = await Bench(first.write_store, first.log).start()
    await (await second.send(about(UpdateFlavor(core=7), 1, 2))).step()
    await first.start()
    back = about(UpdateFlavor(core=1), 1, 3)
    await (await first.send(back)).step()
    assert first.verdicts()[back.id] == ["accepted"], "it is not so already: that is what it was before"


async def test_what_another_writer_changed_is_read_and_decided_anew() -> None:
    first = await started()
    second = await Bench(first.write_store, first.log, topics=(Topic.RESULTS,)).start()
    await (await first.send(about(SMALL))).step()
    await (await second.send(about(UpdateFlavor(core=7), 1, 2))).step()
    await (await first.send(about(UpdateFlavor(memory=5), 1, 3))).step()
    last = max(first.on(Topic.EVENTS), key=lambda each: each.aggversion or 0)
    assert (last.aggversion, last.causation, last.verdict) == (3, ident(1003), "accepted")
    state = await first.state(about(SMALL))
    assert (state.core, state.memory) == (7, 5)


async def test_a_conflict_that_never_ends_is_raised_and_nothing_is_kept() -> None:
    class Contended(MemoryWriteStore):
        @asynccontextmanager
        async def step(self) -> AsyncIterator[MemoryTransaction]:
            async with super().step() as step:
                yield step
                raise Conflict("always")

    bench = await started(write_store=Contended())
    with pytest.raises(Conflict):
        await (await bench.send(about(SMALL))).step()
    assert bench.log.all(Topic.EVENTS) == []
    assert await bench.write_store.all("flavor") == {}


# Crashes


async def test_a_crash_before_the_commit_leaves_nothing_and_the_next_worker_does_it_all() -> None:
    write_store = CrashingWriteStore()
    bench = await started(write_store=write_store)
    write_store.crash_in = 1
    with pytest.raises(Crash):
        await (await bench.send(about(SMALL), about(SMALL, 2, 2))).step()
    assert (bench.log.all(Topic.EVENTS), await write_store.unsent(), await write_store.all("flavor")) == ([], [], {})
    assert set((await write_store.positions(bench.mine)).values()) == {0}
    again = await Bench(write_store, bench.log).start()
    assert await again.step() == 2
    assert len(bench.log.all(Topic.EVENTS)) == 2


async def test_a_worker_remembers_nothing_of_a_step_that_failed() -> None:
    write_store = CrashingWriteStore()
    bench = await started(write_store=write_store)
    await (await bench.send(about(SMALL))).step()
    write_store.crash_in = 1
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
            await Bench(bench.write_store, bench.log).start()
        assert len(await bench.write_store.unsent()) == 1
    bench.log.room = None
    assert await (await Bench(bench.write_store, bench.log).start()).step() == 2


@pytest.mark.parametrize("room", [0, 1])
async def test_what_was_committed_and_not_published_is_published_by_the_next_worker(room: int) -> None:
    bench = await started()
    bench.log.room = room
    await MemoryLog.publish(bench.log, [to_record(about(SMALL, which, which), Topic.COMMANDS) for which in (1, 2)])
    with pytest.raises(LogUnavailable):
        await bench.step()
    assert len(bench.log.all(Topic.EVENTS)) == room
    assert len(await bench.write_store.unsent()) == 1
    bench.log.room = None
    again = await Bench(bench.write_store, bench.log).start()
    assert await bench.write_store.unsent() == []
    assert await again.step() == 0
    assert {each.id for each in bench.on(Topic.EVENTS)} == {derived_id(ident(1000 + which), 0) for which in (1, 2)}


async def test_what_was_published_and_not_forgotten_is_published_again_under_the_same_ids() -> None:
    write_store = CrashingWriteStore()
    bench = await started(write_store=write_store)
    write_store.forgets_what_is_sent = True
    with pytest.raises(Crash):
        await (await bench.send(about(SMALL))).step()
    write_store.forgets_what_is_sent = False
    await Bench(write_store, bench.log).start()
    first, second = bench.log.all(Topic.EVENTS)
    assert first.headers == second.headers
    assert first.value == second.value


async def test_a_partition_is_gone_on_with_where_it_was_left() -> None:
    bench = await started()
    await (await bench.send(about(SMALL))).step()
    positions = await Bench(bench.write_store, bench.log).processor.assigned(bench.mine)
    assert sum(positions.values()) == 1
    await bench.send(about(SMALL, 2, 2))
    assert (await bench.processor.look())["gostack.commands"].records == 1
    await bench.step()
    assert (await bench.processor.look())["gostack.commands"].records == 0


story = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3)), min_size=1, max_size=15)


def envelopes(told: list[tuple[int, int]]) -> list[Envelope]:
    commands: list[Message] = [SMALL, UpdateFlavor(core=5), DeleteFlavor(), UpdateFlavor(memory=9)]
    return [about(commands[what], which, number) for number, (which, what) in enumerate(told)]


async def outcome(sent: list[Envelope], size: int, crashes: Sequence[int] = ()) -> tuple[set[Record], Any]:
    """What is on the log, without offsets, and in the write store, after batches of this size, with these crashes."""
    write_store = CrashingWriteStore()
    bench = await started(write_store=write_store)
    crash_at = iter(crashes)
    for start in range(0, len(sent), size):
        await bench.send(*sent[start : start + size])
        write_store.crash_in = next(crash_at, 0)
        try:
            await bench.step()
        except Crash:
            bench = await Bench(write_store, bench.log).start()
            await bench.step()
    found = {replace(record, offset=-1) for record in bench.log.all(Topic.EVENTS)}
    return found, await write_store.all("flavor")


@settings(max_examples=40, deadline=None, database=None, print_blob=True)
@given(story, st.integers(1, 15), st.lists(st.integers(0, 1), max_size=6))
async def test_the_same_input_leads_to_the_same_records_however_it_is_batched_and_whatever_crashes(
    told: list[tuple[int, int]], size: int, crashes: list[int]
) -> None:
    sent = envelopes(told)
    assert await outcome(sent, size, crashes) == await outcome(sent, len(sent))


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
    again = await Bench(bench.write_store, bench.log).start()
    await (await again.send(late)).step()
    assert again.verdicts()[late.id] == ["accepted"]


async def test_what_is_not_there_has_version_nought() -> None:
    bench = await started()
    await (await bench.send(about(SMALL, 1, 1, if_match=0), about(SMALL, 2, 2, if_match=5))).step()
    assert bench.verdicts() == {ident(1001): ["accepted"], ident(1002): ["refused"]}


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
        row = (await bench.write_store.all("network"))[key]
        whole, tails = whole + (not row.tail), tails + bool(row.tail)
        anew = restored(EngineRules(), key, row)
        assert anew.version == row.version == len(anew.state.ports) + 2
        assert anew.state == bench.processor._cache[key].state
    assert whole > 5
    assert tails > 20, "most steps do not store it whole"
