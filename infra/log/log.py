"""The message log as GoStack needs it, and no more: append with acknowledgement, read from positions.

Why a port: the same processors, projector and agents run on Kafka and, in fast tests and simulated histories, on a
list in memory; both pass the contract in tests/contract/test_log.py.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from domain.core.messages import Record


class TopicPartition(NamedTuple):
    """A partition of a topic; order holds within it, and nowhere else."""

    topic: str
    partition: int


Positions = Mapping[TopicPartition, int]
"""Per partition, the offset of the next record to read."""


class LogUnavailable(Exception):
    """The log did not answer in time. What was sent may or may not be there; sending it again is safe."""


class Reader(Protocol):
    """Reads given partitions from given positions, in each partition's order."""

    async def fetch(self, most: int, wait: float) -> list[Record]:
        """At most `most` records; none when nothing came within `wait` seconds."""

    async def position(self, partition: TopicPartition) -> int:
        """Behind what was given of this partition, and behind what the log has there for itself."""

    async def close(self) -> None:
        """Stop reading."""


class Log(Protocol):
    """The log."""

    async def publish(self, records: Sequence[Record]) -> None:
        """Append these, in order within a partition; returns when every replica has them. Raises LogUnavailable."""

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has; raises KeyError for an unknown topic."""

    async def bounds(self, topics: Sequence[str]) -> dict[TopicPartition, tuple[int, int]]:
        """Per partition, the first offset there is and the next to be given."""

    async def offsets_at(self, topics: Sequence[str], moment: datetime) -> dict[TopicPartition, int]:
        """Per partition, the offset of the first record appended at or after this moment; the next to be given where
        there is none. Raises LogUnavailable."""

    async def appended(self, positions: Positions) -> dict[TopicPartition, datetime]:
        """When the first record at or behind each of these offsets was appended, by the log's clock; without those
        behind which there is none. Raises LogUnavailable."""

    async def reader(self, positions: Positions, patience: float = 0.0, gather: float = 0.0) -> Reader:
        """Read these partitions from these offsets. `patience`: seconds that records may lie before they are given,
        so that more come together; a reader nobody waits for costs the log a fraction of one that is in a hurry.
        `gather`: the same, only while many come."""

    async def keep_times(self, keep: bool) -> None:
        """Whether records from now on keep the times they have, or get the log's, as they must but while it is made
        again from an archive. Raises LogUnavailable."""

    async def fill(self, partition: TopicPartition, count: int, timestamp: int) -> None:
        """Append so many records that say nothing, many times quicker than publish() would; of this time, in
        milliseconds, where times are kept. Raises LogUnavailable: some of them may be there."""

    async def trim(self, positions: Positions) -> None:
        """Let go of the records before these offsets, as retention would. Raises LogUnavailable."""

    async def close(self) -> None:
        """Let go of all connections."""
