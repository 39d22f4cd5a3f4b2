"""gostack.dead as a read model: each record once, with what became of it first, however the topic is read."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.core.messages import (
    Envelope,
    Key,
    Record,
    Topic,
    derived_id,
    named_id,
    to_record,
)
from domain.dead import DeadDropped, DeadEvent, DeadRetried
from infra.log.log import LogUnavailable
from infra.log.memory import MemoryLog
from infra.process import metrics
from projections.maintenance.verify import compare
from projections.projector import READS, Projector, VersionGap
from projections.store.memory import MemoryStore
from projections.store.port import HistoryQuery, ProjectionBatch, Store
from projections.views.view import Condition, Query
from tests.harness.nonsense import NONSENSE
from tests.projections.test_projector import SMALL, flavor_events

START = datetime(2026, 1, 1, tzinfo=UTC)


def place(number: int) -> str:
    return f"gostack.commands:3:{number}"


def ident(number: int) -> str:
    return named_id("dead", place(number))


def dead(number: int, **headers: bytes) -> Record:
    """A record that nobody could read, as a worker puts it there."""
    given = {"ce_type": b"t", "ce_subject": b"instance/%d" % number, **headers}
    found = {"gostack_place": place(number).encode(), "gostack_why": b"boom"}
    return Record(Topic.DEAD, b"k", b"\xff", tuple({**given, **found}.items()))


def closed(number: int, fact: DeadEvent, turn: int = 0) -> Record:
    """What a person did about it."""
    return to_record(
        Envelope(
            derived_id(ident(number), fact.type_name, turn),
            fact,
            Key("dead", ident(number)),
            START + timedelta(seconds=turn),
            "test",
            "c",
            actor=f"ann{turn}",
            reason="mended",
        ),
        Topic.DEAD,
    )


async def project(store: Store, log: MemoryLog, most: int = 1000) -> None:
    """By a projector that is started anew."""
    projector = Projector(log, store, most)
    await projector.start(list(await log.bounds(READS)))
    await projector.up_to({each: end for each, (_, end) in (await log.bounds(READS)).items()})


async def rows(store: Store, **where: str) -> list[dict[str, Any]]:
    conditions = tuple(Condition(column, "=", value) for column, value in where.items())
    page = await store.page("dead", Query(where=conditions, limit=1000))
    return [orjson.loads(doc) for doc in page.docs]


words = st.lists(
    st.tuples(st.sampled_from(["dead", "dead", "retried", "dropped", "nonsense"]), st.integers(0, 4)), max_size=25
)


@settings(max_examples=60, deadline=None)
@given(words, st.lists(st.integers(1, 4), min_size=1, max_size=25))
async def test_rows_are_what_the_topic_says_however_it_is_read(story: list[tuple[str, int]], cuts: list[int]) -> None:
    log, store = MemoryLog(), MemoryStore()
    expected: dict[int, str] = {}
    for turn, (what, number) in enumerate(story):
        match what:
            case "dead":
                await log.publish([dead(number)])
                expected.setdefault(number, "dead")
            case "nonsense":
                await log.publish([Record(Topic.DEAD, b"k", b"\xff", (("ce_type", b"\xfe"),))])
            case _:
                fact = DeadRetried(record_id="r") if what == "retried" else DeadDropped()
                await log.publish([closed(number, fact, turn)])
                if expected.get(number) == "dead":
                    expected[number] = what
        if turn % cuts[turn % len(cuts)] == 0:
            await project(store, log, cuts[turn % len(cuts)])
    await project(store, log)
    found = await rows(store)
    assert {each["id"]: each["status"] for each in found} == {ident(each): what for each, what in expected.items()}
    assert [ident(each) for each in reversed(expected)] == [each["id"] for each in found], "the newest first"
    folded, problems = await compare(log, store)
    assert problems == []
    assert len(folded.dead) == len(expected)


async def test_what_was_done_first_counts_and_says_who_did_it() -> None:
    log, store = MemoryLog(), MemoryStore()
    await log.publish([dead(1), closed(1, DeadDropped(), 1), closed(1, DeadRetried(record_id="r"), 2)])
    await project(store, log)
    (found,) = await rows(store)
    assert (found["status"], found["closed_by"], found["closed_reason"]) == ("dropped", "ann1", "mended")
    assert datetime.fromisoformat(found["closed"]) == START + timedelta(seconds=1)
    assert (found["place"], found["why"], found["offset"]) == (place(1), "boom", 0)


async def test_they_are_found_by_status_kind_and_subject() -> None:
    log, store = MemoryLog(), MemoryStore()
    await log.publish([dead(1), dead(2, ce_subject=b"host/h"), closed(1, DeadDropped())])
    await project(store, log)
    assert [each["id"] for each in await rows(store, status="dead")] == [ident(2)]
    assert [each["id"] for each in await rows(store, kind="instance")] == [ident(1)]
    assert [each["id"] for each in await rows(store, subject="host/h")] == [ident(2)]


async def test_events_are_none_of_their_history() -> None:
    log, store = MemoryLog(), MemoryStore()
    await log.publish([dead(1), closed(1, DeadDropped())])
    await project(store, log)
    assert await store.history(HistoryQuery()) == []


async def test_a_row_that_is_wrong_is_found() -> None:
    log, store = MemoryLog(), MemoryStore()
    await log.publish([dead(1)])
    await project(store, log)
    row = store._rows["dead"][ident(1)]
    store._rows["dead"][ident(1)] = replace(row, doc=row.doc | {"status": "dropped"})
    _, problems = await compare(log, store)
    assert problems == [f'dead {ident(1)}: status is "dropped", the log makes it "dead"']


@pytest.mark.parametrize(
    "headers",
    [{"ce_subject": b"x" * 100_000}, {"ce_subject": b"a\0b/\xff"}, {"ce_time": b"\xff" * 9}, {"ce_type": b""}],
)
async def test_whatever_a_header_holds_there_is_a_row(headers: dict[str, bytes]) -> None:
    log, store = MemoryLog(), MemoryStore()
    await log.publish([dead(1, **headers)])
    await project(store, log)
    (found,) = await rows(store)
    assert len(orjson.dumps(found)) < 10_000
    assert "\0" not in found["subject"]


# Events that cannot be read


def event_place(offset: int) -> str:
    return f"gostack.events:0:{offset}"


async def serve(store: Store, log: MemoryLog, most: int = 1000) -> None:
    """By the projector that serves, until all is projected that is there, and what it lays aside."""
    projector = Projector(log, store, most, pace=0)
    partitions = list(await log.bounds(READS))
    await projector.run(lambda: all(projector._positions[each] >= len(log._records[each]) for each in partitions))


def laid_aside() -> float:
    return metrics.REGISTRY.get_sample_value("gostack_dead_records_total", {"process": "projector"}) or 0.0


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
async def test_an_event_that_cannot_be_read_is_laid_aside(nonsense: Record) -> None:
    log, store, before = MemoryLog(), MemoryStore(), laid_aside()
    await log.publish([replace(nonsense, partition=0)])
    await serve(store, log)
    (found,) = await rows(store)
    assert (found["id"], found["place"], found["status"]) == (
        named_id("dead", event_place(0)),
        event_place(0),
        "dead",
    )
    assert "cannot be read" in found["why"]
    assert laid_aside() == before + 1
    folded, problems = await compare(log, store)
    assert (problems, len(folded.dead)) == ([], 1)


async def test_a_projector_that_does_not_serve_sends_nothing() -> None:
    log, store = MemoryLog(), MemoryStore()
    await log.publish([replace(NONSENSE["broken JSON"], partition=0)])
    await project(store, log)
    assert log.all(Topic.DEAD) == []
    _, (problem,) = await compare(log, store)
    assert event_place(0) in problem


class Falling(MemoryStore):
    """Fails the first time that something is to be written."""

    falls = True

    async def apply(self, batch: ProjectionBatch) -> None:
        if self.falls:
            self.falls = False
            raise ConnectionError
        await super().apply(batch)


async def test_a_fall_repeats_it_and_it_is_one_dead_record_still() -> None:
    log, store = MemoryLog(), Falling()
    await log.publish([replace(NONSENSE["broken JSON"], partition=0)])
    with pytest.raises(ConnectionError):
        await serve(store, log)
    assert len(log.all(Topic.DEAD)) == 1
    await serve(store, log)
    assert len(log.all(Topic.DEAD)) == 2
    (found,) = await rows(store)
    assert (found["place"], found["offset"]) == (event_place(0), 0)
    assert (await compare(log, store))[1] == []


async def test_nothing_is_applied_that_could_not_be_laid_aside() -> None:
    class Away(MemoryLog):
        async def publish(self, records: Sequence[Record]) -> None:
            if any(each.topic == Topic.DEAD for each in records):
                raise LogUnavailable("away")
            await super().publish(records)

    log, store = Away(), MemoryStore()
    await log.publish([replace(NONSENSE["broken JSON"], partition=0)])
    with pytest.raises(LogUnavailable):
        await serve(store, log)
    assert not any((await store.positions(list(await log.bounds(READS)))).values())


async def test_one_that_was_dropped_stays_so_when_it_is_laid_aside_again() -> None:
    log, store = MemoryLog(), MemoryStore()
    await log.publish([replace(NONSENSE["broken JSON"], partition=0)])
    await serve(store, log)
    ident = named_id("dead", event_place(0))
    fact = Envelope(derived_id(ident, "x"), DeadDropped(), Key("dead", ident), START, "test", "c", actor="ann")
    await log.publish([to_record(fact, Topic.DEAD)])
    # Read models that are made anew, by the projector itself.
    again = MemoryStore()
    for each in (store, again):
        await serve(each, log)
        (found,) = await rows(each)
        assert (found["status"], found["closed_by"]) == ("dropped", "ann")
    folded, problems = await compare(log, again)
    assert (problems, len(folded.dead)) == ([], 1)


async def test_one_that_is_on_its_way_to_the_read_model_is_no_difference() -> None:
    log, store = MemoryLog(), MemoryStore()
    await log.publish([replace(NONSENSE["broken JSON"], partition=0)])
    projector = Projector(log, store)
    await projector.start(list(await log.bounds(READS)))
    await projector.serve()
    await projector.apply(log.all(Topic.EVENTS))
    assert (len(log.all(Topic.DEAD)), await rows(store)) == (1, [])
    folded, problems = await compare(log, store)
    assert (problems, folded.dead, folded.behind) == ([], {}, 1)


@pytest.mark.parametrize("most", [1, 1000])
async def test_where_it_was_a_version_of_something_the_projector_stops_and_it_is_told(most: int) -> None:
    log, store = MemoryLog(), MemoryStore()
    first, second, third = flavor_events(3)
    await log.publish([replace(each, offset=-1) for each in (first, replace(second, value=b"{"), third)])
    for _ in range(3):
        with pytest.raises(VersionGap, match="version 3 follows 1"):
            await serve(store, log, most)
    assert len(log.all(Topic.DEAD)) == (1 if most == 1 else 0), "once, or never, however often it starts"
    _, problems = await compare(log, store)
    assert problems == [f"{SMALL}: version 3 follows 1 at {event_place(2)}"]
