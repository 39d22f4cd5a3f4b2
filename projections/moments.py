"""A row as it was at a moment: the events of its subject up to then, through the fold and the view that make the
present row. So a moment and the present cannot differ in shape, nor in what they say.

Cost: every event of the subject up to the moment is read and folded, so it is bounded.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.aggregates import AGGREGATES
from domain.errors import TooManyEvents
from domain.messages import Envelope, Event, Key, read
from projections.store import Entry, HistoryQuery, Store
from projections.view import Change, Row, View

AT_ONCE = 1000
MOST_EVENTS = 50_000
"""Events that are folded for one answer."""


@dataclass(frozen=True)
class Moment:
    """Up to when: a time, or the offset of a record in the subject's partition; both together hold, too."""

    time: datetime | None = None
    topic: str = ""
    partition: int = 0
    offset: int = -1

    def holds(self, entry: Entry) -> bool:
        """Whether the event is no later. One in another partition than the one named is not before nor after it."""
        if self.time is not None and entry.time > self.time:
            return False
        return not self.topic or (entry.partition == self.partition and entry.offset <= self.offset)


async def entries(store: Store, subject: Key, *, types: tuple[str, ...] = ()) -> AsyncIterator[Entry]:
    """All events of a subject, or those of these types, page by page. Raises TooManyEvents, StoreUnavailable."""
    marker, seen = "", 0
    while True:
        page = await store.history(HistoryQuery(str(subject), types, limit=AT_ONCE, marker=marker))
        for entry in page:
            yield entry
        seen += len(page)
        if len(page) < AT_ONCE:
            return
        if seen >= MOST_EVENTS:
            raise TooManyEvents(subject=subject, most=MOST_EVENTS)
        marker = page[-1].id


async def row_at(store: Store, view: View, ident: str, subject: Key, moment: Moment) -> Row | None:
    """A view's row, made of this subject's events, as it was; None where it was not there.

    It is what the subject's stream made up to its first event after the moment. Raises TooManyEvents,
    StoreUnavailable.
    """
    last: Change | None = None
    state: Any = None
    version = 0
    async for entry in entries(store, subject):
        if not moment.holds(entry):
            break
        if entry.version <= version:
            continue
        event = read(entry.type, entry.data)
        assert isinstance(event, Event)
        before, state = state, AGGREGATES[subject.kind].evolve(state, event, subject.id)
        version = entry.version
        change = Change(envelope(entry, event), before, state, (entry.topic, entry.partition, entry.offset))
        if view.about is None or view.about(change) == ident:
            last = change
    return next((row for row in view.rows(last) if row.id == ident), None) if last is not None else None


def envelope(entry: Entry, event: Event) -> Envelope:
    """An event with what history keeps of what was said about it."""
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
