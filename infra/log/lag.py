"""Lag: how many records a reader has not processed, and for how long the oldest of them has waited.

Why both: ten thousand records may be a second's work, and a single old record means a process that stands still.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from infra.log.log import Log, Positions, TopicPartition
from infra.process import metrics


class Lag(NamedTuple):
    """How many records wait, and for how long."""

    records: int
    seconds: float
    """Age of the oldest record that waits; 0 where none does."""


NO_LAG = Lag(0, 0.0)
Lags = Mapping[str, Lag]
"""Lags by topic, or by the name of other things that wait, such as `deadlines`."""
Bounds = Mapping[TopicPartition, tuple[int, int]]


def behind(at: Positions, bounds: Bounds) -> int:
    """Count the records between these positions and the ends of their partitions."""
    return sum(max(0, bounds[each][1] - max(offset, bounds[each][0])) for each, offset in at.items())


async def lags(
    log: Log, at: Positions, now: datetime, topics: Sequence[str] = (), bounds: Bounds | None = None
) -> dict[str, Lag]:
    """Return the lag of a reader at these positions, by topic; also for `topics` that it has no position in.

    `bounds` are the first offsets and ends of the partitions, where the caller has them. Raises LogUnavailable.
    """
    names = sorted({*map(str, topics), *(str(each.topic) for each in at)})
    bounds = bounds or await log.bounds(names)
    waiting = {each: offset for each, offset in at.items() if bounds[each][1] > max(offset, bounds[each][0])}
    times = await log.appended(waiting) if waiting else {}
    found = {}
    for name in names:
        own = {each: offset for each, offset in at.items() if each.topic == name}
        ages = [(now - times[each]).total_seconds() for each in own if each in times]
        # The log's clock may be ahead of this one.
        found[name] = Lag(behind(own, bounds), max([0.0, *ages]))
    return found


def total_lag(found: Lags) -> Lag:
    """Return the sum of the records, and the age of the oldest."""
    return Lag(sum(each.records for each in found.values()), max([0.0, *(each.seconds for each in found.values())]))


def export_lags(process: str, found: Lags) -> Lags:
    """Set the lag metrics of `process`, and return the lags unchanged."""
    for name, each in found.items():
        metrics.LAG.labels(process, name).set(each.records)
        metrics.LAG_SECONDS.labels(process, name).set(each.seconds)
    return found
