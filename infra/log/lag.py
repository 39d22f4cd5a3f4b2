"""How far a reader is behind: how many records it has not done, and for how long the oldest of them has waited.

Why both: ten thousand records may be a second's work, and one that nobody takes is a process that stands still.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from infra.log.log import Log, Positions, TopicPartition
from infra.process import metrics


class Lag(NamedTuple):
    """What waits."""

    records: int
    seconds: float
    """Age of the oldest; 0 where none waits."""


NO_LAG = Lag(0, 0.0)
Lags = Mapping[str, Lag]
"""By topic, or by what else waits."""
Bounds = Mapping[TopicPartition, tuple[int, int]]


def behind(at: Positions, bounds: Bounds) -> int:
    """Records between these positions and the log's ends."""
    return sum(max(0, bounds[each][1] - max(offset, bounds[each][0])) for each, offset in at.items())


async def lags(
    log: Log, at: Positions, now: datetime, topics: Sequence[str] = (), bounds: Bounds | None = None
) -> dict[str, Lag]:
    """What waits behind these positions, by topic; also of `topics` of which there is no position.

    `bounds` are the log's, where they are known already. Raises LogUnavailable.
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
    """All of it as one."""
    return Lag(sum(each.records for each in found.values()), max([0.0, *(each.seconds for each in found.values())]))


def export_lags(process: str, found: Lags) -> Lags:
    """The same, told to whoever watches the process."""
    for name, each in found.items():
        metrics.LAG.labels(process, name).set(each.records)
        metrics.LAG_SECONDS.labels(process, name).set(each.seconds)
    return found
