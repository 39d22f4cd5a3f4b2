"""The projector: folds events into read models, some hundred at a time, positions and rows in one transaction.

Why it folds states itself: a row then says just what the domain says, and nothing is derived twice. An event is applied
when its version is the next of its aggregate; an event whose version is not above the last was applied before and is
passed over; a gap means that an event was lost, and stops the projector, loudly.

What costs most is to write a thing down, so each row is written once a batch however often it changed, and states only
now and then, or when they leave memory: history has the events that came since.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from domain.aggregates import AGGREGATES
from domain.core.errors import UnknownMessage
from domain.core.messages import (
    Envelope,
    Event,
    Key,
    Record,
    Topic,
    from_record,
    read,
)
from domain.dead import Dead, dead_record
from domain.dead import evolve as evolve_dead
from infra.log.behind import must_reach
from infra.log.lag import Lags, export_lags, lags
from infra.log.log import Log, Positions, TopicPartition
from infra.process import failpoints, log_context, metrics, traces
from infra.process.error_text import text_of
from projections.store.port import LONG_AGO, HistoryEntry, Milestone, ProjectionBatch, Snapshot, Store, StoredState
from projections.views.dead import read_dead
from projections.views.table import VIEWS
from projections.views.view import Change, Row

logger = logging.getLogger(__name__)

READS = (Topic.EVENTS, Topic.DEAD)
MOST = 1000
CACHE = 5_000
"""Aggregates whose states are kept in memory, at some 12 KiB each."""
GATHER = 0.05
"""Seconds for which the broker holds records back while many come, to send them together."""
PACE = 0.1
"""Seconds from the start of one batch to the next while many records come, though fewer than one read takes: a row that
changes twice meanwhile is written once."""
BUSY = 16
"""Records in a batch from which on there is load. With fewer, the pace is a fifth: the records of one command come in
small pieces."""

SNAPSHOT_EVENTS = 16
SNAPSHOT_BYTES = 256
"""A state is written down after SNAPSHOT_EVENTS events, or after one for each SNAPSHOT_BYTES of it if that is more: so
an event costs no more however large the state has become."""
MILESTONE_EVENTS = 1000
MILESTONE_BYTES = 1024
"""A milestone is made MILESTONE_EVENTS versions after the one before, or one for each MILESTONE_BYTES of that one if
that is more. Versions alone decide, wherever batches end. The largest network there may be has 20 MB, so 20,000 events
are folded at most."""


class VersionGap(Exception):
    """An aggregate's events have a gap in their versions: the log, or what was read of it, is damaged."""


@dataclass(slots=True)
class _Folded:
    """An aggregate as its events make it, and which of its states are written down."""

    version: int = 0
    state: Any = None
    kept: int = 0
    """Version of the last snapshot that was written."""
    size: int = 0
    """Bytes of the last snapshot's state."""
    offset: int = -1
    """Offset of the last event that was folded."""
    time: datetime = LONG_AGO
    """The latest time of all its events."""
    milestone: int = 0
    """Version at which the next milestone is written."""

    def due(self) -> bool:
        """Say whether enough events have come since the last snapshot to write another."""
        return self.version - self.kept >= max(SNAPSHOT_EVENTS, self.size // SNAPSHOT_BYTES)

    def snapshot(self) -> Snapshot:
        """Return the state as a snapshot, and note that it is written down."""
        state = self._dumped()
        self.kept, self.size = self.version, len(state)
        return Snapshot(self.version, self.offset, state, self.time)

    def reached(self, record: Record, envelope: Envelope) -> Milestone:
        """Return the state after this event as a milestone, and set the version of the next milestone."""
        state = self._dumped()
        self.milestone = _next_milestone(self.version, len(state))
        place = (record.partition or 0, record.offset)
        return Milestone(envelope.subject, self.version, self.time, *place, envelope.id, state)

    def _dumped(self) -> bytes:
        state: str = self.state.model_dump_json(exclude_defaults=True)
        return state.encode()


class Projector:
    """Folds the events of gostack.events, and the dead records of gostack.dead, into a store of read models."""

    def __init__(self, log: Log, store: Store, most: int = MOST, pace: float = PACE) -> None:
        self._log = log
        self._store = store
        self._most = most
        self._pace = pace
        self._cache: OrderedDict[Key, _Folded] = OrderedDict()
        self._positions: dict[TopicPartition, int] = {}
        self._serves = False
        self._traced: Positions = {}
        """Offset per partition from which on events get spans; earlier events were there before the projector
        started."""

    async def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Project until `until` returns True.

        Raises LogBehind, VersionGap, NotMoved, StoreUnavailable, LogUnavailable.
        """
        await self.start(list(await self._log.bounds(READS)))
        await must_reach(self._log, self._positions)
        await self.serve()
        reader = await self._log.reader(self._positions, gather=GATHER)
        clock = asyncio.get_running_loop().time
        next_at = clock()
        try:
            while not until():
                await asyncio.sleep(next_at - clock())
                records = await reader.fetch(self._most, 0.2)
                next_at = clock()
                if records:
                    await self.apply(records)
                if len(records) < self._most:
                    next_at += self._pace if len(records) >= BUSY else self._pace / 5
        finally:
            await reader.close()

    async def serve(self) -> None:
        """Begin to act as the projector that serves: from now on, lay unreadable events aside in gostack.dead and make
        spans.

        A projector that only fills a new generation of read models does neither. Raises LogUnavailable.
        """
        self._serves = True
        if traces.on():
            self._traced = {each: end for each, (_, end) in (await self._log.bounds(READS)).items()}

    async def start(self, partitions: Sequence[TopicPartition]) -> None:
        """Load from the store the offset at which to go on in each of these partitions. Raises StoreUnavailable."""
        self._positions = await self._store.positions(partitions)

    async def up_to(self, ends: Positions) -> None:
        """Project the records before these offsets, and none behind them. Raises what run() raises."""
        left = {each for each, end in ends.items() if self._positions[each] < end}
        if not left:
            return
        bounds = {(topic, number): end for (topic, number), end in ends.items()}
        reader = await self._log.reader({each: self._positions[each] for each in left})
        try:
            while left:
                found = await reader.fetch(self._most, 1.0)
                records = [each for each in found if each.offset < bounds[each.topic, each.partition or 0]]
                if records:
                    await self.apply(records)
                left = {each for each in left if self._positions[each] < ends[each]}
        finally:
            await reader.close()

    async def apply(self, records: Sequence[Record]) -> None:
        """Project these records, which must follow one another in each partition. Raises what run() raises."""
        failpoints.point("projector-fetched")
        began, began_ns = time.monotonic(), time.time_ns()
        batch = ProjectionBatch()
        found: list[tuple[Record, Envelope]] = []
        dead: list[tuple[Record, Envelope]] = []
        unreadable: list[Record] = []
        partition: TopicPartition | None = None
        for record in records:
            if partition is None or (record.topic, record.partition or 0) != partition:
                partition = _partition(record)
                batch.start.setdefault(partition, self._positions[partition])
            batch.end[partition] = record.offset + 1
            if record.filler:
                continue
            if record.topic == Topic.DEAD:
                if said := read_dead(record):
                    dead.append((record, said))
                continue
            try:
                found.append((record, from_record(record)))
            except UnknownMessage as error:
                with log_context.handling(None, record.place):
                    logger.error("the event cannot be read, and is passed over: %s", error)
                unreadable.append(dead_record(record, text_of(error)))
        await self._warm({each.subject for _, each in found if each.aggversion} | {each.subject for _, each in dead})
        try:
            changes = [change for record, envelope in found if (change := self._fold(batch, record, envelope))]
            changes += [change for record, envelope in dead if (change := self._bury(batch, record, envelope))]
            _project(batch, changes)
            self._snapshots(batch, changes)
            failpoints.point("projector-folded")
            if unreadable and self._serves:
                # Behind the fold, which stops at a gap: whoever starts again and again would send it each time.
                await self._log.publish(unreadable)
                metrics.DEAD.labels("projector").inc(len(unreadable))
            await self._store.apply(batch)
            failpoints.point("projector-applied")
        except BaseException:
            self._cache.clear()
            raise
        self._positions |= batch.end
        metrics.PROJECTOR_SECONDS.observe(time.monotonic() - began)
        metrics.PROJECTOR_RECORDS.observe(len(records))
        if self._traced:
            for record, envelope in found:
                if record.offset >= self._traced[_partition(record)]:
                    traces.handling("project", envelope, record.place, at=began_ns).end()
        if logger.isEnabledFor(logging.DEBUG):
            for record, envelope in found:
                with log_context.handling(envelope, record.place):
                    logger.debug("projected")

    async def look(self, clock: Callable[[], datetime]) -> Lags:
        """Measure how far the read models are behind the log, in records and seconds. Raises LogUnavailable."""
        return export_lags("projector", await lags(self._log, dict(self._positions), clock(), READS))

    async def _warm(self, keys: set[Key]) -> None:
        cold = [key for key in keys if key not in self._cache]
        if not cold:
            return
        found = await self._store.states(cold)
        for key in cold:
            self._cache[key] = _folded(key, found[key]) if key in found else _Folded()
        long = [key for key in cold if self._cache[key].version >= MILESTONE_EVENTS]
        marked = await self._store.last_milestones(long) if long else {}
        for key in cold:
            self._cache[key].milestone = _next_milestone(*marked.get(key, (0, 0)))

    def _fold(self, batch: ProjectionBatch, record: Record, envelope: Envelope) -> Change | None:
        """Apply an event to its aggregate; return the change, or None where the event was applied before. Raises
        VersionGap."""
        key = envelope.subject
        before = after = None
        if envelope.aggversion is not None:
            folded = self._cache[key]
            if envelope.aggversion <= folded.version:
                return None
            if envelope.aggversion > folded.version + 1:
                raise VersionGap(f"{key}: version {envelope.aggversion} follows {folded.version} at {record.place}")
            if not isinstance(envelope.data, Event):
                raise VersionGap(f"{record.place} is no event")
            before = folded.state
            after = AGGREGATES[key.kind].evolve(before, envelope.data, key.id)
            folded.version, folded.state, folded.offset = envelope.aggversion, after, record.offset
            if envelope.time > folded.time:
                folded.time = envelope.time
            if folded.version >= folded.milestone:
                batch.milestones.append(folded.reached(record, envelope))
            self._cache.move_to_end(key)
        batch.history.append(entry(record, envelope))
        return Change(envelope, before, after, (record.topic, record.partition or 0, record.offset))

    def _bury(self, batch: ProjectionBatch, record: Record, envelope: Envelope) -> Change | None:
        """Apply a record of gostack.dead; return the change, or None. History does not keep dead records, so each state
        of one is written down at once."""
        folded = self._cache[envelope.subject]
        before, after = folded.state, evolve_dead(folded.state, envelope)
        if after is before:
            return None
        folded.version, folded.state, folded.offset = folded.version + 1, after, record.offset
        batch.states[envelope.subject] = folded.snapshot()
        place = (record.topic, record.partition or 0, record.offset)
        return Change(replace(envelope, aggversion=folded.version), before, after, place)

    def _snapshots(self, batch: ProjectionBatch, changes: Sequence[Change]) -> None:
        """Add to the batch the states that are due after these changes, and those that the cache has no room for."""
        for key in {change.key for change in changes if change.version}:
            if self._cache[key].due():
                batch.states[key] = self._cache[key].snapshot()
        while len(self._cache) > CACHE:
            key, folded = self._cache.popitem(last=False)
            if folded.version > folded.kept:
                batch.states[key] = folded.snapshot()


def _partition(record: Record) -> TopicPartition:
    return TopicPartition(record.topic, record.partition or 0)


def _folded(key: Key, kept: StoredState) -> _Folded:
    if key.kind == "dead":
        return _Folded(kept.version, Dead.model_validate_json(kept.state), kept.version, len(kept.state))
    aggregate = AGGREGATES[key.kind]
    state: Any = aggregate.state.model_validate_json(kept.state) if kept.state else None
    for type_name, data in kept.tail:
        event = read(type_name, data)
        assert isinstance(event, Event)
        state = aggregate.evolve(state, event, key.id)
    return _Folded(kept.version + len(kept.tail), state, kept.version, len(kept.state), time=kept.time)


def _next_milestone(version: int, size: int) -> int:
    """Return the version of the milestone after the one of this version, whose state has so many bytes."""
    return version + max(MILESTONE_EVENTS, size // MILESTONE_BYTES)


def _project(batch: ProjectionBatch, changes: Sequence[Change]) -> None:
    """Add to the batch the rows that follow from these changes, which must follow one another."""
    by_kind: dict[str, list[Change]] = {}
    for change in changes:
        by_kind.setdefault(change.key.kind, []).append(change)
    for view in VIEWS.values():
        # Rows of different kinds are different rows, so only the order within a kind counts.
        concerned: Iterable[Change] = [change for kind in view.kinds for change in by_kind.get(kind, ())]
        if view.events:
            concerned = [change for change in concerned if type(change.envelope.data) in view.events]
        if view.about is not None:
            last: dict[Hashable, Change] = {}
            for change in concerned:
                if (about := view.about(change)) is not None:
                    last.pop(about, None)
                    last[about] = change
            concerned = last.values()
        rows: dict[str, Row] = {}
        gone: set[str] = set()
        for change in concerned:
            for row in view.rows(change):
                if row.id in rows and rows[row.id].version > row.version:
                    continue
                rows[row.id] = row
                gone.discard(row.id)
            for ident in view.gone(change):
                rows.pop(ident, None)
                gone.add(ident)
        if rows:
            batch.rows[view.name] = rows
        if gone:
            batch.gone[view.name] = gone


def entry(record: Record, envelope: Envelope) -> HistoryEntry:
    """Return an event in the form in which history keeps it."""
    # In the order of its fields: naming them takes longer than all the rest.
    return HistoryEntry(
        envelope.subject,
        envelope.aggversion or 0,
        envelope.id,
        # As it was written, like the data that it tells how to read.
        envelope.written,
        envelope.time,
        record.topic,
        record.partition or 0,
        record.offset,
        envelope.actor,
        envelope.project,
        getattr(envelope.data, "task_id", "") or envelope.task,
        envelope.correlation,
        envelope.causation,
        envelope.verdict or "",
        record.value,
    )
