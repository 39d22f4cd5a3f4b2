"""How an instance was placed: what the scheduler found each time, as its events say."""

from collections import deque
from dataclasses import dataclass

from domain.core.messages import Key, class_of, names_of
from domain.host.messages import HostClaimMade, PlacementRefused, PlacementReport
from domain.jobs.scheduling import Place
from domain.tasks.events import StepsDispatched
from projections.history.time_travel import entries
from projections.store.port import HistoryEntry, HistoryQuery, Store

MOST = 20
"""Placements of one answer, at most; the newest are kept."""
MOST_READ = 1000
"""Claims of one request that are looked at."""


@dataclass(frozen=True)
class Placement:
    """The result of one search for a host; `host_id` is empty where no host would do."""

    entry: HistoryEntry
    host_id: str
    cell: str
    """The cell whose scheduler searched; empty where it is the cell of the chosen host."""
    report: PlacementReport


async def placements(store: Store, instance_id: str) -> list[Placement]:
    """Return the newest placements of an instance, in the order of time. Raises TooManyEvents, StoreUnavailable."""
    requests: deque[str] = deque(maxlen=MOST)
    found: deque[Placement] = deque(maxlen=MOST)
    async for entry in entries(store, Key("instance", instance_id)):
        event_type = class_of(entry.type)
        if event_type is PlacementRefused:
            refused = entry.event()
            assert isinstance(refused, PlacementRefused)
            found.append(Placement(entry, "", refused.cell, refused.report))
        elif event_type is StepsDispatched and entry.correlation not in requests:
            dispatched = entry.event()
            assert isinstance(dispatched, StepsDispatched)
            # Most are of what was done on a host that had been chosen long before.
            if Place.__name__ in dispatched.jobs:
                requests.append(entry.correlation)
    claims = []
    for request in requests:
        query = HistoryQuery(types=names_of(HostClaimMade), task=request, limit=MOST_READ)
        for entry in await store.history(query):
            claim = entry.event()
            assert isinstance(claim, HostClaimMade)
            if claim.instance_id == instance_id:
                claims.append(Placement(entry, entry.subject.id, "", claim.report))
    return sorted([*found, *claims], key=lambda each: each.entry.time)[-MOST:]
