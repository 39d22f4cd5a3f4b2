"""Milestones: a moment of a long story is folded from the newest before it, and is what the whole fold says."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import orjson
import psycopg
import pytest
from psycopg import sql

from domain.core.errors import TooManyEvents
from domain.core.messages import Key, Record, Topic, from_record
from domain.network.messages import NetworkCreated, PortCreated
from domain.tasks.events import CommandSatisfied
from projections import projector
from projections.history import time_travel
from projections.history.time_travel import Moment, row_at
from projections.maintenance.bulk_load import BulkLoadStore, create_unkeyed_tables
from projections.maintenance.rebuild import NEXT
from projections.store.memory import MemoryStore
from projections.store.port import HistoryEntry, HistoryQuery, Milestone
from projections.store.postgres import PostgresStore
from projections.store.schema import SCHEMA, create_tables
from projections.views.table import VIEWS
from projections.views.view import Query, Row
from tests.harness.world import START
from tests.projections.test_projector import ALL, LAN, SMALL, fact, flavor_events, numbered, project, story
from tests.projections.test_time_travel import SUBJECTS

assert story  # the fixture of the story that the projector's tests tell

TABLES = ("positions", "states", "milestones", "history")
EVERY = 4
"""Versions from milestone to milestone, where a test has short stories."""


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "MILESTONE_EVENTS", EVERY)


class Counting(MemoryStore):
    """Counts the events that were read."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0

    async def history(self, query: HistoryQuery) -> list[HistoryEntry]:
        found = await super().history(query)
        self.read += len(found)
        return found


def milestones(store: MemoryStore) -> dict[tuple[Key, int], Milestone]:
    return store._milestones


async def without(records: Sequence[Record]) -> MemoryStore:
    """What a store has that an earlier release filled."""
    store = MemoryStore()
    await project(store, records)
    store._milestones.clear()
    return store


def as_seen(row: Row | None) -> Any:
    return row and (row.version, orjson.loads(orjson.dumps(row.doc)))


def hurried(records: Sequence[Record]) -> list[Record]:
    """The same, written by processes whose clocks are minutes apart."""
    random = Random(7)
    found = []
    for record in records:
        headers = dict(record.headers)
        time = from_record(record).time + timedelta(seconds=random.randrange(-300, 300))
        headers["ce_time"] = time.isoformat().encode()
        found.append(replace(record, headers=tuple(headers.items())))
    return found


@pytest.mark.parametrize("clocks", ["agree", "differ"])
@pytest.mark.parametrize("view", SUBJECTS)
async def test_every_moment_is_the_same_with_and_without(
    view: str, clocks: str, story: list[Record], near: None
) -> None:
    records = story if clocks == "agree" else hurried(story)
    store, whole = MemoryStore(), await without(records)
    await project(store, records)
    docs = [orjson.loads(doc) for doc in (await store.page(view, Query(limit=ALL))).docs]
    for doc in docs:
        subject = SUBJECTS[view](doc)
        for entry in await store.history(HistoryQuery(str(subject), limit=ALL)):
            place = Moment(topic=entry.topic, partition=entry.partition, offset=entry.offset)
            later = Moment(entry.time + timedelta(seconds=100), entry.topic, entry.partition, entry.offset)
            for moment in (place, Moment(entry.time), later):
                row = await row_at(store, VIEWS[view], doc["id"], subject, moment)
                assert as_seen(row) == as_seen(await row_at(whole, VIEWS[view], doc["id"], subject, moment))


def test_the_story_has_milestones_of_what_has_several(story: list[Record], near: None) -> None:
    versions: dict[Key, int] = {}
    for record in story:
        envelope = from_record(record)
        versions[envelope.subject] = max(versions.get(envelope.subject, 0), envelope.aggversion or 0)
    assert {key.kind for key, version in versions.items() if version > 3 * EVERY} >= {"instance", "network", "host"}


async def test_they_stand_where_the_story_says_wherever_batches_end(
    story: list[Record], near: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where projectors end between two events, and states leave memory."""
    records = hurried(story)
    store = MemoryStore()
    await project(store, records)
    expected = milestones(store)
    assert expected
    versions: dict[Key, list[int]] = {}
    for key, version in expected:
        versions.setdefault(key, [0]).append(version)
    assert all(after - before == EVERY for each in versions.values() for before, after in pairwise(sorted(each)))
    monkeypatch.setattr(projector, "CACHE", 2)
    random = Random(3)
    for most in (1, 2, 30):
        store, left = MemoryStore(), list(records)
        while left:
            batches = []
            for _ in range(random.randint(1, 3)):
                size = random.randint(1, most)
                batches.append(left[:size])
                left = left[size:]
            await project(store, *filter(None, batches))
        assert milestones(store) == expected


async def test_so_many_events_are_read_whatever_the_length_of_the_story(
    near: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 300
    monkeypatch.setattr(time_travel, "AT_ONCE", EVERY)
    monkeypatch.setattr(time_travel, "MOST_EVENTS", 3 * EVERY)
    store = Counting()
    await project(store, flavor_events(count))
    for version in range(1, count + 1):
        store.read = 0
        moment = Moment(topic=Topic.EVENTS, partition=0, offset=version - 1)
        row = await row_at(store, VIEWS["flavors"], SMALL.id, SMALL, moment)
        assert row is not None
        assert (row.version, row.doc["core"]) == (version, version)
        assert store.read <= 4 * EVERY


@pytest.mark.parametrize("beside", [-1, 0, 1])
async def test_at_a_milestone_and_beside_it(near: None, beside: int) -> None:
    store = MemoryStore()
    events = [
        replace(each, headers=tuple({**dict(each.headers), "ce_time": at(number)}.items()))
        for number, each in enumerate(flavor_events(3 * EVERY))
    ]
    await project(store, events)
    assert [version for _, version in milestones(store)] == [EVERY, 2 * EVERY, 3 * EVERY]
    for version in (EVERY + beside, 2 * EVERY + beside):
        time = datetime.fromisoformat(at(version - 1).decode())
        for moment in (Moment(topic=Topic.EVENTS, partition=0, offset=version - 1), Moment(time)):
            row = await row_at(store, VIEWS["flavors"], SMALL.id, SMALL, moment)
            assert row is not None
            assert (row.version, row.doc["core"]) == (version, version)


def at(second: int) -> bytes:
    return (START + timedelta(seconds=second)).isoformat().encode()


async def test_what_has_few_events_has_none() -> None:
    store = MemoryStore()
    await project(store, flavor_events(projector.MILESTONE_EVENTS - 1))
    assert milestones(store) == {}
    await project(store, flavor_events(projector.MILESTONE_EVENTS)[-1:])
    assert [version for _, version in milestones(store)] == [projector.MILESTONE_EVENTS]


async def test_a_growing_state_costs_an_event_no_more(near: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that gets a port an event: its milestones lie further and further apart."""
    monkeypatch.setattr(projector, "MILESTONE_BYTES", 100)
    count = 600
    made = NetworkCreated(name="lan", cidr="10.0.0.0/16", segment=1, project="p", created=START)
    ports = [
        PortCreated(
            port_id=str(number), ip=f"10.0.{number >> 8}.{number & 255}", project="p", keep=False, created=START
        )
        for number in range(1, count)
    ]
    store = MemoryStore()
    await project(store, [fact(each, number + 1, LAN, number) for number, each in enumerate([made, *ports])])
    found = sorted(milestones(store).values(), key=lambda each: each.version)
    gaps = [after.version - before.version for before, after in pairwise(found)]
    assert gaps == sorted(gaps)
    assert gaps[-1] > 20 * EVERY
    for before, after in pairwise(found):
        assert after.version - before.version == max(EVERY, len(before.state) // 100)
    last = found[-1]
    assert sum(len(each.state) for each in found[:-1]) <= 100 * (last.version + EVERY)


async def test_notices_neither_count_nor_end_a_fold(near: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asks for what is so already, again and again, leaves nothing but notices."""
    monkeypatch.setattr(time_travel, "AT_ONCE", EVERY)
    monkeypatch.setattr(time_travel, "MOST_EVENTS", 3 * EVERY)
    events = flavor_events(3 * EVERY)
    late = replace(from_record(events[0]), time=START + timedelta(days=1)).time.isoformat().encode()
    notices = [
        replace(each, headers=tuple({**dict(each.headers), "ce_time": late}.items()))
        for number in range(100)
        for each in [fact(CommandSatisfied(command="c", message="so it is"), None, SMALL, 1000 + number)]
    ]
    mixed = numbered([*events[:2], *notices, *events[2:]])
    store = MemoryStore()
    await project(store, mixed)
    for moment in (Moment(START), Moment(topic=Topic.EVENTS, partition=0, offset=mixed[-1].offset)):
        row = await row_at(store, VIEWS["flavors"], SMALL.id, SMALL, moment)
        assert row is not None
        assert row.version == len(events)


async def test_another_partition_says_nothing_of_it(near: None) -> None:
    store = MemoryStore()
    await project(store, flavor_events(3 * EVERY))
    elsewhere = Moment(topic=Topic.EVENTS, partition=1, offset=1 << 40)
    assert await row_at(store, VIEWS["flavors"], SMALL.id, SMALL, elsewhere) is None


async def test_a_long_story_that_an_earlier_release_projected(near: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without milestones it is folded up to the bound, and told how to get them; what happens next makes one."""
    monkeypatch.setattr(time_travel, "AT_ONCE", EVERY)
    monkeypatch.setattr(time_travel, "MOST_EVENTS", 10 * EVERY)
    events = flavor_events(20 * EVERY + 1)
    store = await without(events[:-1])
    early = Moment(topic=Topic.EVENTS, partition=0, offset=5 * EVERY)
    row = await row_at(store, VIEWS["flavors"], SMALL.id, SMALL, early)
    assert row is not None
    assert row.version == 5 * EVERY + 1
    with pytest.raises(TooManyEvents) as refused:
        await row_at(store, VIEWS["flavors"], SMALL.id, SMALL, Moment())
    assert "gs projection rebuild" in refused.value.hint
    await project(store, events[-1:])
    row = await row_at(store, VIEWS["flavors"], SMALL.id, SMALL, Moment())
    assert row is not None
    assert row.version == len(events)


@pytest.mark.real
async def test_a_rebuild_makes_those_of_the_live_projector(
    story: list[Record], near: None, real_servers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks nothing up in history, and has other batches; states leave memory here and there."""
    monkeypatch.setattr(projector, "CACHE", 3)
    records = hurried(story)
    create_tables(real_servers.dsn)
    with psycopg.connect(real_servers.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("truncate {}").format(sql.SQL(", ").join(map(_table, (*TABLES, *VIEWS)))))
        connection.execute("drop schema if exists read_next cascade")
        create_unkeyed_tables(connection, NEXT)
        for store, size in ((PostgresStore(real_servers.dsn, 1), 7), (BulkLoadStore(real_servers.dsn, 1, NEXT), 50)):
            await store.open()
            await project(store, *(records[start : start + size] for start in range(0, len(records), size)))
            await store.close()
        live, made = (
            connection.execute(
                sql.SQL("select * from {} order by kind, id, version").format(sql.Identifier(schema, "milestones"))
            ).fetchall()
            for schema in (SCHEMA, NEXT)
        )
    assert len(live) > 10
    assert made == live
    memory = MemoryStore()
    await project(memory, records)
    assert [tuple(each[:3]) for each in live] == sorted((*key, version) for key, version in milestones(memory))


def _table(name: str) -> sql.Identifier:
    return sql.Identifier(SCHEMA, name)
