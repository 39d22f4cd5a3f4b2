"""The newest records of a topic, read once for all consumers in this process that are near its end.

Why: a reader of the log costs the same whether records come or not, so a hundred that wait at the end would cost a
hundred times as much. A consumer that is behind the oldest record kept here uses a reader of its own until it has
caught up.
"""

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from operator import attrgetter

from domain.core.messages import Record, Topic
from infra.log.log import Log

FETCH = 500
FETCH_SECONDS = 1.0
MOST_OF_A_PARTITION = 500


class Recent:
    """A window on the end of a topic, which is empty until run() reads."""

    def __init__(self, log: Log, topic: Topic, most: int = MOST_OF_A_PARTITION) -> None:
        """Make an empty window that keeps the last `most` records of each partition."""
        self._log = log
        self._topic = topic
        self._most = most
        self._begins: list[int] = []
        """For each partition, the offset from which on all records are here."""
        self._kept: list[deque[Record]] = []
        self._arrived = asyncio.Event()

    async def run(self) -> None:
        """Read from the end of the topic on, until cancelled.

        Raises LogUnavailable; run again, it begins at the new end."""
        bounds = await self._log.bounds([self._topic])
        ends = {each: bounds[each][1] for each in sorted(bounds)}
        reader = await self._log.reader(ends)
        self._begins = list(ends.values())
        self._kept = [deque() for _ in ends]
        try:
            while True:
                self._add(await reader.fetch(FETCH, FETCH_SECONDS))
        finally:
            self._begins, self._kept = [], []
            self._wake()
            await reader.close()

    def after(self, offsets: Sequence[int], most: int) -> list[Record] | None:
        """Return about `most` records from these offsets on, an equal share of each partition.

        Returns None where some of them are not kept here any more."""
        if len(offsets) != len(self._begins):
            return None
        if any(at < first for at, first in zip(offsets, self._begins, strict=True)):
            return None
        share = max(1, most // len(offsets))
        found: list[Record] = []
        for at, kept in zip(offsets, self._kept, strict=True):
            if kept and kept[-1].offset >= at:
                first = bisect_left(kept, at, key=attrgetter("offset"))
                found += [kept[index] for index in range(first, min(len(kept), first + share))]
        return found

    async def wait(self, seconds: float) -> None:
        """Wait until a record comes, or until `seconds` have passed."""
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            pass

    def _add(self, records: Sequence[Record]) -> None:
        for record in records:
            number = record.partition or 0
            kept = self._kept[number]
            kept.append(record)
            if len(kept) > self._most:
                self._begins[number] = kept.popleft().offset + 1
        if records:
            self._wake()

    def _wake(self) -> None:
        self._arrived.set()
        self._arrived = asyncio.Event()
