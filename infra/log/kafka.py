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
from infra.log.fetch_batching import GATHERED_BYTES, LONGEST_MS, FetchBatching
from infra.log.log import LogUnavailable, Positions, Reader, TopicPartition
from infra.log.topics import TOPICS, keep_times, partition_of

MAX_RECORD = 1 << 20
MAX_BATCH = 1 << 18
"""Of one partition, in one request: the client's own 16 KiB made several round trips of a step's records."""
COMMITTED = "read_committed"
"""GoStack writes no transactions; where somebody else did, what they took back was never said."""
MAX_FETCH = 8 << 20
PEEK_BYTES = 16 << 10
PEEK_MS = 500
AGAIN_SECONDS = 0.5
"""After an attempt that failed, for so long no other is made."""


class KafkaReader:
    """A consumer without a group: positions are the caller's."""

    def __init__(self, consumer: AIOKafkaConsumer, batching: FetchBatching | None = None) -> None:
        self._consumer = consumer
        self._batching = batching

    async def fetch(self, most: int, wait: float) -> list[Record]:
        """At most `most` records; none when nothing came within `wait` seconds. Raises LogUnavailable."""
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
        """Behind what was given of this partition, and behind what the log has there for itself."""
        return int(await self._consumer.position(KafkaPartition(*partition)))

    async def close(self) -> None:
        """Stop reading."""
        await end_consumer(self._consumer)


class KafkaLog:
    """The log on a Kafka cluster."""

    def __init__(self, bootstrap: str, timeout: float = 20.0) -> None:
        self._bootstrap = bootstrap
        self._timeout = timeout
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()
        self._asker: AIOKafkaConsumer | None = None
        self._peeker: AIOKafkaConsumer | None = None
        self._peeking = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()
        self._failed: tuple[float, str] | None = None
        """When, and of what, the last attempt to reach it failed."""

    async def publish(self, records: Sequence[Record]) -> None:
        """Append these, in order within a partition; returns when every replica has them. Raises LogUnavailable."""
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
        """How many partitions the topic has; raises KeyError for an unknown topic, LogUnavailable."""
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
        """Per partition, the first offset there is and the next to be given. Raises KeyError, LogUnavailable."""
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
        """Per partition, the offset of the first record appended at or after this moment; the next to be given where
        there is none. Raises KeyError, LogUnavailable."""
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
        """When the first record at or behind each of these offsets was appended; without those behind which there is
        none, or whose broker does not give it in time. Raises LogUnavailable."""
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
        """Read these partitions from these offsets; one that retention has removed is read from the first there is."""
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
        """Whether records from now on keep the times they have, or get the log's. Raises LogUnavailable."""
        try:
            async with asyncio.timeout(self._timeout):
                await keep_times(self._bootstrap, keep)
        except (KafkaError, TimeoutError, OSError) as error:
            raise LogUnavailable(f"{self._bootstrap}: {error!r}") from error

    async def fill(self, partition: TopicPartition, count: int, timestamp: int) -> None:
        """Append so many records that say nothing, a compressed batch at a time. Raises LogUnavailable: some of them
        may be there."""
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
        """Let go of the records before these offsets, as retention would. Raises LogUnavailable."""
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

    async def close(self) -> None:
        """Let go of all connections."""
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
        # Behind whoever was refused: where the broker is away it takes its time.
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
            # Else those who wait for the same would try one after another, each as long as the one before.
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
    """Of one that does not work yet."""
    with suppress(KafkaError):
        await (client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop())
