"""The projector: folds events into read models, some hundred at a time, positions and rows in one transaction.

Why it folds states itself: a row then says just what the domain says, and nothing is derived twice. An event is
applied when its version is the next of its aggregate; one that is not above the last was seen before; a gap means
that something was lost, and stops the projector, loudly.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from domain.aggregates import AGGREGATES
from domain.errors import UnknownMessage
from domain.messages import Envelope, Event, Key, Record, Topic, from_record
from infra.log.log import Log, TopicPartition
from projections.store import Batch, Entry, Store
from projections.view import Change
from projections.views import VIEWS

logger = logging.getLogger(__name__)

MOST = 1000
CACHE = 20_000


class VersionGap(Exception):
    """An aggregate's events are not without a gap: the log, or what was read of it, is damaged."""


class Projector:
    """Reads gostack.events into a store."""

    def __init__(self, log: Log, store: Store) -> None:
        self._log = log
        self._store = store
        self._cache: OrderedDict[Key, tuple[int, Any]] = OrderedDict()
        self._positions: dict[TopicPartition, int] = {}

    async def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Project until told to stop. Raises VersionGap, NotMoved, StoreUnavailable, LogUnavailable."""
        count = await self._log.partitions(Topic.EVENTS)
        partitions = [TopicPartition(Topic.EVENTS, number) for number in range(count)]
        self._positions = await self._store.positions(partitions)
        reader = await self._log.reader(self._positions)
        try:
            while not until():
                records = await reader.fetch(MOST, 0.2)
                if records:
                    await self.apply(records)
        finally:
            await reader.close()

    async def apply(self, records: Sequence[Record]) -> None:
        """Project these records, which follow one another in each partition."""
        batch = Batch()
        read: list[tuple[Record, Envelope]] = []
        for record in records:
            partition = TopicPartition(record.topic, record.partition or 0)
            batch.start.setdefault(partition, self._positions[partition])
            batch.end[partition] = record.offset + 1
            try:
                read.append((record, from_record(record)))
            except UnknownMessage as error:
                logger.error("event left out: %s", error)
        await self._warm({envelope.subject for _, envelope in read if envelope.aggversion})
        try:
            for record, envelope in read:
                self._project(batch, record, envelope)
            await self._store.apply(batch)
        except BaseException:
            self._cache.clear()
            raise
        self._positions |= batch.end
        while len(self._cache) > CACHE:
            self._cache.popitem(last=False)

    async def _warm(self, keys: set[Key]) -> None:
        cold = [key for key in keys if key not in self._cache]
        if not cold:
            return
        found = await self._store.states(cold)
        for key in cold:
            version, state = found.get(key, (0, b""))
            self._cache[key] = (version, AGGREGATES[key.kind].state.model_validate_json(state) if state else None)

    def _project(self, batch: Batch, record: Record, envelope: Envelope) -> None:
        key = envelope.subject
        before = after = None
        if envelope.aggversion is not None:
            version, before = self._cache[key]
            if envelope.aggversion <= version:
                return
            if envelope.aggversion > version + 1:
                raise VersionGap(f"{key}: version {envelope.aggversion} follows {version} at {record.place}")
            if not isinstance(envelope.data, Event):
                raise VersionGap(f"{record.place} is no event")
            after = AGGREGATES[key.kind].evolve(before, envelope.data, key.id)
            self._cache[key] = (envelope.aggversion, after)
            self._cache.move_to_end(key)
            batch.states[key] = (envelope.aggversion, after.model_dump_json(exclude_defaults=True).encode())
        change = Change(envelope, before, after, (record.topic, record.partition or 0, record.offset))
        for view in VIEWS.values():
            if key.kind not in view.kinds:
                continue
            for row in view.rows(change):
                batch.rows.setdefault(view.name, {})[row.id] = row
                batch.gone.get(view.name, set()).discard(row.id)
            for ident in view.gone(change):
                batch.rows.get(view.name, {}).pop(ident, None)
                batch.gone.setdefault(view.name, set()).add(ident)
        batch.history.append(_entry(record, envelope))


def _entry(record: Record, envelope: Envelope) -> Entry:
    return Entry(
        subject=envelope.subject,
        version=envelope.aggversion or 0,
        id=envelope.id,
        type=envelope.data.type_name,
        time=envelope.time,
        topic=record.topic,
        partition=record.partition or 0,
        offset=record.offset,
        actor=envelope.actor,
        project=envelope.project,
        task=getattr(envelope.data, "task_id", "") or "",
        correlation=envelope.correlation,
        causation=envelope.causation,
        verdict=envelope.verdict or "",
        data=record.value,
    )
