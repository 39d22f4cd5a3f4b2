"""Dead records: what a person does about each, as records of the log; what there is of them is a read model.

Whoever acts waits first until the read model has all of gostack.dead, and after it until it has what was done: so two
who act on one record see each other, whichever process they ask.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from api.http.refusals import EventNotRetried, NotAppliedYet
from api.http.request_context import Asked
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
"""Topics whose records are for an aggregate, which may be parked because of one."""
Document = dict[str, Any]


class DeadRecords:
    """What is done about them."""

    def __init__(self, log: Log, store: Store, clock: Callable[[], datetime], patience: float) -> None:
        """`patience`: seconds for which the read model is waited for."""
        self._log = log
        self._store = store
        self._clock = clock
        self._patience = patience
        self._lock = asyncio.Lock()

    async def get(self, ident: str) -> tuple[Document, Record]:
        """One, with its record as it lies in the topic. Raises NotFound, LogUnavailable, StoreUnavailable."""
        dead = await self._known(ident)
        return dead, await self._record(dead)

    async def retry(self, asked: Asked, ident: str) -> Document:
        """Put it on its topic again; what it was for is released before. One that was retried stays so.

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
            await self._log.publish([*self._release(asked, ident, record, again), again])
            await self._log.publish([self._fact(asked, ident, DeadRetried(record_id=_retry_id(ident)))])
            await self._caught_up()
            return await self._known(ident)

    async def drop(self, asked: Asked, ident: str) -> Document:
        """It needs no more care. Raises what retry() raises."""
        async with self._lock:
            await self._caught_up()
            dead = await self._known(ident)
            if dead["status"] == RETRIED:
                raise WrongStatus(kind="Dead record", id=ident, status=dead["status"], action="drop", allowed=DEAD)
            if dead["status"] == DEAD:
                await self._log.publish([self._fact(asked, ident, DeadDropped())])
                await self._caught_up()
            return await self._known(ident)

    async def _known(self, ident: str) -> Document:
        found = await self._store.get(VIEW, ident)
        if found is None:
            raise NotFound(kind="dead record", id=ident)
        doc: Document = orjson.loads(found.doc)
        return doc

    async def _caught_up(self) -> None:
        """Until the read model has what the topic has now. Raises NotAppliedYet."""
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

    def _release(self, asked: Asked, ident: str, record: Record, again: Record) -> list[Record]:
        try:
            subject = from_record(record).subject
        except GoStackError:
            return []
        if again.topic not in DECIDED or subject.kind not in AGGREGATES:
            return []
        envelope = self._envelope(asked, derived_id(ident, "release"), ReleaseAggregate(), subject)
        # Beside the record itself, so that it is dealt with before it.
        return [replace(to_record(envelope, again.topic, partition=again.partition), key=again.key)]

    def _fact(self, asked: Asked, ident: str, fact: DeadEvent) -> Record:
        envelope = self._envelope(asked, derived_id(ident, fact.type_name), fact, Key("dead", ident))
        return to_record(envelope, Topic.DEAD)

    def _envelope(self, asked: Asked, ident: str, data: Message, subject: Key) -> Envelope:
        return Envelope(
            id=ident,
            data=data,
            subject=subject,
            time=self._clock(),
            source=SOURCE,
            correlation=asked.command_id,
            actor=asked.actor,
            project=asked.project,
            reason=asked.reason,
            traceparent=asked.traceparent,
        )


def payload(record: Record) -> Any:
    """What the record says, as JSON where it is some, else as text."""
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
