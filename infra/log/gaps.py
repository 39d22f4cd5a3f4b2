"""Places of a partition at which the log has nothing.

Offsets follow one another, but for what retention removed, and where somebody wrote with transactions: each leaves a
place at its end, and what it took back was never said. A reader that misses a place cannot tell that from records that
were passed over; the log can.
"""

import logging
from bisect import bisect_left

from infra.log.log import Log, Reader, TopicPartition

logger = logging.getLogger(__name__)

AT_ONCE = 500
"""Records that are asked for together: of a log of small transactions every other place is a hole."""
SECONDS = 5.0
"""For which the log is asked."""


class Gaps:
    """What is asked of the holes that one batch meets."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._known: dict[TopicPartition, _Places] = {}

    async def is_gap(self, partition: TopicPartition, begin: int, end: int) -> bool:
        """Whether the log has nothing from `begin` on and before `end`; asked in the order of the log. Raises
        LogUnavailable."""
        if partition not in self._known:
            first, _ = (await self._log.bounds([partition.topic]))[partition]
            if first >= end:
                logger.warning(
                    "%s:%s to %s were removed by retention before they were read",
                    ":".join(map(str, partition)),
                    begin,
                    end,
                )
                return True
            begin = max(first, begin)
            reader = await self._log.reader({partition: begin})
            self._known[partition] = _Places(partition, reader, begin)
        return await self._known[partition].none(begin, end)

    async def aclose(self) -> None:
        """Ask no more."""
        for each in self._known.values():
            await each.reader.close()


class _Places:
    """Where one partition has records, as far as that is known."""

    def __init__(self, partition: TopicPartition, reader: Reader, begin: int) -> None:
        self._partition = partition
        self.reader = reader
        self._offsets: list[int] = []
        self._upto = begin

    async def none(self, begin: int, end: int) -> bool:
        while (at := bisect_left(self._offsets, begin)) == len(self._offsets) and self._upto < end:
            found = [each.offset for each in await self.reader.fetch(AT_ONCE, SECONDS)]
            upto = found[-1] + 1 if found else await self.reader.position(self._partition)
            if upto <= self._upto:
                return False
            self._offsets += found
            self._upto = upto
        return at == len(self._offsets) or self._offsets[at] >= end
