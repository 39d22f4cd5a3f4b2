"""An incident as one file: the events of a task or of one subject, and the history of everything they touched, so that
the same state can be rebuilt elsewhere, in a test above all.

The file has no secrets, since no event has any: they are stored elsewhere, and events hold references to them.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any

import orjson

from api.http.refusals import TooLargeForAFile
from api.reads.events import entry_json
from api.services import Services
from domain.aggregates import AGGREGATES
from domain.core.messages import Key
from projections.history.time_travel import entries
from projections.store.port import HistoryEntry, HistoryQuery, Milestone, Store

FORMAT = "gostack-incident"
VERSION = 1
AT_ONCE = 1000
MOST_EVENTS = 20_000
MOST_BYTES = 32 << 20
MOST_BEFORE = 2000
"""Events of one aggregate before the incident; older ones are in the file as the state that they made."""


async def of_task(services: Services, task: str, until: datetime | None) -> bytes:
    """Return the file of a task, up to `until`. Raises TooLargeForAFile, TooManyEvents, StoreUnavailable."""
    found = [each async for each in _every(services, HistoryQuery(task=task, until=until), f"task {task}")]
    return await _file(services, {"task": task}, found)


async def of_subject(services: Services, subject: Key, until: datetime | None) -> bytes:
    """Return the file of one subject, up to `until`. Raises TooLargeForAFile, TooManyEvents, StoreUnavailable."""
    query = HistoryQuery(str(subject), until=until)
    found = [each async for each in _every(services, query, str(subject))]
    return await _file(services, {"subject": str(subject)}, found)


async def _every(services: Services, query: HistoryQuery, about: str) -> AsyncIterator[HistoryEntry]:
    marker, seen = "", 0
    while True:
        page = await services.store.history(HistoryQuery(**{**vars(query), "limit": AT_ONCE, "marker": marker}))
        for entry in page:
            yield entry
        seen += len(page)
        if seen > MOST_EVENTS:
            raise TooLargeForAFile(about=about, most=f"{MOST_EVENTS} events")
        if len(page) < AT_ONCE:
            return
        marker = page[-1].id


@dataclass
class Past:
    """A subject's history as it goes into a file: the newest events, and before them what the older ones had made."""

    subject: Key
    partition: int
    first: int
    """Offset of its first event in the incident."""
    last: int
    events: deque[HistoryEntry] = field(default_factory=deque)
    version: int = 0
    state: Any = None
    after: str = ""
    """Id of the event with that version, where what was before it need not be read."""

    def begin(self, milestone: Milestone) -> None:
        """Take the state at a milestone, so that the events before it need not be read."""
        self.version, self.after = milestone.version, milestone.event
        self.state = AGGREGATES[self.subject.kind].state.model_validate_json(milestone.state)

    def add(self, entry: HistoryEntry) -> None:
        """Add an event; if too many precede the incident, the oldest one is applied to the state instead of kept."""
        self.events.append(entry)
        if len(self.events) > MOST_BEFORE and self.events[0].offset < self.first:
            oldest = self.events.popleft()
            if oldest.version > self.version:
                self.state = AGGREGATES[self.subject.kind].evolve(self.state, oldest.event(), self.subject.id)
                self.version = oldest.version


async def _far_enough_before(store: Store, past: Past) -> Milestone | None:
    """A milestone that has as many events between it and the incident as the file is to have; None: the beginning."""
    before = await store.milestone(past.subject, place=(past.partition, past.first - 1))
    return await store.milestone(past.subject, version=before.version - MOST_BEFORE) if before else None


async def _file(services: Services, about: dict[str, str], incident: list[HistoryEntry]) -> bytes:
    (what,) = about.values()
    pasts: dict[Key, Past] = {}
    for entry in incident:
        past = pasts.setdefault(entry.subject, Past(entry.subject, entry.partition, entry.offset, entry.offset))
        past.first, past.last = min(past.first, entry.offset), max(past.last, entry.offset)
    whole: dict[int, list[HistoryEntry]] = defaultdict(list)
    count = 0
    for past in pasts.values():
        if milestone := await _far_enough_before(services.store, past):
            past.begin(milestone)
        async for entry in entries(services.store, past.subject, past.after):
            if entry.offset > past.last:
                break
            past.add(entry)
            if count + len(past.events) > MOST_EVENTS:
                raise TooLargeForAFile(about=what, most=f"{MOST_EVENTS} events")
        count += len(past.events)
        for entry in past.events:
            whole[entry.partition].append(entry)
    head = {
        "format": FORMAT,
        "version": VERSION,
        "made": services.clock(),
        "about": about,
        "begins": {
            str(past.subject): {"version": past.version, "state": past.state.model_dump(mode="json")}
            for past in pasts.values()
            if past.state is not None
        },
        "incident": [entry.id for entry in incident],
    }
    # By time, and each partition in its own order, which is what a fold needs.
    in_order = [sorted(each, key=attrgetter("offset")) for each in whole.values()]
    texts = [entry_json(entry) for entry in heapq.merge(*in_order, key=attrgetter("time"))]
    body = orjson.dumps(head)[:-1] + b',"events":[\n' + b",\n".join(texts) + b"\n]}\n"
    if len(body) > MOST_BYTES:
        raise TooLargeForAFile(about=what, most=f"{MOST_BYTES >> 20} MiB")
    return body
