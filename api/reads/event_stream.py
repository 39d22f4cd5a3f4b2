"""The event stream: events straight from the log, as server-sent events, which can be resumed after any of them.

Why from the log and not from the read models: no event is missed or sent twice, and a client may begin at the very
first event. An event that is on the log twice, since its publisher crashed, is sent twice, under one id. A slow client
reads slowly: nothing is buffered for it here. Clients that have caught up share one reader of the log, so that one more
costs next to nothing while nothing happens.
"""

import asyncio
import heapq
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import groupby

from api.http.bounded import Bounded
from api.reads import stream_cursor
from api.reads.events import record_json
from api.reads.queries import only
from domain.core.errors import Invalid
from domain.core.event_filter import UNREADABLE, Interest
from domain.core.messages import Record, Topic
from infra.log.log import Log, LogUnavailable, Positions, Reader, TopicPartition
from infra.log.recent import Recent
from infra.process.loops import every

logger = logging.getLogger(__name__)

FETCH = 200
WAIT = 0.5
RECENT_WAIT = 1.0
"""Seconds that a follower waits for the next event before it looks whether the stream is to end."""
AGAIN_SECONDS = 5.0
"""Seconds until the newest events are read again, after the log was away."""
KEEP_ALIVE = 10.0
MOST_FOLLOWERS = 256
NOW, BEGINNING = "now", "beginning"
END = b"end"
"""Kind of the last event of a stream that ends."""
SKEW = timedelta(minutes=1)
"""Greatest difference between an event's own time and the time at which the log took it."""


class Feed:
    """The event streams of this process."""

    def __init__(self, log: Log, clock: Callable[[], datetime]) -> None:
        self._log = log
        self._clock = clock
        self.followers = Bounded("followers", "follow the feed", MOST_FOLLOWERS)
        self._recent = Recent(log, Topic.EVENTS)
        self._reading: asyncio.Task[None] | None = None
        self.closing = False
        """Whether the process is ending: every stream is ended, and its client resumes elsewhere."""

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold the place of one follower; while there is any, the newest events are read, once for all.

        Raises Overloaded."""
        with self.followers.place():
            if self._reading is None:
                # Anew each time: the reading before may not have ended yet.
                self._recent = Recent(self._log, Topic.EVENTS)
                self._reading = asyncio.create_task(
                    every(AGAIN_SECONDS, self._recent.run, name="recent-events", failures=(LogUnavailable,))
                )
            try:
                yield
            finally:
                if self.followers.now == 1:
                    self._reading.cancel()
                    self._reading = None

    async def start(self, begin: str, since: datetime | None = None) -> list[int]:
        """Return the offsets of a position, `now` or `beginning`; if it is empty, the offsets at a time.

        Raises Invalid, LogUnavailable.
        """
        return await begins_at(self._log, begin, since)

    async def follow(
        self, offsets: list[int], wanted: Interest, fields: Sequence[str] = ()
    ) -> AsyncGenerator[bytes, None]:
        """Yield the events after these offsets as server-sent events, until the client disconnects, or until the end
        of the time that it asked for; of each event only these fields, if any are named."""
        at = list(offsets)
        last: list[int] | None = None
        reader: Reader | None = None
        try:
            yield _block(at)
            told = time.monotonic()
            while not self.closing:
                if last is None and wanted.until is not None and self._clock() > wanted.until + SKEW:
                    last = _in_order(await self._log.offsets_at([Topic.EVENTS], wanted.until + SKEW))
                if last is not None and all(reached >= end for reached, end in zip(at, last, strict=True)):
                    yield _block(at, b"{}", END)
                    return
                records = self._recent.after(at, FETCH)
                if records is None:
                    if reader is None:
                        reader = await self._log.reader(_positions(at))
                    records = await reader.fetch(FETCH, WAIT)
                elif reader is not None:
                    await reader.close()
                    reader = None
                elif records:
                    # There may be many more, and others wait for their turn.
                    await asyncio.sleep(0)
                else:
                    await self._recent.wait(RECENT_WAIT)
                for record in _in_time(records):
                    at[record.partition or 0] = record.offset + 1
                    if event := _wanted(record, wanted):
                        yield _block(at, only(event, fields))
                        told = time.monotonic()
                if time.monotonic() - told >= KEEP_ALIVE:
                    # With its id, so that a follower of rare events does not come back far behind.
                    yield _block(at)
                    told = time.monotonic()
        finally:
            if reader is not None:
                await reader.close()


async def begins_at(log: Log, begin: str, since: datetime | None = None) -> list[int]:
    """Return the offsets of gostack.events, by partition, of a position, `now` or `beginning`; if empty, at a time.

    Raises Invalid, LogUnavailable.
    """
    if not begin and since is not None:
        return _in_order(await log.offsets_at([Topic.EVENTS], since - SKEW))
    bounds = await log.bounds([Topic.EVENTS])
    ends = [bounds[each] for each in sorted(bounds)]
    if begin in ("", NOW):
        return [end for _, end in ends]
    if begin == BEGINNING:
        return [first for first, _ in ends]
    try:
        offsets = stream_cursor.decode(begin)
    except ValueError:
        offsets = []
    if len(offsets) != len(ends) or any(offset > end for offset, (_, end) in zip(offsets, ends, strict=True)):
        raise Invalid(
            field="from", value=begin[:80], allowed="it must be the id of an event of this stream, now or beginning"
        )
    return offsets


def _positions(offsets: list[int]) -> Positions:
    return {TopicPartition(Topic.EVENTS, number): offset for number, offset in enumerate(offsets)}


def _in_order(offsets: Positions) -> list[int]:
    return [offsets[each] for each in sorted(offsets)]


def _wanted(record: Record, wanted: Interest) -> bytes:
    """Return the event as JSON; empty if the client does not want it, or if it cannot be read."""
    try:
        return record_json(record) if wanted.wants(record) else b""
    except UNREADABLE as error:
        logger.warning("%s cannot be read, and is not sent to clients: %s", record.place, error)
        return b""


def _block(at: list[int], data: bytes = b"", kind: bytes = b"") -> bytes:
    # JSON may have line ends between its parts, and one would be the end of what is sent.
    what = b"".join(b"data: " + line + b"\n" for line in data.splitlines()) or b": keep-alive\n"
    named = b"event: " + kind + b"\n" if kind else b""
    return b"id: " + stream_cursor.encode(at).encode() + b"\n" + named + what + b"\n"


def _in_time(records: list[Record]) -> list[Record]:
    """Return records merged by time, with each partition in its own order."""

    def partition(record: Record) -> int:
        return record.partition or 0

    def at(record: Record) -> bytes:
        return dict(record.headers).get("ce_time") or b""

    by_partition = [list(each) for _, each in groupby(sorted(records, key=partition), key=partition)]
    return list(heapq.merge(*by_partition, key=at))
