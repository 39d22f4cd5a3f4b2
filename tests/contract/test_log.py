"""The contract of the log: the twin in memory and Kafka behave alike."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka.partitioner import DefaultPartitioner

from domain.core.messages import Record, Topic
from infra.log.durability import ONE_REPLICA
from infra.log.kafka import KafkaLog
from infra.log.log import Log, TopicPartition
from infra.log.memory import MemoryLog
from infra.log.topics import TOPICS, PartitionCountDiffers, ReplicasImpossible, apply, keep_times, partition_of


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.real)])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[Log]:
    if request.param == "memory":
        yield MemoryLog()
        return
    bootstrap = request.getfixturevalue("real_servers").bootstrap
    await apply(bootstrap)
    kafka = KafkaLog(bootstrap)
    yield kafka
    await kafka.close()


def record(key: str, value: str = "v", **rest: object) -> Record:
    return Record(topic=Topic.EVENTS, key=key.encode(), value=value.encode(), **rest)  # type: ignore[arg-type]


async def read(log: Log, start: dict[TopicPartition, int], count: int) -> list[Record]:
    reader = await log.reader(start)
    found: list[Record] = []
    try:
        async with asyncio.timeout(20):
            while len(found) < count:
                found += await reader.fetch(1000, 0.5)
    finally:
        await reader.close()
    return found


async def ends(log: Log) -> dict[TopicPartition, int]:
    return {each: end for each, (_, end) in (await log.bounds([Topic.EVENTS])).items()}


async def test_what_is_published_is_read_with_key_value_and_headers(log: Log) -> None:
    start = await ends(log)
    sent = record("a", "value", headers=(("ce_id", b"1"), ("raw", bytes(range(256)))))
    await log.publish([sent])
    (found,) = await read(log, start, 1)
    assert (found.key, found.value, found.headers) == (sent.key, sent.value, sent.headers)
    assert found.offset >= 0


async def test_records_of_a_key_keep_their_order_and_share_a_partition(log: Log) -> None:
    start = await ends(log)
    await log.publish([record(f"key-{number % 7}", str(number)) for number in range(300)])
    found = await read(log, start, 300)
    by_key: dict[bytes, list[int]] = {}
    partitions: dict[bytes, set[int | None]] = {}
    for each in found:
        by_key.setdefault(each.key, []).append(int(each.value))
        partitions.setdefault(each.key, set()).add(each.partition)
    assert all(values == sorted(values) for values in by_key.values())
    assert all(len(numbers) == 1 for numbers in partitions.values())


async def test_both_put_a_key_into_the_same_partition(log: Log) -> None:
    start = await ends(log)
    keys = [str(uuid.UUID(int=number * 7919)) for number in range(50)]
    await log.publish([record(key) for key in keys])
    found = {each.key: each.partition for each in await read(log, start, 50)}
    twin = MemoryLog()
    await twin.publish([record(key) for key in keys])
    assert found == {each.key: each.partition for each in twin.all(Topic.EVENTS)}


def test_a_key_lies_where_kafkas_own_clients_put_it() -> None:
    choose = DefaultPartitioner()
    keys = [str(uuid.UUID(int=number * 7919)).encode()[: number % 37] for number in range(200)]
    assert [partition_of(key, 12) for key in keys] == [choose(key, list(range(12)), []) for key in keys]


async def test_records_that_fill_more_than_one_request_keep_their_order(log: Log) -> None:
    start = await ends(log)
    sizes = [1, 100_000, 900_000, *[20_000] * 40, 1]
    await log.publish([record("large", f"{number}:".ljust(size, "x")) for number, size in enumerate(sizes)])
    found = await read(log, start, len(sizes))
    assert [(int(each.value.split(b":")[0]), len(each.value)) for each in found] == [
        (number, max(size, len(f"{number}:"))) for number, size in enumerate(sizes)
    ]


async def test_a_moment_has_an_offset_in_each_partition(log: Log) -> None:
    await log.publish([record("before", partition=number) for number in (0, 0, 1)])
    between = await ends(log)
    # The log counts in milliseconds.
    await asyncio.sleep(0.005)
    moment = datetime.now(UTC)
    await asyncio.sleep(0.005)
    await log.publish([record("after", partition=number) for number in (0, 2, 2)])
    assert await log.offsets_at([Topic.EVENTS], moment) == between
    later = datetime.now(UTC) + timedelta(hours=1)
    assert await log.offsets_at([Topic.EVENTS], later) == await ends(log)
    first = {each: begin for each, (begin, _) in (await log.bounds([Topic.EVENTS])).items()}
    assert await log.offsets_at([Topic.EVENTS], datetime(1960, 1, 1, tzinfo=UTC)) == first


async def test_the_log_knows_when_it_took_a_record(log: Log) -> None:
    start = await ends(log)
    await log.publish([record(f"key-{number}", "v" * 30_000) for number in range(40)])
    behind = {each: offset for each, offset in start.items() if (await ends(log))[each] > offset}
    assert len(behind) > 1
    found = await log.appended(start)
    assert found.keys() == behind.keys()
    assert {abs((datetime.now(UTC) - each).total_seconds()) < 60 for each in found.values()} == {True}
    # Again, and of others: nothing of the first look is in the way.
    assert await log.appended(behind) == found
    one = next(iter(behind))
    assert await log.appended({one: behind[one]}) == {one: found[one]}
    assert await log.appended(await ends(log)) == {}


async def test_a_partition_can_be_named(log: Log) -> None:
    before = (await log.bounds([Topic.JOBS]))[TopicPartition(Topic.JOBS, 41)][1]
    await log.publish([Record(topic=Topic.JOBS, key=b"h", value=b"v", partition=41)])
    after = (await log.bounds([Topic.JOBS]))[TopicPartition(Topic.JOBS, 41)][1]
    assert after == before + 1


async def test_reading_goes_on_where_it_was_left(log: Log) -> None:
    start = await ends(log)
    await log.publish([record("same", str(number)) for number in range(10)])
    first = await read(log, start, 10)
    again = dict(start)
    fifth = first[4]
    again[TopicPartition(Topic.EVENTS, fifth.partition or 0)] = fifth.offset + 1
    assert [each.value for each in await read(log, again, 5)] == [each.value for each in first[5:]]


async def test_a_reader_waits_for_what_comes_and_gives_nothing_when_nothing_does(log: Log) -> None:
    reader = await log.reader(await ends(log))
    try:
        assert await reader.fetch(10, 0.05) == []
        waiting = asyncio.create_task(read_one(reader))
        await log.publish([record("x")])
        assert (await asyncio.wait_for(waiting, 10)).key == b"x"
    finally:
        await reader.close()


async def test_what_was_let_go_of_is_not_given_and_positions_stay(log: Log) -> None:
    partition = TopicPartition(Topic.REPORTS, 7)
    _, start = (await log.bounds([Topic.REPORTS]))[partition]
    await log.publish([Record(Topic.REPORTS, b"k", str(number).encode(), partition=7) for number in range(10)])
    await log.trim({partition: start + 4})
    assert (await log.bounds([Topic.REPORTS]))[partition] == (start + 4, start + 10)
    assert [each.value for each in await read(log, {partition: start}, 6)] == [b"4", b"5", b"6", b"7", b"8", b"9"]
    first = await log.appended({partition: start + 4})
    assert first.keys() == {partition}
    assert await log.appended({partition: start}) == first


async def test_positions_are_filled_with_records_that_say_nothing(log: Log) -> None:
    partition = TopicPartition(Topic.REPORTS, 9)
    _, start = (await log.bounds([Topic.REPORTS]))[partition]
    await log.fill(partition, 70_000, -1)
    await log.publish([Record(Topic.REPORTS, b"k", b"v", partition=9)])
    assert (await log.bounds([Topic.REPORTS]))[partition] == (0, start + 70_001)
    first, *_ = await read(log, {partition: start}, 1)
    before, last = await read(log, {partition: start + 69_999}, 2)
    assert (first.filler, before.filler, last.filler) == (True, True, False)
    assert (first.key, first.value, before.offset) == (b"", b"", start + 69_999)


async def test_a_record_keeps_its_time_where_it_is_asked_to(log: Log) -> None:
    partition = TopicPartition(Topic.DEAD, 0)
    _, start = (await log.bounds([Topic.DEAD]))[partition]
    sent = Record(Topic.DEAD, b"k", b"v", partition=0, timestamp=1_600_000_000_000)
    for keep in (True, False):
        await log.keep_times(keep)
        await log.publish([sent])
    kept, own = await read(log, {partition: start}, 2)
    assert kept.timestamp == sent.timestamp
    assert own.timestamp > sent.timestamp + 86_400_000


async def test_a_reader_knows_how_far_it_is(log: Log) -> None:
    partition = TopicPartition(Topic.REPORTS, 8)
    _, start = (await log.bounds([Topic.REPORTS]))[partition]
    await log.publish([Record(Topic.REPORTS, b"k", str(number).encode(), partition=8) for number in range(10)])
    reader = await log.reader({partition: start})
    try:
        assert await reader.position(partition) == start
        found: list[Record] = []
        async with asyncio.timeout(20):
            while len(found) < 3:
                found += await reader.fetch(1, 0.5)
        assert await reader.position(partition) == start + 3
    finally:
        await reader.close()


async def read_one(reader: object) -> Record:
    while True:
        found = await reader.fetch(10, 1.0)  # type: ignore[attr-defined]
        if found:
            first: Record = found[0]
            return first


async def test_partition_counts_are_as_declared(log: Log) -> None:
    for topic, declared in TOPICS.items():
        assert await log.partitions(topic) == declared.partitions
    with pytest.raises(KeyError):
        await log.partitions("no-such-topic")


@pytest.mark.real
async def test_applying_topics_again_changes_nothing_and_another_count_is_refused(
    real_servers: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap = real_servers.bootstrap  # type: ignore[attr-defined]
    await apply(bootstrap)
    assert all(line.endswith("as declared") for line in (await apply(bootstrap)).lines)
    await keep_times(bootstrap, True, [Topic.DEAD])
    astray = [line for line in (await apply(bootstrap)).lines if not line.endswith("as declared")]
    assert astray == ["gostack.dead: mended"]
    assert all(line.endswith("as declared") for line in (await apply(bootstrap)).lines)
    from dataclasses import replace

    monkeypatch.setitem(TOPICS, Topic.DEAD, replace(TOPICS[Topic.DEAD], partitions=2))
    with pytest.raises(PartitionCountDiffers, match=r"gostack\.dead has 1 partitions"):
        await apply(bootstrap)


async def test_the_log_tells_how_durable_it_is(log: Log) -> None:
    assert await log.durability() == ONE_REPLICA


@pytest.mark.real
async def test_more_replicas_than_brokers_are_refused(real_servers: object) -> None:
    bootstrap = real_servers.bootstrap  # type: ignore[attr-defined]
    await apply(bootstrap)
    with pytest.raises(ReplicasImpossible, match="3 replicas need as many brokers, and there is 1"):
        await apply(bootstrap, replicas=3)
    with pytest.raises(ReplicasImpossible, match="of 1 replicas there are never 2 in sync"):
        await apply(bootstrap, min_insync=2)
    done = await apply(bootstrap, replicas=1)
    assert (done.plan, done.durability) == ({}, ONE_REPLICA)
    assert all(line.endswith("as declared") for line in done.lines)
