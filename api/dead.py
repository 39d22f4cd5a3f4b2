"""Dead records: gostack.dead folded to what is in it and what was done about each.

Why from the log and not from a table: the topic has one partition, should be empty, and says itself what was retried
and dropped; all there is to remember fits in memory. A record is dead once, whichever process put it there again: its
id is made of the place it came from.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from api.asked import Asked
from domain.aggregates import AGGREGATES
from domain.dead import DeadDropped, DeadEvent, DeadRetried
from domain.errors import GoStackError, Invalid, NotFound, WrongStatus
from domain.messages import Envelope, Key, Message, Record, Topic, derived_id, from_record, named_id, to_record
from domain.parking import ReleaseAggregate
from infra.log.log import Log, LogUnavailable, TopicPartition

SOURCE = "gostack/api"
PARTITION = TopicPartition(Topic.DEAD, 0)
MOST = 10_000
"""Dead records that are remembered, the newest; older ones are still in the topic."""
FETCH = 500
WAIT = 5.0
PLACE, WHY = "gostack_place", "gostack_why"
RETRIED_TO = {Topic.COMMANDS, Topic.SCHEDULING, Topic.RESULTS, Topic.JOBS, Topic.REPORTS}
DECIDED = {Topic.COMMANDS, Topic.SCHEDULING, Topic.RESULTS}
"""Topics whose records are for an aggregate, which may be parked because of one."""
DEAD, RETRIED, DROPPED = "dead", "retried", "dropped"


@dataclass(frozen=True)
class Dead:
    """A dead record, without its value."""

    id: str
    offset: int
    headers: dict[str, str]
    status: str = DEAD
    closed: datetime | None = None
    by: str = ""
    reason: str = ""

    def document(self) -> dict[str, Any]:
        """As it is listed."""
        return {
            "id": self.id,
            "status": self.status,
            "place": self.headers.get(PLACE, ""),
            "why": self.headers.get(WHY, ""),
            "type": self.headers.get("ce_type", ""),
            "subject": self.headers.get("ce_subject", ""),
            "time": self.headers.get("ce_time", ""),
            "actor": self.headers.get("ce_actor", ""),
            "project_id": self.headers.get("ce_project", ""),
            "correlation_id": self.headers.get("ce_correlationid", ""),
            "closed": self.closed.isoformat() if self.closed else None,
            "closed_by": self.by,
            "closed_reason": self.reason,
        }


class DeadRecords:
    """What this process knows of the topic; it looks for more each time it is asked."""

    def __init__(self, log: Log, clock: Callable[[], datetime]) -> None:
        self._log = log
        self._clock = clock
        self._found: OrderedDict[str, Dead] = OrderedDict()
        self._next = 0
        self._lock = asyncio.Lock()

    async def newest_first(self) -> list[Dead]:
        """All that is remembered. Raises LogUnavailable."""
        async with self._lock:
            await self._catch_up()
            return list(reversed(self._found.values()))

    async def get(self, ident: str) -> tuple[Dead, Record]:
        """One, with its record as it lies in the topic. Raises NotFound, LogUnavailable."""
        async with self._lock:
            await self._catch_up()
            dead = self._known(ident)
            return dead, await self._record(dead)

    async def retry(self, asked: Asked, ident: str) -> Dead:
        """Put it on its topic again; what it was for is released before. One that was retried stays so.

        Raises NotFound, WrongStatus, Invalid, LogUnavailable.
        """
        async with self._lock:
            await self._catch_up()
            dead = self._known(ident)
            if dead.status == RETRIED:
                return dead
            if dead.status != DEAD:
                raise WrongStatus(kind="Dead record", id=ident, status=dead.status, action="retry", allowed=DEAD)
            record = await self._record(dead)
            again = _again(dead, record)
            # The record goes before the fact: after a fall between them it is sent twice, under one id.
            await self._log.publish([*self._release(asked, dead, record, again), again])
            await self._log.publish([self._fact(asked, dead, DeadRetried(record_id=_retry_id(dead)))])
            await self._catch_up()
            return self._known(ident)

    async def drop(self, asked: Asked, ident: str) -> Dead:
        """It needs no more care. Raises NotFound, WrongStatus, LogUnavailable."""
        async with self._lock:
            await self._catch_up()
            dead = self._known(ident)
            if dead.status == RETRIED:
                raise WrongStatus(kind="Dead record", id=ident, status=dead.status, action="drop", allowed=DEAD)
            if dead.status == DEAD:
                await self._log.publish([self._fact(asked, dead, DeadDropped())])
                await self._catch_up()
            return self._known(ident)

    def _known(self, ident: str) -> Dead:
        if ident not in self._found:
            raise NotFound(kind="dead record", id=ident)
        return self._found[ident]

    async def _catch_up(self) -> None:
        first, end = (await self._log.bounds([Topic.DEAD]))[PARTITION]
        self._next = max(self._next, first)
        if self._next >= end:
            return
        reader = await self._log.reader({PARTITION: self._next})
        try:
            while self._next < end:
                records = await reader.fetch(FETCH, WAIT)
                if not records:
                    raise LogUnavailable(f"{Topic.DEAD} gave nothing within {WAIT} s")
                for record in records:
                    self._take(record)
                    self._next = record.offset + 1
        finally:
            await reader.close()

    def _take(self, record: Record) -> None:
        headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
        if PLACE in headers:
            ident = named_id("dead", headers[PLACE])
            self._found.setdefault(ident, Dead(ident, record.offset, headers))
            while len(self._found) > MOST:
                self._found.popitem(last=False)
            return
        try:
            fact = from_record(record)
        except GoStackError:
            return
        dead = self._found.get(fact.subject.id)
        if isinstance(fact.data, DeadEvent) and dead is not None and dead.status == DEAD:
            status = RETRIED if isinstance(fact.data, DeadRetried) else DROPPED
            self._found[dead.id] = replace(dead, status=status, closed=fact.time, by=fact.actor, reason=fact.reason)

    async def _record(self, dead: Dead) -> Record:
        reader = await self._log.reader({PARTITION: dead.offset})
        try:
            records = await reader.fetch(1, WAIT)
        finally:
            await reader.close()
        if not records or records[0].offset != dead.offset:
            raise LogUnavailable(f"{Topic.DEAD}:0:{dead.offset} was not given within {WAIT} s")
        return records[0]

    def _release(self, asked: Asked, dead: Dead, record: Record, again: Record) -> list[Record]:
        try:
            subject = from_record(record).subject
        except GoStackError:
            return []
        if again.topic not in DECIDED or subject.kind not in AGGREGATES:
            return []
        envelope = self._envelope(asked, derived_id(dead.id, "release"), ReleaseAggregate(), subject)
        # Beside the record itself, so that it is dealt with before it.
        return [replace(to_record(envelope, again.topic, partition=again.partition), key=again.key)]

    def _fact(self, asked: Asked, dead: Dead, fact: DeadEvent) -> Record:
        envelope = self._envelope(asked, derived_id(dead.id, fact.type_name), fact, Key("dead", dead.id))
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


def _retry_id(dead: Dead) -> str:
    return derived_id(dead.id, "retry")


def _again(dead: Dead, record: Record) -> Record:
    topic, _, rest = dead.headers[PLACE].partition(":")
    partition = rest.partition(":")[0]
    if topic not in RETRIED_TO or not partition.isdecimal():
        raise Invalid(field="place", value=dead.headers[PLACE][:80], allowed="it must lie in a topic that is read")
    headers = [(name, value) for name, value in record.headers if name not in (PLACE, WHY, "ce_id")]
    headers.append(("ce_id", _retry_id(dead).encode()))
    return Record(topic, record.key, record.value, tuple(headers), int(partition))
