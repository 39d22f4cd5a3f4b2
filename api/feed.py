"""The live feed: events straight from the log, as server-sent events, resumable from any of them.

Why from the log and not from the projection: nothing can be missed, nothing comes twice, and a follower may begin at
the very first event. A follower that is slow reads slowly: nothing is kept for it here.
"""

import heapq
import time
from collections.abc import AsyncGenerator
from itertools import groupby

from api import positions
from api.events import Filter, record_json
from api.refusals import Overloaded
from domain.errors import Invalid
from domain.messages import Record, Topic
from infra.log.log import Log, TopicPartition

FETCH = 200
WAIT = 0.5
KEEP_ALIVE = 10.0
MOST_FOLLOWERS = 256
NOW, BEGINNING = "now", "beginning"


class Feed:
    """All followers of this process."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._followers = 0
        self.closing = False
        """The process is ending: every follower is let go, and resumes elsewhere."""

    async def start(self, since: str) -> list[int]:
        """Offsets to begin at, for a position, `now` or `beginning`. Raises Overloaded, Invalid, LogUnavailable."""
        if self._followers >= MOST_FOLLOWERS:
            raise Overloaded(what=f"{MOST_FOLLOWERS} followers of the feed")
        bounds = await self._log.bounds([Topic.EVENTS])
        ends = [bounds[each] for each in sorted(bounds)]
        if since == NOW:
            return [end for _, end in ends]
        if since == BEGINNING:
            return [first for first, _ in ends]
        try:
            offsets = positions.decode(since)
        except ValueError:
            offsets = []
        if len(offsets) != len(ends) or any(offset > end for offset, (_, end) in zip(offsets, ends, strict=True)):
            raise Invalid(field="from", value=since[:80], allowed="the id of an event of this feed, now or beginning")
        return offsets

    async def follow(self, offsets: list[int], wanted: Filter) -> AsyncGenerator[bytes, None]:
        """Events from these offsets on, as server-sent events, until the reader goes."""
        at = list(offsets)
        reader = await self._log.reader(
            {TopicPartition(Topic.EVENTS, number): offset for number, offset in enumerate(at)}
        )
        self._followers += 1
        try:
            yield _block(at)
            told = time.monotonic()
            while not self.closing:
                for record in _in_time(await reader.fetch(FETCH, WAIT)):
                    at[record.partition or 0] = record.offset + 1
                    if wanted.wants(record):
                        yield _block(at, record_json(record))
                        told = time.monotonic()
                if time.monotonic() - told >= KEEP_ALIVE:
                    # With its id, so that a follower of rare events does not come back far behind.
                    yield _block(at)
                    told = time.monotonic()
        finally:
            self._followers -= 1
            await reader.close()


def _block(at: list[int], data: bytes = b"") -> bytes:
    what = b"data: " + data if data else b": keep-alive"
    return b"id: " + positions.encode(at).encode() + b"\n" + what + b"\n\n"


def _in_time(records: list[Record]) -> list[Record]:
    """Partitions merged by time, each in its own order: what people expect to read."""

    def partition(record: Record) -> int:
        return record.partition or 0

    def at(record: Record) -> bytes:
        return dict(record.headers).get("ce_time", b"")

    by_partition = [list(each) for _, each in groupby(sorted(records, key=partition), key=partition)]
    return list(heapq.merge(*by_partition, key=at))
