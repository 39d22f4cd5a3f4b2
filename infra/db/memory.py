"""The write store in memory: the twin of PostgreSQL's, for fast tests and simulated histories."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from domain.core.messages import Key, Record
from infra.db.outbox import pack, unpack
from infra.db.write_store import AggregateWrite, Conflict, Due, Move, Opened, StoredAggregate
from infra.log.log import TopicPartition


class MemoryWriteStore:
    """A WriteStore of dictionaries, which a transaction changes when it is committed."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._positions: dict[TopicPartition, int] = {}
        self._inbox: dict[str, datetime] = {}
        self._rows: dict[Key, StoredAggregate] = {}
        self._due: dict[Key, Due] = {}
        self._outbox: dict[int, bytes] = {}
        self._parked: dict[Key, str] = {}
        self._next = 1
        self.make_step: type[MemoryTransaction] = MemoryTransaction

    @asynccontextmanager
    async def step(self) -> AsyncIterator["MemoryTransaction"]:
        """Begin a transaction, which is committed where the block ends without an exception."""
        step = self.make_step(self)
        yield step
        step.commit()

    async def positions(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset to read each partition from."""
        return {each: self._positions.setdefault(each, 0) for each in partitions}

    async def reached(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset that each partition is processed up to, without changing anything."""
        return {each: self._positions.get(each, 0) for each in partitions}

    async def empty(self) -> bool:
        """Return whether the store is as it was created."""
        return not (any(self._positions.values()) or self._rows or self._inbox)

    async def all(self, kind: str) -> dict[Key, StoredAggregate]:
        """Return every aggregate of a kind, by its key."""
        return {key: row for key, row in self._rows.items() if key.kind == kind}

    async def unsent(self) -> list[tuple[int, list[Record]]]:
        """Return the number and the records of each outbox row that is not acknowledged, oldest first."""
        return [(number, unpack(packed)) for number, packed in sorted(self._outbox.items())]

    async def waiting(self) -> int:
        """Return how many records wait in the outbox."""
        return sum(len(unpack(packed)) for packed in self._outbox.values())

    async def sent(self, numbers: Sequence[int]) -> None:
        """Delete these outbox rows, whose records are on the log."""
        for number in numbers:
            self._outbox.pop(number, None)

    async def due(self, now: datetime, most: int, sure: bool = False) -> list[Due]:
        """Return deadlines that passed before `now`, oldest first; with `sure`, also by this store's own clock."""
        until = min(now, self._clock()) if sure else now
        found = [due for due in self._due.values() if due.due_at <= until and due.key not in self._parked]
        return sorted(found, key=lambda due: due.due_at)[:most]

    async def parked(self) -> dict[Key, str]:
        """Return the keys of parked aggregates, and why each is parked."""
        return dict(self._parked)

    async def prune(self, now: datetime, keep: timedelta) -> int:
        """Delete handled ids that are older than `keep` by both clocks; return how many."""
        before = min(now, self._clock()) - keep
        old = [ident for ident, at in self._inbox.items() if at < before]
        for ident in old:
            del self._inbox[ident]
        return len(old)

    async def close(self) -> None:
        """Do nothing: there is no connection to close."""


class MemoryTransaction:
    """A transaction on a MemoryWriteStore, whose changes are made in commit()."""

    def __init__(self, write_store: MemoryWriteStore) -> None:
        self._write_store = write_store
        self._moves: list[Move] = []
        self._changes: Sequence[AggregateWrite] = ()
        self._ids: Sequence[str] = ()
        self._outbox: tuple[int, bytes] | None = None
        self._parked: Sequence[tuple[Key, str]] = ()
        self._released: Sequence[Key] = ()

    async def open(self, moves: Sequence[Move], ids: Sequence[str], keys: Sequence[Key]) -> Opened:
        """Note the moves that can be made; return them, the ids that were handled, and the aggregates."""
        write_store = self._write_store
        self._moves = [move for move in moves if write_store._positions.get(move.partition) == move.start]
        return Opened(
            moved={move.partition for move in self._moves},
            seen={ident for ident in ids if ident in write_store._inbox},
            rows=await self.load(keys),
            parked={key: write_store._parked[key] for key in keys if key in write_store._parked},
        )

    async def load(self, keys: Sequence[Key]) -> dict[Key, StoredAggregate]:
        """Return the aggregates of these keys, without those that do not exist."""
        return {key: self._write_store._rows[key] for key in keys if key in self._write_store._rows}

    async def close(
        self,
        changes: Sequence[AggregateWrite],
        ids: Sequence[str],
        outbox: Sequence[Record],
        parked: Sequence[tuple[Key, str]],
        released: Sequence[Key] = (),
    ) -> int:
        """Note what is to be stored; return the number of the outbox row, or 0. Raises Conflict."""
        blank = StoredAggregate(0, b"")
        stale = [each for each in changes if self._write_store._rows.get(each.key, blank).version != each.before]
        if stale:
            raise Conflict(f"{len(stale)} of {len(changes)} aggregates had changed")
        self._changes, self._ids, self._parked, self._released = changes, ids, parked, released
        if not outbox:
            return 0
        number = self._write_store._next
        self._write_store._next += 1
        self._outbox = (number, pack(outbox))
        return number

    def commit(self) -> None:
        """Make all changes of this transaction in the store."""
        write_store = self._write_store
        for move in self._moves:
            write_store._positions[move.partition] = move.end
        for change in self._changes:
            if change.tail:
                kept = write_store._rows[change.key]
                write_store._rows[change.key] = StoredAggregate(change.after, kept.state, (*kept.tail, change.records))
            else:
                write_store._rows[change.key] = StoredAggregate(change.after, change.state)
            if change.due_at is None:
                write_store._due.pop(change.key, None)
            else:
                write_store._due[change.key] = Due(change.key, change.due_id, change.due_at)
        for ident in self._ids:
            write_store._inbox.setdefault(ident, write_store._clock())
        for key in self._released:
            write_store._parked.pop(key, None)
        for key, why in self._parked:
            write_store._parked.setdefault(key, why)
        if self._outbox:
            write_store._outbox[self._outbox[0]] = self._outbox[1]
