"""Dead records: retries and drops are records of the log, and the dead records themselves are a read model.

Before and after each change, the read model is waited for until it has all of gostack.dead: so two users who act on the
same record see each other's changes, whichever process they use.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from api.http.refusals import EventNotRetried, NotAppliedYet
from api.http.request_context import RequestContext
from api.reads.queries import came_true
from domain.aggregates import AGGREGATES
from domain.core.errors import GoStackError, Invalid, NotFound, WrongStatus
from domain.core.messages import (
    Envelope,
    Key,
    Message,
    Record,
    Topic,
    derived_id,
    from_record,
    to_record,
)
from domain.dead import DEAD, PLACE, RETRIED, WHY, DeadDropped, DeadEvent, DeadRetried
from domain.parking import ReleaseAggregate
from infra.log.log import Log, LogUnavailable, TopicPartition
from projections.store.port import Store

SOURCE = "gostack/api"
PARTITION = TopicPartition(Topic.DEAD, 0)
VIEW = "dead"
WAIT = 5.0
RETRIED_TO = {Topic.COMMANDS, Topic.SCHEDULING, Topic.RESULTS, Topic.JOBS, Topic.REPORTS}
DECIDED = {Topic.COMMANDS, Topic.SCHEDULING, Topic.RESULTS}
"""Topics whose records are for an aggregate, which may have been parked because of such a record."""
Document = dict[str, Any]


class DeadRecords:
    """Reads, retries and drops of dead records."""

    def __init__(self, log: Log, store: Store, clock: Callable[[], datetime], patience: float) -> None:
        """Set `patience`, the seconds for which the read model is waited for."""
        self._log = log
        self._store = store
        self._clock = clock
        self._patience = patience
        self._lock = asyncio.Lock()

    async def get(self, ident: str) -> tuple[Document, Record]:
        """Return a dead record and its record in the topic. Raises NotFound, LogUnavailable, StoreUnavailable."""
        dead = await self._known(ident)
        return dead, await self._record(dead)

    async def retry(self, context: RequestContext, ident: str) -> Document:
        """Put a dead record on its topic again, and release its subject before. Repeated, it changes nothing.

        Raises NotFound, WrongStatus, EventNotRetried, Invalid, NotAppliedYet, LogUnavailable, StoreUnavailable.
        """
        async with self._lock:
            await self._caught_up()
            dead = await self._known(ident)
            if dead["status"] == RETRIED:
                return dead
            if dead["status"] != DEAD:
                raise WrongStatus(kind="Dead record", id=ident, status=dead["status"], action="retry", allowed=DEAD)
            record = await self._record(dead)
            again = _again(dead, record)
            # The record goes before the fact: after a fall between them it is sent twice, under one id.
            await self._log.publish([*self._release(context, ident, record, again), again])
            await self._log.publish([self._fact(context, ident, DeadRetried(record_id=_retry_id(ident)))])
            await self._caught_up()
            return await self._known(ident)

    async def drop(self, context: RequestContext, ident: str) -> Document:
        """Mark a dead record as dropped.

        Raises NotFound, WrongStatus, NotAppliedYet, LogUnavailable, StoreUnavailable.
        """
        async with self._lock:
            await self._caught_up()
            dead = await self._known(ident)
            if dead["status"] == RETRIED:
                raise WrongStatus(kind="Dead record", id=ident, status=dead["status"], action="drop", allowed=DEAD)
            if dead["status"] == DEAD:
                await self._log.publish([self._fact(context, ident, DeadDropped())])
                await self._caught_up()
            return await self._known(ident)

    async def _known(self, ident: str) -> Document:
        found = await self._store.get(VIEW, ident)
        if found is None:
            raise NotFound(kind="dead record", id=ident)
        doc: Document = orjson.loads(found.doc)
        return doc

    async def _caught_up(self) -> None:
        """Wait until the read model has all records that the topic has now. Raises NotAppliedYet."""
        _, end = (await self._log.bounds([Topic.DEAD]))[PARTITION]

        async def has_it() -> bool:
            return (await self._store.positions([PARTITION]))[PARTITION] >= end

        if not await came_true(has_it, self._patience):
            raise NotAppliedYet(after=f"{Topic.DEAD}/{PARTITION.partition}/{end - 1}")

    async def _record(self, dead: Document) -> Record:
        reader = await self._log.reader({PARTITION: dead["offset"]})
        try:
            records = await reader.fetch(1, WAIT)
        finally:
            await reader.close()
        if not records or records[0].offset != dead["offset"]:
            raise LogUnavailable(f"{Topic.DEAD}:0:{dead['offset']} was not given within {WAIT} s")
        return records[0]

    def _release(self, context: RequestContext, ident: str, record: Record, again: Record) -> list[Record]:
        try:
            subject = from_record(record).subject
        except GoStackError:
            return []
        if again.topic not in DECIDED or subject.kind not in AGGREGATES:
            return []
        envelope = self._envelope(context, derived_id(ident, "release"), ReleaseAggregate(), subject)
        # Beside the record itself, so that it is dealt with before it.
        return [replace(to_record(envelope, again.topic, partition=again.partition), key=again.key)]

    def _fact(self, context: RequestContext, ident: str, fact: DeadEvent) -> Record:
        envelope = self._envelope(context, derived_id(ident, fact.type_name), fact, Key("dead", ident))
        return to_record(envelope, Topic.DEAD)

    def _envelope(self, context: RequestContext, ident: str, data: Message, subject: Key) -> Envelope:
        return Envelope(
            id=ident,
            data=data,
            subject=subject,
            time=self._clock(),
            source=SOURCE,
            correlation=context.command_id,
            actor=context.actor,
            project=context.project,
            reason=context.reason,
            traceparent=context.traceparent,
        )


def payload(record: Record) -> Any:
    """Return the data of a record: JSON if it can be read as such, otherwise text."""
    try:
        return orjson.loads(record.value)
    except orjson.JSONDecodeError:
        return record.value.decode(errors="replace")


def _retry_id(ident: str) -> str:
    return derived_id(ident, "retry")


def _again(dead: Document, record: Record) -> Record:
    topic, _, rest = dead["place"].partition(":")
    partition = rest.partition(":")[0]
    if topic == Topic.EVENTS:
        raise EventNotRetried(id=dead["id"], place=dead["place"])
    if topic not in RETRIED_TO or not partition.isdecimal():
        raise Invalid(field="place", value=dead["place"][:80], allowed="it must lie in a topic that is read")
    headers = [(name, value) for name, value in record.headers if name not in (PLACE, WHY, "ce_id")]
    headers.append(("ce_id", _retry_id(dead["id"]).encode()))
    return Record(topic, record.key, record.value, tuple(headers), int(partition))
