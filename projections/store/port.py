"""Where read models are kept: a port with PostgreSQL behind it, and a twin in memory under the same contract."""

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
"""Before every event."""


class StoreUnavailable(Exception):
    """The database did not answer."""


class HistoryEntry(NamedTuple):
    """An event as history keeps it."""

    subject: Key
    version: int
    """0 for what stands beside the aggregate's stream."""
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
    """JSON."""

    def event(self) -> Event:
        """What happened, whichever release wrote it down. Raises KeyError, ValueError for what is no event of ours."""
        event = read(self.type, self.data)
        assert isinstance(event, Event)
        return event


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An aggregate's state as JSON, as its events up to this one make it."""

    version: int
    offset: int
    """Of the event with that version."""
    state: bytes
    time: datetime = LONG_AGO
    """The latest of its events."""


@dataclass(frozen=True, slots=True)
class StoredState:
    """What is known of an aggregate: its last snapshot (version 0 and nothing before the first), and type and data of
    the events since."""

    version: int
    state: bytes
    tail: tuple[tuple[str, bytes], ...]
    time: datetime = LONG_AGO
    """The latest of all its events."""


class Milestone(NamedTuple):
    """A state on the way of a long story, as JSON: what came after is folded from here. Never changed once written."""

    subject: Key
    version: int
    time: datetime
    """The latest of the events up to there, so that none of them is after it, whatever the clocks said."""
    partition: int
    offset: int
    """Of the event with that version."""
    event: str
    """Its id."""
    state: bytes


@dataclass(slots=True)
class ProjectionBatch:
    """What a batch of events leads to, applied whole or not at all."""

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
    """Entries wanted, oldest first, after the entry whose id is `marker`."""

    limit: int = 50
    marker: str = ""
    versioned: bool = False
    """Only what changed its subject's state, and nothing that stands beside its stream."""


@dataclass(frozen=True)
class SearchResult:
    """What a bounded look at history found."""

    entries: list[HistoryEntry]
    next: str
    """Id of the entry to go on after; empty where there is nothing more. It need not be one of the entries: so far
    it was looked."""


def kinds_and_id(subject: str) -> tuple[tuple[str, ...], str]:
    """What a subject says: KIND/ID, or a UUID alone, which a thing of any kind may have. Raises ValueError."""
    if len(subject) == UUID_LENGTH and "/" not in subject:
        return tuple(AGGREGATES), subject
    key = Key.parse(subject)
    return (key.kind,), key.id


class NotMoved(Exception):
    """Another projector has moved the positions: this one is to stop."""


class Frozen(Protocol):
    """All read models as they were at one moment, whatever is written meanwhile."""

    @property
    def positions(self) -> dict[TopicPartition, int]:
        """What they were made of: the events before these."""

    def rows(self, view: str) -> AsyncIterator[Row]:
        """Every row of a view, in no order; its document as its JSON reads."""

    def history(self) -> AsyncIterator[HistoryEntry]:
        """Every event of history, in no order."""

    def states(self) -> AsyncIterator[tuple[Key, Snapshot]]:
        """Every state that is written down, in no order."""

    def milestones(self) -> AsyncIterator[Milestone]:
        """Every milestone, in no order."""


class Store(Protocol):
    """Read models."""

    def frozen(self) -> AbstractAsyncContextManager[Frozen]:
        """Them at this moment, for the time of a block. Raises StoreUnavailable."""

    async def positions(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Where each partition is to be read from."""

    async def states(self, keys: Sequence[Key]) -> dict[Key, StoredState]:
        """The last snapshot of each aggregate that is known, with what came since."""

    async def last_milestones(self, keys: Sequence[Key]) -> dict[Key, tuple[int, int]]:
        """Version and bytes of the last milestone of each aggregate that has one."""

    async def milestone(
        self,
        subject: Key,
        time: datetime | None = None,
        place: tuple[int, int] | None = None,
        version: int | None = None,
    ) -> Milestone | None:
        """The newest milestone that is no later than what is given of these; a place is a partition and an offset."""

    async def apply(self, batch: ProjectionBatch) -> None:
        """All of it in one transaction, with the positions. Raises NotMoved, StoreUnavailable."""

    async def get(self, view: str, ident: str) -> Found | None:
        """One document."""

    async def find(self, view: str, name: str, where: dict[str, Any]) -> list[Found]:
        """Documents with this name (at most 20), newest first; `where` narrows them by columns."""

    async def page(self, view: str, query: Query) -> Page:
        """A page of documents, newest first. Raises UnknownMarker."""

    async def count(self, view: str) -> int:
        """Rows of a view."""

    async def totals(
        self, view: str, by: str, where: Sequence[Condition], sums: Sequence[Sequence[str]] = ()
    ) -> dict[str, tuple[int, ...]]:
        """By each value of a column of text, among the rows for which this holds: how many there are, and the sums of
        the whole numbers that their documents have at these paths. It reads every such row."""

    async def history(self, query: HistoryQuery) -> list[HistoryEntry]:
        """Events, oldest first. Raises UnknownMarker, ValueError for what is no subject."""

    async def search(self, query: HistoryQuery, most: int) -> SearchResult:
        """Events, oldest first, that are found by looking at so many at most. Raises UnknownMarker, ValueError for
        what is no subject."""

    async def event(self, ident: str) -> HistoryEntry | None:
        """One event by its id."""

    async def close(self) -> None:
        """Let go of all connections."""
