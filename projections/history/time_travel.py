"""A row as it was at a moment: the events of its subject up to then, through the fold and the view that make the
present row. So a moment and the present cannot differ in shape, nor in what they say.

What it costs: the events since the newest milestone before the moment are read and folded. Where there is no milestone,
as before the first and in read models that an earlier release made, all events are folded, so their number is bounded.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import Any

from domain.aggregates import AGGREGATES
from domain.core.errors import TooManyEvents
from domain.core.messages import Envelope, Event, Key
from projections.store.port import HistoryEntry, HistoryQuery, Milestone, Store
from projections.views.view import Change, Row, View, aggregate

AT_ONCE = 1000
MOST_EVENTS = 50_000
"""Events that are folded for one answer, at most."""


@dataclass(frozen=True)
class Moment:
    """A point in the past: a time, or the offset of a record in the subject's partition. Where both are set, both
    limit."""

    time: datetime | None = None
    topic: str = ""
    partition: int = 0
    offset: int = -1

    @property
    def place(self) -> tuple[int, int] | None:
        """Return partition and offset, or None where the moment is a time alone."""
        return (self.partition, self.offset) if self.topic else None

    def holds(self, entry: HistoryEntry) -> bool:
        """Say whether the event is no later than the moment. An event in another partition than the one named is
        neither before nor after it."""
        if self.time is not None and entry.time > self.time:
            return False
        return not self.topic or (entry.partition == self.partition and entry.offset <= self.offset)


async def entries(
    store: Store, subject: Key, after: str = "", *, types: tuple[str, ...] = (), versioned: bool = False
) -> AsyncIterator[HistoryEntry]:
    """Yield a subject's events from history, oldest first, page by page.

    `after`: only those after the event with this id; `types`: only these; `versioned`: only those that changed the
    subject's state. Raises TooManyEvents, StoreUnavailable.
    """
    query = HistoryQuery(str(subject), types, limit=AT_ONCE, marker=after, versioned=versioned)
    async for entry in _every(store, query, subject):
        yield entry


async def _every(store: Store, query: HistoryQuery, subject: Key) -> AsyncIterator[HistoryEntry]:
    seen = 0
    while True:
        page = await store.history(query)
        for entry in page:
            yield entry
        seen += len(page)
        if len(page) < query.limit:
            return
        if seen >= MOST_EVENTS:
            raise TooManyEvents(subject=subject, most=MOST_EVENTS)
        query = replace(query, marker=page[-1].id)


async def row_at(store: Store, view: View, ident: str, subject: Key, moment: Moment) -> Row | None:
    """Return a view's row as it was, made of this subject's events, or None where there was no such row.

    The row is what the subject's stream made up to its first event after the moment. Raises TooManyEvents,
    StoreUnavailable.
    """
    return await Folds(store).row_at(view, ident, subject, moment)


class Folds:
    """Makes rows as they were, and counts the events folded for them, so that a caller that makes many can stop
    somewhere."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.events = 0

    async def row_at(self, view: View, ident: str, subject: Key, moment: Moment) -> Row | None:
        """Return one row as it was, or None. Raises TooManyEvents, StoreUnavailable."""
        start = await self._store.milestone(subject, moment.time, moment.place)
        last = await self._last_change(view, ident, subject, moment, start)
        if last is None and start is not None:
            last = await self._last_until(view, ident, start)
        return next((row for row in view.rows(last) if row.id == ident), None) if last is not None else None

    async def _last_change(
        self, view: View, ident: str, subject: Key, moment: Moment, start: Milestone | None
    ) -> Change | None:
        """Return the last change about the row, of those after the milestone and no later than the moment."""
        last: Change | None = None
        kind = AGGREGATES[subject.kind]
        state: Any = kind.state.model_validate_json(start.state) if start else None
        version = start.version if start else 0
        async for entry in entries(self._store, subject, start.event if start else "", versioned=True):
            if not moment.holds(entry):
                break
            if entry.version <= version:
                continue
            event = entry.event()
            before, state = state, kind.evolve(state, event, subject.id)
            version = entry.version
            self.events += 1
            change = _change(entry, event, before, state)
            if view.about is None or view.about(change) == ident:
                last = change
        return last

    async def _last_until(self, view: View, ident: str, milestone: Milestone) -> Change | None:
        """Return the last change about the row, of those at the milestone or before."""
        subject = milestone.subject
        if view.about is aggregate:
            entry = await self._store.event(milestone.event)
            assert entry is not None
            state = AGGREGATES[subject.kind].state.model_validate_json(milestone.state)
            return _change(entry, entry.event(), None, state)
        # A task: the events that name it lie close together, wherever in the story.
        named = _every(self._store, HistoryQuery(task=ident, limit=AT_ONCE, versioned=True), subject)
        own = [each async for each in named if each.subject == subject and each.version <= milestone.version]
        if not own:
            return None
        first, last = min(own, key=attrgetter("version")), max(own, key=attrgetter("version"))
        just_after = Moment(topic=last.topic, partition=last.partition, offset=last.offset)
        start = await self._store.milestone(subject, version=first.version - 1)
        return await self._last_change(view, ident, subject, just_after, start)


def _change(entry: HistoryEntry, event: Event, before: Any, after: Any) -> Change:
    return Change(envelope(entry, event), before, after, (entry.topic, entry.partition, entry.offset))


def envelope(entry: HistoryEntry, event: Event) -> Envelope:
    """Return an event in an envelope, with the attributes that history keeps."""
    return Envelope(
        id=entry.id,
        data=event,
        subject=entry.subject,
        time=entry.time,
        source="",
        correlation=entry.correlation,
        causation=entry.causation,
        actor=entry.actor,
        project=entry.project,
        aggversion=entry.version or None,
    )
