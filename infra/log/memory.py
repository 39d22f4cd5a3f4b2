"""The log in memory: for fast tests and simulated histories. The same partitioner as Kafka's, so keys go alike."""

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from domain.core.messages import FILLER_HEADERS, Record
from infra.log.durability import ONE_REPLICA, Durability
from infra.log.log import Positions, Reader, TopicPartition
from infra.log.topics import TOPICS, partition_of


class MemoryLog:
    """A Log that keeps a list of records for each partition."""

    def __init__(
        self, counts: dict[str, int] | None = None, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._counts = counts or {str(topic): declared.partitions for topic, declared in TOPICS.items()}
        self._records: dict[TopicPartition, list[Record]] = defaultdict(list)
        self._times: dict[TopicPartition, list[datetime]] = defaultdict(list)
        """When each record was appended."""
        self._clock = clock
        self._firsts: dict[TopicPartition, int] = defaultdict(int)
        self._keep_times = False
        self._arrived = asyncio.Event()
        self.pretends: Durability | None = ONE_REPLICA
        """The durability that it tells; nothing else depends on it."""
        self.size = 0
        """How many records were ever appended, over all partitions."""

    async def publish(self, records: Sequence[Record]) -> None:
        """Append records, in order within a partition."""
        for record in records:
            partition = record.partition
            if partition is None:
                partition = partition_of(record.key, self._counts[record.topic])
            place = TopicPartition(record.topic, partition)
            target = self._records[place]
            kept = self._keep_times and record.timestamp >= 0
            now = datetime.fromtimestamp(record.timestamp / 1000, UTC) if kept else self._clock()
            took = record.timestamp if kept else int(now.timestamp() * 1000)
            target.append(replace(record, partition=partition, offset=len(target), timestamp=took))
            self._times[place].append(now)
        self.size += len(records)
        self._arrived.set()
        self._arrived = asyncio.Event()

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has. Raises KeyError for an unknown topic."""
        return self._counts[topic]

    async def bounds(self, topics: Sequence[str]) -> dict[TopicPartition, tuple[int, int]]:
        """Return, for each partition, the first offset there is and the offset of the next record."""
        every = [TopicPartition(topic, number) for topic in topics for number in range(self._counts[topic])]
        return {each: (self._firsts[each], len(self._records[each])) for each in every}

    async def offsets_at(self, topics: Sequence[str], moment: datetime) -> dict[TopicPartition, int]:
        """Return, for each partition, the offset of the first record appended at or after `moment`, or the next one."""
        return {each: bisect_left(self._times[each], moment) for each in await self.bounds(topics)}

    async def appended(self, positions: Positions) -> dict[TopicPartition, datetime]:
        """Return when the first record at or after each of these offsets was appended, where there is one."""
        there = {each: max(offset, self._firsts[each]) for each, offset in positions.items()}
        return {each: self._times[each][at] for each, at in there.items() if at < len(self._times[each])}

    async def reader(self, positions: Positions, patience: float = 0.0, gather: float = 0.0) -> Reader:
        """Open a reader of these partitions from these offsets."""
        return MemoryReader(self, dict(positions))

    async def keep_times(self, keep: bool) -> None:
        """Let records appended from now on keep their own timestamps, or get the clock's."""
        self._keep_times = keep

    async def fill(self, partition: TopicPartition, count: int, timestamp: int) -> None:
        """Append `count` fillers, records that every reader passes over."""
        filler = Record(partition.topic, b"", b"", FILLER_HEADERS, partition.partition, timestamp=timestamp)
        await self.publish([filler] * count)

    async def trim(self, positions: Positions) -> None:
        """Delete the records before these offsets."""
        for each, offset in positions.items():
            self._firsts[each] = max(self._firsts[each], offset)

    async def durability(self) -> Durability | None:
        """Return the durability that the log pretends to have."""
        return self.pretends

    async def close(self) -> None:
        """Do nothing: there is no connection to close."""

    def take(self, positions: dict[TopicPartition, int], most: int) -> list[Record]:
        """Return at most `most` records from the positions on, and move the positions behind them."""
        found: list[Record] = []
        for each, wanted in positions.items():
            offset = max(wanted, self._firsts[each])
            taken = self._records[each][offset : offset + most - len(found)]
            positions[each] = offset + len(taken)
            found += taken
            if len(found) >= most:
                break
        return found

    async def wait(self, seconds: float) -> None:
        """Wait until a record is appended, or until `seconds` have passed."""
        try:
            # Not wait_for(): in Python 3.11 it loses a cancellation that comes together with what it waits for.
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            pass

    def all(self, topic: str) -> list[Record]:
        """Return every record of a topic, partition by partition."""
        return [
            record
            for number in range(self._counts[topic])
            for record in self._records[TopicPartition(topic, number)]
            if record.offset >= self._firsts[TopicPartition(topic, number)]
        ]


class MemoryReader:
    """A Reader of a MemoryLog."""

    def __init__(self, log: MemoryLog, positions: dict[TopicPartition, int]) -> None:
        self._log = log
        self._positions = positions
        self._nothing_at = -1
        """Size of the log when this reader last found no new record; nothing is searched until it has changed."""

    async def fetch(self, most: int, wait: float) -> list[Record]:
        """Return at most `most` records, or none where none came within `wait` seconds."""
        found = self._take(most)
        if not found and wait > 0:
            await self._log.wait(wait)
            found = self._take(most)
        return found

    def _take(self, most: int) -> list[Record]:
        if self._nothing_at == self._log.size:
            return []
        size = self._log.size
        found = self._log.take(self._positions, most)
        if not found:
            self._nothing_at = size
        return found

    async def position(self, partition: TopicPartition) -> int:
        """Return the offset after the last record returned."""
        return self._positions[partition]

    async def close(self) -> None:
        """Do nothing: there is no connection to close."""
