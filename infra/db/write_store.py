"""The write store: what engine and scheduler keep in PostgreSQL about the log that they have processed.

Positions and ids of handled messages keep a record from being processed twice; aggregates are a cache of what their
events say. Why a port: the one step of the write path (commands/processor.py) is a single transaction over positions,
inbox, aggregates and outbox; PostgreSQL and the twin in memory both offer exactly that, under one contract test.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from domain.core.messages import Key, Record
from infra.log.log import TopicPartition
from infra.process import metrics


class WriteStoreUnavailable(Exception):
    """The database did not answer. The stored positions tell whether the last commit took place."""


class Conflict(Exception):
    """Another writer changed an aggregate since it was read; nothing of this step was kept."""


@dataclass(frozen=True, slots=True)
class Move:
    """A move of a partition's position from `start` to `end`, which is made only if the position is still `start`."""

    partition: TopicPartition
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class StoredAggregate:
    """An aggregate as it is stored: a state, and the events since that state."""

    version: int
    state: bytes
    """JSON of the aggregate before the events in `tail`."""
    tail: tuple[bytes, ...] = ()
    """Events since the state, as packed records, oldest first."""


@dataclass(frozen=True, slots=True)
class AggregateWrite:
    """A change of an aggregate, which is stored only if the aggregate is still at version `before`.

    Either `state` replaces what is stored and the tail is deleted, or `records` are added to the tail and the stored
    state stays.
    """

    key: Key
    before: int
    after: int
    state: bytes
    due_at: datetime | None = None
    due_id: str = ""
    tail: int = 0
    """Versions since the stored state, of which the tail is made; 0 where `state` is to be stored."""
    records: bytes = b""
    """With a tail: the packed records of the events of this step."""
    shed: bool = False
    """Whether a tail is stored that must be deleted."""


@dataclass(slots=True)
class Opened:
    """The facts that a transaction reads when it opens: moved partitions, handled ids, aggregates, and why some are
    parked."""

    moved: set[TopicPartition] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    rows: dict[Key, StoredAggregate] = field(default_factory=dict)
    parked: dict[Key, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Due:
    """A deadline that has passed: the aggregate it belongs to, its id, and its time."""

    key: Key
    due_id: str
    due_at: datetime


class Transaction(Protocol):
    """A transaction of a processor, opened with what a batch needs, and closed with what follows from it."""

    async def open(self, moves: Sequence[Move], ids: Sequence[str], keys: Sequence[Key]) -> Opened:
        """Make the moves that can be made; return which were, which of `ids` were handled, and the aggregates of
        `keys`."""

    async def load(self, keys: Sequence[Key]) -> dict[Key, StoredAggregate]:
        """Return the aggregates of these keys, without those that do not exist."""

    async def close(
        self,
        changes: Sequence[AggregateWrite],
        ids: Sequence[str],
        outbox: Sequence[Record],
        parked: Sequence[tuple[Key, str]],
        released: Sequence[Key] = (),
    ) -> int:
        """Store changes, handled ids and records to publish; release aggregates, and then park others.

        Returns the number of the outbox row, or 0 where `outbox` is empty. Raises Conflict."""


class WriteStore(Protocol):
    """The stored positions, handled ids, aggregates and outbox of one kind of processor: engine or scheduler.

    Each method raises WriteStoreUnavailable where the database does not answer."""

    async def positions(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset to read each partition from, and end transactions of processors that had them before.

        A partition that was never read starts at 0."""

    async def reached(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset that each partition is processed up to, without changing or locking anything."""

    async def empty(self) -> bool:
        """Return whether the store is as it was created: no position, no aggregate, no handled id."""

    def step(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin a transaction for the time of a block, which is committed where the block ends without an exception."""

    async def all(self, kind: str) -> dict[Key, StoredAggregate]:
        """Return every aggregate of a kind, by its key."""

    async def unsent(self) -> list[tuple[int, list[Record]]]:
        """Return the number and the records of each outbox row that the log has not acknowledged, oldest first."""

    async def waiting(self) -> int:
        """Return how many records wait in the outbox."""

    async def sent(self, numbers: Sequence[int]) -> None:
        """Delete these outbox rows, whose records are on the log."""

    async def due(self, now: datetime, most: int, sure: bool = False) -> list[Due]:
        """Return at most `most` deadlines that passed before `now`, oldest first, without those of parked aggregates.

        With `sure`, a deadline must have passed by the clock of the database, too."""

    async def parked(self) -> dict[Key, str]:
        """Return the keys of parked aggregates, which take no commands, and why each is parked."""

    async def prune(self, now: datetime, keep: timedelta) -> int:
        """Delete handled ids that are older than `keep` at `now`, and by the database's own clock; return how many.

        Both clocks must agree, since one that has jumped ahead would delete all of them."""

    async def close(self) -> None:
        """Close all connections to the database."""


async def measure_backlog(process: str, write_store: WriteStore) -> None:
    """Set the metrics for waiting records and parked aggregates of `process`, engine or scheduler.

    The API calls this for both, since a worker that cannot publish ends, and does not start while the log is away.
    Raises WriteStoreUnavailable."""
    metrics.OUTBOX.labels(process).set(await write_store.waiting())
    metrics.PARKED.labels(process).set(len(await write_store.parked()))
