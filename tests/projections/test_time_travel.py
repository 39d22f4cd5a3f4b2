"""What was, is told by the events up to then: the last of them makes the present row, and none makes none."""

from datetime import timedelta
from typing import Any

import orjson
import pytest

from domain.core.errors import TooManyEvents
from domain.core.messages import Key, Record, from_record
from projections.history import time_travel
from projections.history.time_travel import Moment, row_at
from projections.store.memory import MemoryStore
from projections.store.port import HistoryQuery
from projections.views.table import VIEWS
from projections.views.view import Query
from tests.harness.world import START
from tests.projections.test_projector import ALL, instance_key, project, story, whole

assert story  # the fixture of the story that the projector's tests tell

SUBJECTS = {
    "instances": lambda doc: Key("instance", doc["id"]),
    "hosts": lambda doc: Key("host", doc["id"]),
    "networks": lambda doc: Key("network", doc["id"]),
    "flavors": lambda doc: Key("flavor", doc["id"]),
    "images": lambda doc: Key("image", doc["id"]),
    "keypairs": lambda doc: Key("keypair", doc["id"]),
    "zones": lambda doc: Key("zone", doc["id"]),
    "tasks": lambda doc: Key.parse(doc["subject"]),
}


@pytest.fixture
async def store(story: list[Record]) -> MemoryStore:
    made = MemoryStore()
    await project(made, story)
    return made


@pytest.mark.parametrize("view", SUBJECTS)
async def test_the_last_event_makes_the_present_row(view: str, store: MemoryStore) -> None:
    docs = [orjson.loads(doc) for doc in (await store.page(view, Query(limit=ALL))).docs]
    assert docs
    for doc in docs:
        subject = SUBJECTS[view](doc)
        last = (await store.history(HistoryQuery(subject=str(subject), limit=ALL)))[-1]
        present = await store.get(view, doc["id"])
        assert present is not None
        for moment in (
            Moment(topic=last.topic, partition=last.partition, offset=last.offset),
            Moment(START + timedelta(days=9)),
        ):
            row = await row_at(store, VIEWS[view], doc["id"], subject, moment)
            assert row is not None
            assert (orjson.loads(orjson.dumps(row.doc)), row.version) == (doc, present.version)


@pytest.mark.parametrize("view", SUBJECTS)
async def test_every_moment_is_what_was_present_then(view: str, story: list[Record]) -> None:
    """Read models grow by one event at a time, and each row that changes is kept; later it is asked for again."""
    growing, seen = MemoryStore(), []
    known: dict[str, Any] = {}
    for record in story:
        await project(growing, [record])
        for doc in (await whole(growing))[view] if from_record(record).subject.kind in VIEWS[view].kinds else ():
            if known.get(doc["id"]) != doc:
                known[doc["id"]] = doc
                seen.append((Moment(topic=record.topic, partition=record.partition or 0, offset=record.offset), doc))
    assert len(seen) >= len(known) > 0
    for moment, doc in seen:
        row = await row_at(growing, VIEWS[view], doc["id"], SUBJECTS[view](doc), moment)
        assert row is not None
        assert orjson.loads(orjson.dumps(row.doc)) == doc


async def test_before_its_first_event_nothing_was_there(store: MemoryStore) -> None:
    key = instance_key(1)
    first = (await store.history(HistoryQuery(subject=str(key))))[0]
    before = Moment(topic=first.topic, partition=first.partition, offset=first.offset - 1)
    assert await row_at(store, VIEWS["instances"], key.id, key, before) is None
    assert await row_at(store, VIEWS["instances"], key.id, key, Moment(START - timedelta(days=1))) is None


async def test_another_partition_says_nothing_of_it(store: MemoryStore) -> None:
    key = instance_key(1)
    first = (await store.history(HistoryQuery(subject=str(key))))[0]
    elsewhere = Moment(topic=first.topic, partition=first.partition + 1, offset=1 << 40)
    assert await row_at(store, VIEWS["instances"], key.id, key, elsewhere) is None


async def test_more_events_than_are_folded_for_one_answer(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    key = instance_key(1)
    count = len(await store.history(HistoryQuery(subject=str(key), limit=ALL)))
    late = Moment(START + timedelta(days=9))
    monkeypatch.setattr(time_travel, "AT_ONCE", 2)
    row = await row_at(store, VIEWS["instances"], key.id, key, late)
    assert row is not None
    monkeypatch.setattr(time_travel, "MOST_EVENTS", count - count % 2 - 2)
    with pytest.raises(TooManyEvents):
        await row_at(store, VIEWS["instances"], key.id, key, late)
