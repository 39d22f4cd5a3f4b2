"""Gaps in the log are told from records that were passed over, whatever the log's own readers show."""

from typing import Any

import pytest

from domain.core.messages import Record
from infra.log.gaps import Gaps
from infra.log.log import Log, TopicPartition

WHERE = TopicPartition("gostack.commands", 3)


class Sparse:
    """A log, and its reader, with records at these offsets, and so many places in all."""

    def __init__(self, offsets: tuple[int, ...], end: int) -> None:
        self._offsets, self._end = offsets, end
        self._at = 0
        self.first = self.looked = self.opened = self.closed = 0

    async def reader(self, positions: Any, *_: Any) -> "Sparse":
        (self._at,) = positions.values()
        self.opened += 1
        return self

    async def bounds(self, topics: Any) -> dict[TopicPartition, tuple[int, int]]:
        self.looked += 1
        return {WHERE: (self.first, self._end)}

    async def fetch(self, most: int, wait: float) -> list[Record]:
        found = [each for each in self._offsets if each >= self._at][:2]
        self._at = found[-1] + 1 if found else self._end
        return [Record(WHERE.topic, b"", b"", (), WHERE.partition, each) for each in found]

    async def position(self, partition: TopicPartition) -> int:
        return self._at

    async def close(self) -> None:
        self.closed += 1


def gaps(log: Sparse) -> Gaps:
    there: Any = log
    asked: Log = there
    return Gaps(asked)


@pytest.mark.parametrize(
    ("begin", "end", "gap"),
    [(1, 2, True), (3, 4, True), (1, 4, False), (2, 3, False), (5, 8, True), (5, 9, True), (5, 10, False)],
)
async def test_what_lies_between(begin: int, end: int, gap: bool) -> None:
    """Records at 0, 2 and 4; behind them places only, and before 9 the log does not go on."""
    assert await gaps(Sparse((0, 2, 4), 9)).is_gap(WHERE, begin, end) is gap


async def test_many_are_asked_for_by_one_reader() -> None:
    log = Sparse(tuple(range(0, 100, 2)), 100)
    asked = gaps(log)
    assert all([await asked.is_gap(WHERE, each, each + 1) for each in range(1, 99, 2)])
    assert not await asked.is_gap(WHERE, 97, 99)
    await asked.aclose()
    assert (log.looked, log.opened, log.closed) == (1, 1, 1)


async def test_what_retention_removed_is_a_hole_and_what_it_left_is_none() -> None:
    log = Sparse((4, 6), 7)
    log.first = 4
    assert await gaps(log).is_gap(WHERE, 1, 4)
    assert log.opened == 0
    assert not await gaps(log).is_gap(WHERE, 1, 6)
