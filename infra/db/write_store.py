"""What a processor keeps in its database: the guard and the cache of the fold.

Why a port: the one step of the write path (commands/processor.py) is a single transaction over positions, inbox,
aggregates and outbox; PostgreSQL and the twin in memory both offer exactly that, under one contract test.
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
    """The database did not answer. Whether the last commit took place is told by the positions."""


class Conflict(Exception):
    """Another writer changed an aggregate since it was read; nothing of this step was kept."""


@dataclass(frozen=True, slots=True)
class Move:
    """A position's way in one step: it is moved only if it is still at `start`."""

    partition: TopicPartition
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Row:
    """An aggregate as it is stored."""

    version: int
    state: bytes
    """JSON; of the version before the tail."""
    tail: tuple[bytes, ...] = ()
    """What happened since: packed records of events, oldest first."""


@dataclass(frozen=True, slots=True)
class Change:
    """An aggregate as it is to be stored, if it is still at version `before`.

    Either whole, which forgets its tail; or by its tail, which grows by these events and leaves the state as it lies.
    """

    key: Key
    before: int
    after: int
    state: bytes
    due_at: datetime | None = None
    due_id: str = ""
    tail: int = 0
    """Versions since the stored state; 0: `state` is to be stored."""
    records: bytes = b""
    """With a tail: the packed records of this step's events."""
    shed: bool = False
    """There is a tail to be forgotten."""


@dataclass(slots=True)
class Opened:
    """What a step finds."""

    moved: set[TopicPartition] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    rows: dict[Key, Row] = field(default_factory=dict)
    parked: dict[Key, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Due:
    """Something whose time is over."""

    key: Key
    due_id: str
    due_at: datetime


class Transaction(Protocol):
    """One transaction."""

    async def open(self, moves: Sequence[Move], ids: Sequence[str], keys: Sequence[Key]) -> Opened:
        """Move the positions; say which moved, which ids are done already, and how the aggregates are."""

    async def load(self, keys: Sequence[Key]) -> dict[Key, Row]:
        """More aggregates."""

    async def close(
        self,
        changes: Sequence[Change],
        ids: Sequence[str],
        outbox: Sequence[Record],
        parked: Sequence[tuple[Key, str]],
        released: Sequence[Key] = (),
    ) -> int:
        """Store all, what is released before what is parked; the outbox's number, or 0 where nothing is to be sent.
        Raises Conflict."""


class WriteStore(Protocol):
    """A processor's database."""

    async def positions(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Where each partition is to be read from; one never seen starts at 0."""

    async def reached(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The same, for those who only look: it changes nothing and stands in nobody's way."""

    async def empty(self) -> bool:
        """Whether it remembers nothing: as it is when it is made, before the first step."""

    def step(self) -> AbstractAsyncContextManager[Transaction]:
        """One transaction, committed where the block ends without an exception. Raises WriteStoreUnavailable."""

    async def all(self, kind: str) -> dict[Key, Row]:
        """Every aggregate of a kind."""

    async def unsent(self) -> list[tuple[int, list[Record]]]:
        """Outboxes that were not acknowledged, oldest first."""

    async def waiting(self) -> int:
        """Records in these outboxes."""

    async def sent(self, numbers: Sequence[int]) -> None:
        """These outboxes are on the log."""

    async def due(self, now: datetime, most: int, sure: bool = False) -> list[Due]:
        """What is due, longest first; nothing of what is parked, which could not hear of it.

        `sure`: only what is due by the database's own clock, too."""

    async def parked(self) -> dict[Key, str]:
        """Aggregates that take no commands, and why."""

    async def prune(self, now: datetime, keep: timedelta) -> int:
        """Forget inbox ids that are older than `keep` by this clock and by the database's own, which stamped them: one
        that has jumped ahead would have all of them forgotten; how many were."""

    async def close(self) -> None:
        """Let go of all connections."""


async def measure_backlog(process: str, write_store: WriteStore) -> None:
    """Tell whoever watches what a kind of worker has in its database: for others to call, since a worker that cannot
    publish ends, and does not start while the log is away. Raises WriteStoreUnavailable."""
    metrics.OUTBOX.labels(process).set(await write_store.waiting())
    metrics.PARKED.labels(process).set(len(await write_store.parked()))
