"""The port to the store of read models: PostgreSQL is behind it, or a twin in memory under the same contract."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from domain.aggregates import AGGREGATES
from domain.core.event_filter import Interest
from domain.core.messages import Event, Key, read
from infra.log.log import TopicPartition
from projections.views.view import Condition, Found, Page, Query, Row

UUID_LENGTH = 36
LONG_AGO = datetime.fromtimestamp(0, UTC)
"""A moment before every event."""


class StoreUnavailable(Exception):
    """The database did not answer."""


class HistoryEntry(NamedTuple):
    """An event as history keeps it."""

    subject: Key
    version: int
    """Version of the aggregate after the event; 0 for an event beside the aggregate's stream."""
    id: str
    type: str
    time: datetime
    topic: str
    partition: int
    offset: int
    actor: str
    project: str
    task: str
    correlation: str
    causation: str
    verdict: str
    data: bytes
    """The event's fields as JSON."""

    def event(self) -> Event:
        """Return the event, whichever release wrote it. Raises KeyError or ValueError where it cannot be read."""
        event = read(self.type, self.data)
        assert isinstance(event, Event)
        return event


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An aggregate's state as JSON, as its events up to this version make it."""

    version: int
    offset: int
    """Offset of the event with that version."""
    state: bytes
    time: datetime = LONG_AGO
    """The latest time of its events."""


@dataclass(frozen=True, slots=True)
class StoredState:
    """An aggregate's last snapshot (version 0 and no bytes before the first), and type and data of the events since."""

    version: int
    state: bytes
    tail: tuple[tuple[str, bytes], ...]
    time: datetime = LONG_AGO
    """The latest time of all its events."""


class Milestone(NamedTuple):
    """A state in the middle of a long stream, as JSON, from which later states are folded. Never changed once
    written."""

    subject: Key
    version: int
    time: datetime
    """The latest time of the events up to there, so that none of them is after it, whatever the clocks said."""
    partition: int
    offset: int
    """Offset of the event with that version."""
    event: str
    """Id of the event with that version."""
    state: bytes


@dataclass(slots=True)
class ProjectionBatch:
    """All changes of the read models that follow from a batch of events, applied whole or not at all."""

    start: dict[TopicPartition, int] = field(default_factory=dict)
    end: dict[TopicPartition, int] = field(default_factory=dict)
    rows: dict[str, dict[str, Row]] = field(default_factory=dict)
    """View name -> row id -> row."""
    gone: dict[str, set[str]] = field(default_factory=dict)
    states: dict[Key, Snapshot] = field(default_factory=dict)
    milestones: list[Milestone] = field(default_factory=list)
    history: list[HistoryEntry] = field(default_factory=list)


@dataclass(frozen=True)
class HistoryQuery(Interest):
    """A query for entries of history, oldest first, after the entry whose id is `marker`."""

    limit: int = 50
    marker: str = ""
    versioned: bool = False
    """Only events that changed their subject's state, and none beside its stream."""


@dataclass(frozen=True)
class SearchResult:
    """Entries found by looking at a bounded number of entries."""

    entries: list[HistoryEntry]
    next: str
    """Id of the last entry that was looked at, after which to go on; empty where there is nothing more. The entry
    itself need not be among those found."""


def kinds_and_id(subject: str) -> tuple[tuple[str, ...], str]:
    """Split a subject into the kinds it may have and its id. A subject is KIND/ID, or a UUID alone, which may be of any
    kind.

    Raises ValueError.
    """
    if len(subject) == UUID_LENGTH and "/" not in subject:
        return tuple(AGGREGATES), subject
    key = Key.parse(subject)
    return (key.kind,), key.id


class NotMoved(Exception):
    """Another projector has moved the positions; this one has to stop."""


class Frozen(Protocol):
    """All read models as they were at one moment, whatever is written meanwhile."""

    @property
    def positions(self) -> dict[TopicPartition, int]:
        """Return the offsets before which all events are in the read models."""

    def rows(self, view: str) -> AsyncIterator[Row]:
        """Yield every row of a view, in no order, its document as its JSON reads."""

    def history(self) -> AsyncIterator[HistoryEntry]:
        """Yield every entry of history, in no order."""

    def states(self) -> AsyncIterator[tuple[Key, Snapshot]]:
        """Yield every stored snapshot, in no order."""

    def milestones(self) -> AsyncIterator[Milestone]:
        """Yield every milestone, in no order."""


class Store(Protocol):
    """The port to the read models, history, and the states that projecting goes on from."""

    def frozen(self) -> AbstractAsyncContextManager[Frozen]:
        """Open the read models as they are at this moment, until the block ends. Raises StoreUnavailable."""

    async def positions(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset from which each partition is to be read. Raises StoreUnavailable."""

    async def states(self, keys: Sequence[Key]) -> dict[Key, StoredState]:
        """Return the last snapshot of each aggregate that is stored, and the events since. Raises StoreUnavailable."""

    async def last_milestones(self, keys: Sequence[Key]) -> dict[Key, tuple[int, int]]:
        """Return version and bytes of the last milestone of each aggregate that has one. Raises StoreUnavailable."""

    async def milestone(
        self,
        subject: Key,
        time: datetime | None = None,
        place: tuple[int, int] | None = None,
        version: int | None = None,
    ) -> Milestone | None:
        """Return the newest milestone that is no later than each limit that is set, or None. A place is a partition and
        an offset.

        Raises StoreUnavailable.
        """

    async def apply(self, batch: ProjectionBatch) -> None:
        """Write the whole batch in one transaction, with the positions. Raises NotMoved, StoreUnavailable."""

    async def get(self, view: str, ident: str) -> Found | None:
        """Return the document with this id, or None. Raises StoreUnavailable."""

    async def find(self, view: str, name: str, where: dict[str, Any]) -> list[Found]:
        """Return the documents with this name (at most 20), newest first; `where` narrows them by columns.

        Raises StoreUnavailable.
        """

    async def page(self, view: str, query: Query) -> Page:
        """Return a page of documents in the query's order. Raises UnknownMarker, StoreUnavailable."""

    async def count(self, view: str) -> int:
        """Return the number of rows of a view. Raises StoreUnavailable."""

    async def totals(
        self, view: str, by: str, where: Sequence[Condition], sums: Sequence[Sequence[str]] = ()
    ) -> dict[str, tuple[int, ...]]:
        """Return, for each value of a text column, the number of matching rows, and the sums of the whole numbers that
        their documents have at these paths. Reads every matching row. Raises StoreUnavailable."""

    async def history(self, query: HistoryQuery) -> list[HistoryEntry]:
        """Return the entries that match, oldest first.

        Raises UnknownMarker, ValueError for a text that is no subject, StoreUnavailable.
        """

    async def search(self, query: HistoryQuery, most: int) -> SearchResult:
        """Return the matching entries, oldest first, that are found by looking at `most` entries.

        Raises UnknownMarker, ValueError for a text that is no subject, StoreUnavailable.
        """

    async def event(self, ident: str) -> HistoryEntry | None:
        """Return the entry with this event id, or None. Raises StoreUnavailable."""

    async def close(self) -> None:
        """Close all connections to the database."""
