"""The contract of the write store: the twin in memory and PostgreSQL keep, refuse and forget alike."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from domain.core.messages import Key, Record
from infra.db.memory import MemoryWriteStore
from infra.db.migrate import migrate
from infra.db.postgres import PostgresWriteStore
from infra.db.write_store import AggregateWrite, Conflict, Move, WriteStore, WriteStoreUnavailable
from infra.log.log import TopicPartition

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = TopicPartition("gostack.commands", 0)
SECOND = TopicPartition("gostack.commands", 1)


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.real)])
async def write_store(request: pytest.FixtureRequest) -> AsyncIterator[WriteStore]:
    if request.param == "memory":
        yield MemoryWriteStore()
        return
    dsn = request.getfixturevalue("real_servers").dsn
    migrate(dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "truncate engine.positions, engine.inbox, engine.aggregates, engine.outbox, engine.parked, engine.tails"
        )
    postgres = PostgresWriteStore(dsn, "engine")
    yield postgres
    await postgres.close()


def key() -> Key:
    return Key("instance", str(uuid.uuid4()))


def change(of: Key, before: int, after: int, **rest: object) -> AggregateWrite:
    return AggregateWrite(of, before, after, f'{{"v":{after}}}'.encode(), **rest)  # type: ignore[arg-type]


async def test_a_position_moves_only_from_where_it_is(write_store: WriteStore) -> None:
    assert await write_store.positions([FIRST, SECOND]) == {FIRST: 0, SECOND: 0}
    async with write_store.step() as step:
        opened = await step.open([Move(FIRST, 0, 5), Move(SECOND, 3, 9)], [], [])
        assert opened.moved == {FIRST}
        await step.close([], [], [], [])
    assert await write_store.positions([FIRST, SECOND]) == {FIRST: 5, SECOND: 0}


async def test_who_only_looks_is_told_the_positions_and_changes_none(write_store: WriteStore) -> None:
    assert await write_store.reached([FIRST, SECOND]) == {FIRST: 0, SECOND: 0}
    await write_store.positions([FIRST])
    async with write_store.step() as step:
        opened = await step.open([Move(FIRST, 0, 5), Move(SECOND, 0, 9)], [], [])
        assert opened.moved == {FIRST}
        await step.close([], [], [], [])
    assert await write_store.reached([FIRST, SECOND]) == {FIRST: 5, SECOND: 0}


@pytest.mark.parametrize("what", ["position", "id", "state"])
async def test_it_is_empty_until_something_was_done(write_store: WriteStore, what: str) -> None:
    await write_store.positions([FIRST])
    assert await write_store.empty()
    async with write_store.step() as step:
        await step.open([Move(FIRST, 0, 5)] if what == "position" else [], [], [])
        changes = [change(key(), 0, 1)] if what == "state" else []
        await step.close(changes, [str(uuid.uuid4())] if what == "id" else [], [], [])
    assert not await write_store.empty()


async def test_nothing_of_a_step_that_fails_is_kept(write_store: WriteStore) -> None:
    await write_store.positions([FIRST])
    one = key()

    async def fail() -> None:
        async with write_store.step() as step:
            await step.open([Move(FIRST, 0, 5)], [], [one])
            await step.close([change(one, 0, 1)], [str(uuid.uuid4())], [Record("t", b"k", b"v")], [(one, "why")])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await write_store.positions([FIRST]) == {FIRST: 0}
    assert await write_store.unsent() == []
    async with write_store.step() as step:
        opened = await step.open([], [], [one])
        assert (opened.rows, opened.parked) == ({}, {})


async def test_states_are_stored_with_their_versions_and_found_again(write_store: WriteStore) -> None:
    one, two = key(), key()
    async with write_store.step() as step:
        await step.open([], [], [one, two])
        await step.close([change(one, 0, 3)], [], [], [])
    async with write_store.step() as step:
        opened = await step.open([], [], [one, two])
        assert {each: row.version for each, row in opened.rows.items()} == {one: 3}
        assert opened.rows[one].state == b'{"v":3}'
        assert (await step.load([one]))[one].version == 3
    assert one in await write_store.all("instance")
    assert await write_store.all("nothing") == {}


async def test_a_state_that_was_changed_meanwhile_is_not_overwritten(write_store: WriteStore) -> None:
    one, other = key(), key()
    async with write_store.step() as step:
        await step.open([], [], [one])
        await step.close([change(one, 0, 3)], [], [], [])

    async def overwrite() -> None:
        async with write_store.step() as step:
            await step.open([], [], [one])
            await step.close([change(one, 2, 4), change(other, 0, 1)], [], [], [])

    with pytest.raises(Conflict):
        await overwrite()
    async with write_store.step() as step:
        opened = await step.open([], [], [one, other])
        assert {each: row.version for each, row in opened.rows.items()} == {one: 3}


async def test_what_was_done_is_remembered_until_it_is_pruned(write_store: WriteStore) -> None:
    done, other = str(uuid.uuid4()), str(uuid.uuid4())
    async with write_store.step() as step:
        await step.open([], [done], [])
        await step.close([], [done], [], [])
    async with write_store.step() as step:
        assert (await step.open([], [done, other], [])).seen == {done}
    now, hour, at_once = datetime.now(UTC), timedelta(hours=1), timedelta(seconds=-1)
    assert await write_store.prune(now, hour) == 0
    assert await write_store.prune(now + 2 * hour, hour) == 0, "only the caller's clock says that it is so old"
    assert await write_store.prune(now - hour, at_once) == 0, "only the database's does"
    assert await write_store.prune(now + hour, at_once) == 1


async def test_an_outbox_waits_until_it_is_sent(write_store: WriteStore) -> None:
    records = [
        Record("gostack.events", b"k", bytes(range(256)), (("ce_id", b"1"), ("odd", b"\xff\x00"))),
        Record("gostack.jobs", b"k2", b"{}", (), 7),
    ]
    async with write_store.step() as step:
        await step.open([], [], [])
        number = await step.close([], [], records, [])
    assert await write_store.unsent() == [(number, records)]
    assert await write_store.waiting() == 2
    async with write_store.step() as step:
        await step.open([], [], [])
        second = await step.close([], [], records[:1], [])
    assert await write_store.waiting() == 3
    await write_store.sent([number])
    assert await write_store.waiting() == 1
    await write_store.sent([second])
    assert (await write_store.unsent(), await write_store.waiting()) == ([], 0)


async def test_what_is_due_is_found_in_order_and_goes_when_it_is_no_longer(write_store: WriteStore) -> None:
    one, two, three = key(), key(), key()
    async with write_store.step() as step:
        await step.open([], [], [])
        await step.close(
            [
                change(one, 0, 1, due_at=NOW + timedelta(seconds=2), due_id="b"),
                change(two, 0, 1, due_at=NOW + timedelta(seconds=1), due_id="a"),
                change(three, 0, 1),
            ],
            [],
            [],
            [],
        )
    assert [due.due_id for due in await write_store.due(NOW + timedelta(seconds=5), 10)] == ["a", "b"]
    assert [due.due_id for due in await write_store.due(NOW + timedelta(seconds=5), 1)] == ["a"]
    assert await write_store.due(NOW, 10) == []
    async with write_store.step() as step:
        await step.open([], [], [])
        await step.close([change(two, 1, 2)], [], [], [])
    assert [due.key for due in await write_store.due(NOW + timedelta(seconds=5), 10)] == [one]


async def test_a_parked_aggregate_says_why(write_store: WriteStore) -> None:
    one = key()
    async with write_store.step() as step:
        await step.open([], [], [])
        await step.close([], [], [], [(one, "bad record")])
    async with write_store.step() as step:
        assert (await step.open([], [], [one])).parked == {one: "bad record"}


async def test_what_only_the_callers_clock_says_is_due_is_not_sure(write_store: WriteStore) -> None:
    one, two, now = key(), key(), datetime.now(UTC)
    changes = [
        change(one, 0, 1, due_at=now + timedelta(minutes=30), due_id="later"),
        change(two, 0, 1, due_at=now - timedelta(minutes=30), due_id="before"),
    ]
    async with write_store.step() as step:
        await step.open([], [], [])
        await step.close(changes, [], [], [])
    ahead, behind = now + timedelta(hours=1), now - timedelta(hours=1)
    assert [due.due_id for due in await write_store.due(ahead, 10)] == ["before", "later"]
    assert [due.due_id for due in await write_store.due(ahead, 10, sure=True)] == ["before"]
    assert await write_store.due(behind, 10, sure=True) == []


@pytest.mark.parametrize("write_store", [pytest.param("postgres", marks=pytest.mark.real)], indirect=True)
async def test_who_takes_over_ends_what_stands_open_of_its_kind_and_nothing_that_is_at_work(
    write_store: WriteStore, request: pytest.FixtureRequest
) -> None:
    """A worker that stands still loses its partitions 3 s after that at the earliest."""
    dsn = request.getfixturevalue("real_servers").dsn
    still, at_work, scheduler = (PostgresWriteStore(dsn, schema) for schema in ("engine", "engine", "scheduler"))
    go_on = asyncio.Event()
    await write_store.positions([FIRST, SECOND])

    async def begin(other: PostgresWriteStore, moves: Sequence[Move] = ()) -> asyncio.Task[None]:
        begun = asyncio.Event()

        async def stand() -> None:
            async with other.step() as step:
                await step.open(moves, [], [])
                begun.set()
                await go_on.wait()
                await step.close([], [], [], [])

        task = asyncio.create_task(stand())
        await begun.wait()
        return task

    try:
        standing, elsewhere = await begin(still, [Move(FIRST, 0, 5)]), await begin(scheduler)
        await asyncio.sleep(2.8)
        working = await begin(at_work)
        async with asyncio.timeout(10):
            assert await write_store.positions([FIRST, SECOND]) == {FIRST: 0, SECOND: 0}
        go_on.set()
        await working
        await elsewhere
        with pytest.raises(WriteStoreUnavailable):
            await standing
        await (await begin(still, [Move(FIRST, 0, 5)]))
        assert await write_store.reached([FIRST]) == {FIRST: 5}
    finally:
        for each in (still, at_work, scheduler):
            await each.close()


async def test_what_is_parked_is_not_due_until_it_is_released(write_store: WriteStore) -> None:
    one = key()
    async with write_store.step() as step:
        await step.open([], [], [])
        await step.close([AggregateWrite(one, 0, 1, b"{}", NOW, "d")], [], [], [(one, "bad record")])
    assert await write_store.due(NOW, 10) == []
    async with write_store.step() as step:
        await step.open([], [], [])
        await step.close([], [], [], [], [one])
    assert [due.key for due in await write_store.due(NOW, 10)] == [one]
    async with write_store.step() as step:
        await step.open([], [], [])
        await step.close([], [], [], [(one, "worse")], [one])
    assert await write_store.parked() == {one: "worse"}


async def test_a_large_aggregate_grows_by_its_tail_until_it_is_stored_whole_again(write_store: WriteStore) -> None:
    large, small = key(), key()

    async def store(*changes: AggregateWrite) -> None:
        async with write_store.step() as step:
            await step.open([], [], [])
            await step.close(changes, [], [], [])

    await store(change(large, 0, 1), change(small, 0, 1))
    await store(AggregateWrite(large, 1, 3, b"", tail=2, records=b"[1]"), change(small, 1, 2))
    await store(AggregateWrite(large, 3, 4, b"", tail=3, records=b"[2]", due_at=NOW, due_id="d"))
    found = await write_store.all("instance")
    assert (found[large].version, found[large].state, found[large].tail) == (4, b'{"v":1}', (b"[1]", b"[2]"))
    assert (found[small].version, found[small].state, found[small].tail) == (2, b'{"v":2}', ())
    async with write_store.step() as step:
        assert (await step.load([large]))[large] == found[large]
        assert (await step.open([], [], [large])).rows[large] == found[large]
        await step.close([], [], [], [])
    assert [due.key for due in await write_store.due(NOW, 10)] == [large]
    with pytest.raises(Conflict):
        await store(AggregateWrite(large, 3, 5, b"", tail=4, records=b"[3]"))
    await store(change(large, 4, 6, shed=True))
    assert (await write_store.all("instance"))[large].tail == ()
    await store(AggregateWrite(large, 6, 7, b"", tail=1, records=b"[4]"))
    assert (await write_store.all("instance"))[large].tail == (b"[4]",)
