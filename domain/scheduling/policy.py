"""A policy: which filters, which weighers with what weight; and the choice it makes."""

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
"""Scores that a report tells."""


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
    """The host, or none, and why."""

    host_id: str | None
    report: PlacementReport


@dataclass(frozen=True)
class Weighed:
    """What the filters left, and how much it weighs."""

    counts: tuple[FilterCount, ...]
    rows: npt.NDArray[np.int64]
    """Of the hosts that are left."""
    scores: Vector
    """Of each of these."""


def weigh(request: Demand, table: HostTable, policy: Policy) -> Weighed:
    """All hosts through the filters, and those that are left on the scales."""
    rows = slice(0, len(table))
    mask = np.ones(len(table), dtype=np.bool_)
    counts = []
    for each in policy.filters:
        mask = mask & each.mask(request, table, rows)
        counts.append(FilterCount(filter=each.name, left=int(mask.sum())))
    left = np.flatnonzero(mask)
    scores = np.zeros(len(left))
    for weigher, weight in policy.weighers:
        scores += weight * scaled(weigher.vector(table, rows)[left])
    return Weighed(tuple(counts), left, scores)


def choose(request: Demand, table: HostTable, policy: Policy) -> Choice:
    """The host that the policy prefers; among equals the one registered first. No host: the report tells why."""
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
    """Of each row, the first filter that leaves it out; None where all leave it."""
    rows = slice(0, len(table))
    first: list[Filter | None] = [None] * len(table)
    for each in reversed(policy.filters):
        for row in np.flatnonzero(~each.mask(request, table, rows)):
            first[row] = each
    return first


def ordered(scores: Vector, ranks: npt.NDArray[np.int64], most: int) -> list[int]:
    """Where the best `most` scores are, the best first; among equals the one of the lowest rank."""
    left = scores.copy()
    found = []
    # So few are wanted that looking through all for each costs less than sorting them.
    for _ in range(min(most, len(scores))):
        tied = np.flatnonzero(left == left.max())
        found.append(int(tied[ranks[tied].argmin()]))
        left[found[-1]] = -np.inf
    return found


def refusal(report: PlacementReport) -> NoValidHost:
    """The report as a refusal that tells people how many hosts each filter left out."""
    before = report.total
    told = []
    for count in report.counts:
        if count.left < before:
            story = FILTERS[count.filter].story if count.filter in FILTERS else f"left out by {count.filter}"
            told.append(f"{before - count.left} {story}")
        before = count.left
    counts = {count.filter: count.left for count in report.counts}
    return NoValidHost(total=report.total, story=", ".join(told) or "there are none", counts=counts)
