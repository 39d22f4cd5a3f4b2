"""The log on Kafka, by aiokafka: an idempotent producer that waits for all replicas, readers assigned by hand.

No transactions: the client speaks the old protocol, which does not fence a zombie; PostgreSQL's positions do that.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError, OutOfOrderSequenceNumber

from domain.core.messages import FILLER_HEADERS, Record
from infra.log.client_shutdown import end_consumer, end_producer
from infra.log.durability import Durability
from infra.log.fetch_batching import GATHERED_BYTES, LONGEST_MS, FetchBatching
from infra.log.log import LogUnavailable, Positions, Reader, TopicPartition
from infra.log.topics import TOPICS, durability, keep_times, partition_of

MAX_RECORD = 1 << 20
MAX_BATCH = 1 << 18
"""Bytes for one partition in a request: with the client's default, 16 KiB, a step took several round trips."""
COMMITTED = "read_committed"
"""GoStack writes no transactions; records of another writer's aborted transactions are not read."""
MAX_FETCH = 8 << 20
PEEK_BYTES = 16 << 10
PEEK_MS = 500
DURABILITY_SECONDS = 60.0
AGAIN_SECONDS = 0.5
"""Seconds after a failed attempt to connect in which no other is made."""


class KafkaReader:
    """A Reader: a consumer without a group, whose positions the caller keeps."""

    def __init__(self, consumer: AIOKafkaConsumer, batching: FetchBatching | None = None) -> None:
        self._consumer = consumer
        self._batching = batching

    async def fetch(self, most: int, wait: float) -> list[Record]:
        """Return at most `most` records, or none where none came within `wait` seconds. Raises LogUnavailable."""
        try:
            found = await self._consumer.getmany(timeout_ms=int(wait * 1000), max_records=most)
        except KafkaError as error:
            raise LogUnavailable(str(error)) from error
        if self._batching:
            self._batching.fetched(self._consumer, sum(map(len, found.values())))
        return [
            Record(
                topic=partition.topic,
                key=record.key or b"",
                value=record.value or b"",
                headers=tuple(record.headers),
                partition=partition.partition,
                offset=record.offset,
                timestamp=record.timestamp,
            )
            for partition, records in found.items()
            for record in records
        ]

    async def position(self, partition: TopicPartition) -> int:
        """Return the offset after the last record returned, and after markers of the log itself that follow it."""
        return int(await self._consumer.position(KafkaPartition(*partition)))

    async def close(self) -> None:
        """Stop reading, and close the connections."""
        await end_consumer(self._consumer)


class KafkaLog:
    """The Log on a Kafka cluster."""

    def __init__(self, bootstrap: str, timeout: float = 20.0) -> None:
        """Connect at first use. `timeout` is how many seconds a request may take."""
        self._bootstrap = bootstrap
        self._timeout = timeout
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()
        self._asker: AIOKafkaConsumer | None = None
        self._peeker: AIOKafkaConsumer | None = None
        self._peeking = asyncio.Lock()
        self._looking = asyncio.Lock()
        self._durability: tuple[float, Durability | None] | None = None
        """When it was looked up, in seconds of time.monotonic(), and what it was."""
        self._ending: set[asyncio.Task[None]] = set()
        self._failed: tuple[float, str] | None = None
        """When the last attempt to connect failed, in seconds of time.monotonic(), and why."""

    async def publish(self, records: Sequence[Record]) -> None:
        """Append records, in order within a partition; return when every replica has them. Raises LogUnavailable."""
        for last in (False, True):
            producer = await self._open()
            try:
                async with asyncio.timeout(self._timeout):
                    counts = {
                        topic: len(await producer.partitions_for(topic)) for topic in {each.topic for each in records}
                    }
                    waiting = [
                        await producer.send(
                            record.topic,
                            value=record.value,
                            key=record.key,
                            # The client would work it out anew for each record, from lists that it copies.
                            partition=partition_of(record.key, counts[record.topic])
                            if record.partition is None
                            else record.partition,
                            headers=list(record.headers),
                            timestamp_ms=record.timestamp if record.timestamp >= 0 else None,
                        )
                        for record in records
                    ]
                    await asyncio.gather(*waiting)
                return
            except OutOfOrderSequenceNumber as error:
                await self._forget(producer)
                if last:
                    raise LogUnavailable(str(error)) from error
            except (KafkaError, TimeoutError) as error:
                await self._forget(producer)
                raise LogUnavailable(f"publishing {len(records)} records: {error!r}") from error

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has. Raises KeyError for an unknown topic, LogUnavailable."""
        if topic not in TOPICS:
            raise KeyError(topic)
        producer = await self._open()
        try:
            async with asyncio.timeout(self._timeout):
                return len(await producer.partitions_for(topic))
        except (KafkaError, TimeoutError) as error:
            await self._forget(producer)
            raise LogUnavailable(f"{topic}: {error!r}") from error

    async def bounds(self, topics: Sequence[str]) -> dict[TopicPartition, tuple[int, int]]:
        """Return, for each partition, the first offset there is and the offset of the next record.

        Raises KeyError for an unknown topic, LogUnavailable."""
        consumer = await self._ask()
        asked = [KafkaPartition(topic, number) for topic in topics for number in range(await self.partitions(topic))]
        try:
            async with asyncio.timeout(self._timeout):
                begins = await consumer.beginning_offsets(asked)
                ends = await consumer.end_offsets(asked)
        except (KafkaError, TimeoutError) as error:
            raise LogUnavailable(f"asking for the ends of {len(asked)} partitions: {error!r}") from error
        return {TopicPartition(*each): (begins[each], ends[each]) for each in asked}

    async def offsets_at(self, topics: Sequence[str], moment: datetime) -> dict[TopicPartition, int]:
        """Return, for each partition, the offset of the first record appended at or after `moment`, or the offset of
        the next record where there is none.

        Raises KeyError, LogUnavailable."""
        # The ends first: what is appended meanwhile is then after what is answered, never left out.
        ends = {each: end for each, (_, end) in (await self.bounds(topics)).items()}
        consumer = await self._ask()
        milliseconds = max(0, int(moment.timestamp() * 1000))
        try:
            found = await consumer.offsets_for_times({KafkaPartition(*each): milliseconds for each in ends})
        except KafkaError as error:
            raise LogUnavailable(str(error)) from error
        return {
            each: at.offset if (at := found.get(KafkaPartition(*each))) is not None else end
            for each, end in ends.items()
        }

    async def appended(self, positions: Positions) -> dict[TopicPartition, datetime]:
        """Return when the first record at or after each of these offsets was appended.

        Partitions without such a record, or whose broker does not answer in time, are left out. Raises
        LogUnavailable."""
        found: dict[TopicPartition, datetime] = {}
        async with self._peeking:
            consumer = await self._peek()
            left = {KafkaPartition(*each) for each in positions}
            consumer.assign(list(left))
            try:
                for each, offset in positions.items():
                    consumer.seek(KafkaPartition(*each), offset)
                while left and (got := await consumer.getmany(*left, timeout_ms=PEEK_MS, max_records=1)):
                    for partition, records in got.items():
                        left.discard(partition)
                        consumer.pause(partition)
                        at = records[0].timestamp / 1000
                        found[TopicPartition(*partition)] = datetime.fromtimestamp(at, UTC)
            except KafkaError as error:
                raise LogUnavailable(str(error)) from error
            finally:
                consumer.unsubscribe()
        return found

    async def reader(self, positions: Positions, patience: float = 0.0, gather: float = 0.0) -> Reader:
        """Open a reader of these partitions from these offsets, or from the first one where retention removed an
        offset.

        Raises LogUnavailable."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            enable_auto_commit=False,
            isolation_level=COMMITTED,
            auto_offset_reset="earliest",
            fetch_max_bytes=MAX_FETCH,
            max_partition_fetch_bytes=MAX_RECORD * 2,
            fetch_min_bytes=GATHERED_BYTES if patience else 1,
            fetch_max_wait_ms=int(patience * 1000) or LONGEST_MS,
        )
        await self._start(consumer)
        partitions = {KafkaPartition(*each): offset for each, offset in positions.items()}
        consumer.assign(list(partitions))
        for partition, offset in partitions.items():
            consumer.seek(partition, offset)
        return KafkaReader(consumer, FetchBatching(gather) if gather else None)

    async def keep_times(self, keep: bool) -> None:
        """Let records appended from now on keep their own timestamps, or get the log's time. Raises LogUnavailable."""
        try:
            async with asyncio.timeout(self._timeout):
                await keep_times(self._bootstrap, keep)
        except (KafkaError, TimeoutError, OSError) as error:
            raise LogUnavailable(f"{self._bootstrap}: {error!r}") from error

    async def fill(self, partition: TopicPartition, count: int, timestamp: int) -> None:
        """Append `count` fillers, a compressed batch at a time.

        Raises LogUnavailable; some of them may be there then."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            enable_idempotence=True,
            acks="all",
            max_batch_size=MAX_RECORD,
            max_request_size=2 * MAX_RECORD,
            compression_type="gzip",
            request_timeout_ms=int(self._timeout * 1000),
        )
        await self._start(producer)
        time = timestamp if timestamp >= 0 else None
        try:
            while count:
                batch = producer.create_batch()
                held = 0
                while held < count and batch.append(timestamp=time, key=b"", value=b"", headers=list(FILLER_HEADERS)):
                    held += 1
                batch.close()
                async with asyncio.timeout(self._timeout):
                    await (await producer.send_batch(batch, partition.topic, partition=partition.partition))
                count -= held
        except (KafkaError, TimeoutError) as error:
            raise LogUnavailable(f"filling {partition.topic}:{partition.partition}: {error!r}") from error
        finally:
            await end_producer(producer)

    async def trim(self, positions: Positions) -> None:
        """Delete the records before these offsets, as retention would. Raises LogUnavailable."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        await self._start(admin)
        try:
            await admin.delete_records(
                {KafkaPartition(*each): RecordsToDelete(offset) for each, offset in positions.items()}
            )
        except KafkaError as error:
            raise LogUnavailable(str(error)) from error
        finally:
            await admin.close()

    async def durability(self) -> Durability | None:
        """Return how durable the log is, looked up once a minute. Raises LogUnavailable."""
        async with self._looking:
            if self._durability is None or time.monotonic() - self._durability[0] > DURABILITY_SECONDS:
                try:
                    async with asyncio.timeout(self._timeout):
                        self._durability = (time.monotonic(), await durability(self._bootstrap))
                except (KafkaError, TimeoutError, OSError) as error:
                    raise LogUnavailable(f"{self._bootstrap}: {error!r}") from error
            return self._durability[1]

    async def close(self) -> None:
        """Close all connections to the log."""
        if self._producer is not None:
            await self._forget(self._producer)
        await asyncio.gather(*self._ending)
        if self._asker is not None:
            asker, self._asker = self._asker, None
            await end_consumer(asker)
        if self._peeker is not None:
            peeker, self._peeker = self._peeker, None
            await end_consumer(peeker)

    async def _open(self) -> AIOKafkaProducer:
        async with self._lock:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap,
                    enable_idempotence=True,
                    acks="all",
                    max_batch_size=MAX_BATCH,
                    max_request_size=MAX_RECORD,
                    request_timeout_ms=int(self._timeout * 1000),
                )
                await self._start(producer)
                self._producer = producer
            return self._producer

    async def _forget(self, producer: AIOKafkaProducer) -> None:
        async with self._lock:
            if self._producer is producer:
                self._producer = None
        # In the background: where the broker is away, closing takes seconds that the caller need not wait.
        ending = asyncio.create_task(end_producer(producer))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _ask(self) -> AIOKafkaConsumer:
        async with self._lock:
            if self._asker is None:
                consumer = AIOKafkaConsumer(
                    bootstrap_servers=self._bootstrap, enable_auto_commit=False, isolation_level=COMMITTED
                )
                await self._start(consumer)
                self._asker = consumer
            return self._asker

    async def _peek(self) -> AIOKafkaConsumer:
        if self._peeker is None:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap,
                enable_auto_commit=False,
                isolation_level=COMMITTED,
                auto_offset_reset="earliest",
                # One record is wanted; a larger one is given nevertheless.
                max_partition_fetch_bytes=PEEK_BYTES,
                fetch_max_wait_ms=100,
            )
            await self._start(consumer)
            self._peeker = consumer
        return self._peeker

    async def _start(self, client: AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient) -> None:
        if self._failed and time.monotonic() - self._failed[0] < AGAIN_SECONDS:
            # Callers that wait for the same connection would otherwise try in turn, each as long as the one before.
            await _let_go(client)
            raise LogUnavailable(self._failed[1])
        try:
            # What it runs behind it lives on, and is not part of what is worked on when it happens to be made.
            starting = asyncio.create_task(client.start(), context=Context())
            await asyncio.wait_for(starting, self._timeout)
        except (KafkaError, TimeoutError, OSError) as error:
            await _let_go(client)
            self._failed = (time.monotonic(), f"{self._bootstrap}: {error!r}")
            raise LogUnavailable(self._failed[1]) from error


async def _let_go(client: AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient) -> None:
    """Close a client whose start failed."""
    with suppress(KafkaError):
        await (client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop())
