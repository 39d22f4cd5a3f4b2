"""gostack.dead as a read model: each record once, with what became of it first, however the topic is read."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.dead import DeadDropped, DeadEvent, DeadRetried
from domain.messages import Envelope, Key, Record, Topic, derived_id, named_id, to_record
from infra.log.memory import MemoryLog
from projections.memory import MemoryStore
from projections.projector import READS, Projector
from projections.store import HistoryQuery, Store
from projections.verify import compare
from projections.view import Condition, Query

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
