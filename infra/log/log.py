"""The message log as GoStack needs it, and no more: append with acknowledgement, read from positions.

Why a port: the same processors, projector and agents run on Kafka and, in fast tests and simulated histories, on a
list in memory; both pass the contract in tests/contract/test_log.py.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from domain.core.messages import Record
from infra.log.durability import Durability


class TopicPartition(NamedTuple):
    """A partition of a topic; records are ordered within a partition only."""

    topic: str
    partition: int


Positions = Mapping[TopicPartition, int]
"""Per partition, the offset of the next record to read."""


class LogUnavailable(Exception):
    """The log did not answer in time. Records that were sent may or may not be there; sending them again is safe."""


class Reader(Protocol):
    """Reads partitions from given offsets, each in its order."""

    async def fetch(self, most: int, wait: float) -> list[Record]:
        """Return at most `most` records, or none where none came within `wait` seconds. Raises LogUnavailable."""

    async def position(self, partition: TopicPartition) -> int:
        """Return the offset after the last record returned, and after markers of the log itself that follow it."""

    async def close(self) -> None:
        """Stop reading, and close the connections."""


class Log(Protocol):
    """The message log: topics of partitions, to which records are appended."""

    async def publish(self, records: Sequence[Record]) -> None:
        """Append records, in order within a partition; return when every replica has them. Raises LogUnavailable."""

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has. Raises KeyError for an unknown topic, LogUnavailable."""

    async def bounds(self, topics: Sequence[str]) -> dict[TopicPartition, tuple[int, int]]:
        """Return, for each partition, the first offset there is and the offset of the next record.

        Raises LogUnavailable."""

    async def offsets_at(self, topics: Sequence[str], moment: datetime) -> dict[TopicPartition, int]:
        """Return, for each partition, the offset of the first record appended at or after `moment`, or the offset of
        the next record where there is none.

        Raises LogUnavailable."""

    async def appended(self, positions: Positions) -> dict[TopicPartition, datetime]:
        """Return when the first record at or after each of these offsets was appended, by the log's clock.

        Partitions without such a record are left out. Raises LogUnavailable."""

    async def reader(self, positions: Positions, patience: float = 0.0, gather: float = 0.0) -> Reader:
        """Open a reader of these partitions from these offsets.

        `patience` is how many seconds records may wait to be fetched, so that more come together: such a reader costs
        the log a fraction. `gather` is the same, only while many records come. Raises LogUnavailable."""

    async def keep_times(self, keep: bool) -> None:
        """Let records appended from now on keep their own timestamps, or get the log's time, as is usual.

        Only a restore from an archive keeps timestamps. Raises LogUnavailable."""

    async def fill(self, partition: TopicPartition, count: int, timestamp: int) -> None:
        """Append `count` fillers, records that every reader passes over, many times quicker than publish() would.

        `timestamp` is in milliseconds since 1970, used where timestamps are kept. Raises LogUnavailable; some of the
        fillers may be there then."""

    async def trim(self, positions: Positions) -> None:
        """Delete the records before these offsets, as retention would. Raises LogUnavailable."""

    async def durability(self) -> Durability | None:
        """Return how durable the log is, as it was at most a minute ago; None where it has no topics yet.

        Raises LogUnavailable."""

    async def close(self) -> None:
        """Close all connections to the log."""
