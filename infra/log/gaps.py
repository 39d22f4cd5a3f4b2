"""Gaps: offsets of a partition at which the log has no record.

Offsets are consecutive, but for records that retention removed and for writers with transactions: each transaction
takes an offset for its end, and the records of an aborted one are never given. A reader that finds an offset missing
cannot tell whether it is a gap or a record that was lost on the way; a second look at the log can.
"""

import logging
from bisect import bisect_left

from infra.log.log import Log, Reader, TopicPartition

logger = logging.getLogger(__name__)

AT_ONCE = 500
"""Records that are fetched together: in a log of small transactions every other offset is a gap."""
SECONDS = 5.0
"""Seconds that a fetch waits for records."""


class Gaps:
    """Tells gaps from lost records for one batch; close with aclose()."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._known: dict[TopicPartition, _Places] = {}

    async def is_gap(self, partition: TopicPartition, begin: int, end: int) -> bool:
        """Return whether the log has no record from `begin` to before `end`.

        For each partition, calls must be in the order of offsets. Raises LogUnavailable."""
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
        """Close the readers of the log."""
        for each in self._known.values():
            await each.reader.close()


class _Places:
    """The offsets at which one partition has records, as far as they were fetched."""

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
