"""Verdicts on commands, read from the end of gostack.events for the requests that wait for them.

Why every API process reads all events: a verdict may come from any partition, and a header is enough to see that no
request of this process waits for it, so other events cost next to nothing.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from api.writes.admission import Admission
from domain.aggregates import begins_task
from domain.core.errors import UnknownMessage
from domain.core.messages import Envelope, Key, Record, Topic, Verdict, from_record
from domain.tasks.events import (
    CommandRefused,
    CommandSatisfied,
    TaskFailed,
    TaskFinished,
)
from infra.log.lag import Lag, lags
from infra.log.log import Log, LogUnavailable, TopicPartition
from infra.process import log_context

logger = logging.getLogger(__name__)

FETCH = 1000
GATHER = 0.01
"""Seconds for which events are collected while many come."""
WAIT = 1.0
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
ENDS_SECRETS = {"boot", "hard-delete"}
"""Actions after whose end an instance's secrets are not needed any more."""


@dataclass(frozen=True, slots=True)
class CommandVerdict:
    """The verdict on a command, and what it says."""

    command_id: str
    verdict: Verdict
    subject: Key
    fingerprint: str
    task_id: str | None = None
    code: str = ""
    message: str = ""
    hint: str = ""
    values: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_event(cls, envelope: Envelope) -> "CommandVerdict":
        """Read from the event that carries the verdict; raises ValueError for an event that carries none."""
        if envelope.verdict is None:
            raise ValueError(f"{envelope.data.type_name} {envelope.id} carries no verdict")
        event = envelope.data
        refused = event if isinstance(event, CommandRefused) else None
        return cls(
            command_id=envelope.causation,
            verdict=envelope.verdict,
            subject=envelope.subject,
            fingerprint=envelope.fingerprint,
            task_id=envelope.causation if begins_task(envelope) else None,
            code=refused.code if refused else "",
            message=event.message if isinstance(event, (CommandRefused, CommandSatisfied)) else "",
            hint=refused.hint if refused else "",
            values=refused.values if refused else {},
        )

    @classmethod
    def of_document(cls, doc: Mapping[str, Any]) -> "CommandVerdict":
        """Read from a row of the verdicts view."""
        return cls(
            command_id=doc["id"],
            verdict=doc["verdict"],
            subject=Key.parse(doc["subject"]),
            fingerprint=doc["fingerprint"],
            task_id=doc["task_id"],
            code=doc["code"] or "",
            message=doc["message"] or "",
            hint=doc["hint"] or "",
            values=doc["values"],
        )


class Expected:
    """Verdicts that a request waits for."""

    def __init__(self, futures: Mapping[str, asyncio.Future[CommandVerdict]]) -> None:
        self._futures = futures

    async def within(self, seconds: float) -> dict[str, CommandVerdict]:
        """Wait this long, and return the verdicts that came, by command id."""
        await asyncio.wait(self._futures.values(), timeout=seconds)
        return {ident: future.result() for ident, future in self._futures.items() if future.done()}


class Verdicts:
    """A reader of the end of gostack.events, which passes verdicts to the requests that wait for them."""

    def __init__(self, log: Log, ended: Callable[[str], None], admission: Admission) -> None:
        """Set the callbacks.

        `ended` is called with an instance's id when its secrets are not needed any more; it must not block. `admission`
        counts the tasks that end.
        """
        self._log = log
        self._ended = ended
        self._admission = admission
        self._waiting: dict[str, list[asyncio.Future[CommandVerdict]]] = defaultdict(list)
        self._positions: dict[TopicPartition, int] = {}
        self._count = 0

    @property
    def waiting(self) -> int:
        """The number of verdicts that requests wait for."""
        return self._count

    @contextmanager
    def expect(self, ids: Sequence[str]) -> Iterator[Expected]:
        """Collect the verdicts on these commands; enter it before they are published."""
        loop = asyncio.get_running_loop()
        futures = {ident: loop.create_future() for ident in ids}
        for ident, future in futures.items():
            self._waiting[ident].append(future)
        self._count += len(futures)
        try:
            yield Expected(futures)
        finally:
            self._count -= len(futures)
            for ident, future in futures.items():
                self._waiting[ident].remove(future)
                if not self._waiting[ident]:
                    del self._waiting[ident]
                future.cancel()

    async def look(self, now: datetime) -> dict[str, Lag]:
        """Return how far this reader is behind the log. Raises LogUnavailable."""
        return await lags(self._log, dict(self._positions), now, [Topic.EVENTS])

    async def open(self) -> None:
        """Begin at the log's end: verdicts on commands published from now on are read. Raises LogUnavailable."""
        bounds = await self._log.bounds([Topic.EVENTS])
        self._positions = {partition: end for partition, (_, end) in bounds.items()}

    async def run(self) -> None:
        """Read until cancelled. If the log does not answer, reading is retried where it stopped."""
        pause = FIRST_PAUSE
        while True:
            try:
                if not self._positions:
                    await self.open()
                reader = await self._log.reader(self._positions, gather=GATHER)
                try:
                    while True:
                        for record in await reader.fetch(FETCH, WAIT):
                            self.take(record)
                            self._positions[TopicPartition(record.topic, record.partition or 0)] = record.offset + 1
                        pause = FIRST_PAUSE
                finally:
                    await reader.close()
            except LogUnavailable as error:
                logger.error("verdicts cannot be read: %s; again in %.1f s", error, pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    def take(self, record: Record) -> None:
        """Pass the verdict of an event to the requests that wait for it, and count tasks that end."""
        headers = dict(record.headers)
        waited = (
            "ce_verdict" in headers and (headers.get("ce_causationid") or b"").decode(errors="replace") in self._waiting
        )
        kind = (headers.get("ce_type") or b"").decode(errors="replace")
        ends = kind in (TaskFinished.type_name, TaskFailed.type_name)
        self._admission.ended += ends
        if not waited and not ends:
            return
        try:
            envelope = from_record(record)
        except UnknownMessage as error:
            with log_context.handling(None, record.place):
                logger.error("an event cannot be read: %s", error)
            return
        if waited:
            verdict = CommandVerdict.of_event(envelope)
            for future in self._waiting.get(verdict.command_id, ()):
                if not future.done():
                    future.set_result(verdict)
        if isinstance(envelope.data, (TaskFinished, TaskFailed)) and envelope.data.action in ENDS_SECRETS:
            self._ended(envelope.subject.id)
