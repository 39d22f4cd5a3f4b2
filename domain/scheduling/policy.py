"""A policy: filters, weighers and their weights; and the choice that follows from them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from domain.core.errors import NoValidHost
from domain.host.messages import FilterCount, PlacementReport, Score
from domain.scheduling.demand import Demand
from domain.scheduling.filters import FILTERS, Filter
from domain.scheduling.table import HostTable, Vector
from domain.scheduling.weighers import (
    FEWEST_BUILDING,
    FREE_MEMORY,
    FREE_VCPU,
    Weigher,
    scaled,
)

BEST = 3
"""How many scores a report lists."""


@dataclass(frozen=True)
class Policy:
    """Filters in order, and weighers with their weights."""

    filters: tuple[Filter, ...]
    weighers: tuple[tuple[Weigher, float], ...]


DEFAULT = Policy(
    filters=tuple(FILTERS.values()),
    weighers=((FREE_MEMORY, 1.0), (FREE_VCPU, 1.0), (FEWEST_BUILDING, 1.0)),
)


@dataclass(frozen=True)
class Choice:
    """The chosen host, or none, with the report."""

    host_id: str | None
    report: PlacementReport


@dataclass(frozen=True)
class Weighed:
    """Hosts that passed the filters, with their scores."""

    counts: tuple[FilterCount, ...]
    rows: npt.NDArray[np.int64]
    """Row numbers of the hosts that passed."""
    scores: Vector
    """Score of each of these rows."""


def weigh(request: Demand, table: HostTable, policy: Policy) -> Weighed:
    """Apply the filters to all hosts, and score those that pass."""
    rows = slice(0, len(table))
    mask = np.ones(len(table), dtype=np.bool_)
    counts = []
    for each in policy.filters:
        mask &= each.mask(request, table, rows)
        counts.append(FilterCount(filter=each.name, left=int(np.count_nonzero(mask))))
    (left,) = mask.nonzero()
    scores = np.zeros(len(left))
    for weigher, weight in policy.weighers:
        scores += weight * scaled(weigher.vector(table, rows)[left])
    return Weighed(tuple(counts), left, scores)


def choose(request: Demand, table: HostTable, policy: Policy) -> Choice:
    """Return the host that the policy prefers; among equals the one registered first. No host: the report says why."""
    weighed = weigh(request, table, policy)
    left, scores = weighed.rows, weighed.scores
    if not len(left):
        return Choice(None, PlacementReport(total=len(table), counts=weighed.counts))
    order = ordered(scores, table.ranks[left], BEST)
    best = tuple(
        Score(host=table.hosts[table.ids[left[each]]].name, score=round(float(scores[each]), 4)) for each in order
    )
    return Choice(table.ids[left[order[0]]], PlacementReport(total=len(table), counts=weighed.counts, best=best))


def left_out_by(request: Demand, table: HostTable, policy: Policy) -> list[Filter | None]:
    """Return, for each row, the first filter that rejects its host; None where none does."""
    rows = slice(0, len(table))
    first: list[Filter | None] = [None] * len(table)
    for each in reversed(policy.filters):
        for row in np.flatnonzero(~each.mask(request, table, rows)):
            first[row] = each
    return first


def ordered(scores: Vector, ranks: npt.NDArray[np.int64], most: int) -> list[int]:
    """Return the indexes of the best `most` scores, the best first; among equals the lowest rank first."""
    left = scores.copy()
    found = []
    # So few are wanted that looking through all for each costs less than sorting them.
    for _ in range(min(most, len(scores))):
        (tied,) = (left == left.max()).nonzero()
        found.append(int(tied[ranks[tied].argmin()]))
        left[found[-1]] = -np.inf
    return found


def refusal(report: PlacementReport) -> NoValidHost:
    """Return the refusal that says how many hosts each filter rejected."""
    before = report.total
    stories = []
    for count in report.counts:
        if count.left < before:
            story = FILTERS[count.filter].story if count.filter in FILTERS else f"left out by {count.filter}"
            stories.append(f"{before - count.left} {story}")
        before = count.left
    counts = {count.filter: count.left for count in report.counts}
    return NoValidHost(total=report.total, story=", ".join(stories) or "there are none", counts=counts)
