"""A policy: which filters, which weighers with what weight; and the choice it makes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from domain.errors import NoValidHost
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


def choose(request: Demand, table: HostTable, policy: Policy) -> Choice:
    """The host that the policy prefers; among equals the one registered first. No host: the report tells why."""
    rows = slice(0, len(table))
    mask = np.ones(len(table), dtype=np.bool_)
    counts = []
    for each in policy.filters:
        mask = mask & each.mask(request, table, rows)
        counts.append(FilterCount(filter=each.name, left=int(mask.sum())))
    left = np.flatnonzero(mask)
    if not len(left):
        return Choice(None, PlacementReport(total=len(table), counts=tuple(counts)))
    scores = np.zeros(len(left))
    for weigher, weight in policy.weighers:
        scores += weight * scaled(weigher.vector(table, rows)[left])
    order = ordered(scores, table.ranks[left], BEST)
    best = tuple(
        Score(host=table.hosts[table.ids[left[each]]].name, score=round(float(scores[each]), 4)) for each in order
    )
    return Choice(table.ids[left[order[0]]], PlacementReport(total=len(table), counts=tuple(counts), best=best))


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


def refusal(report: PlacementReport, policy: Policy) -> NoValidHost:
    """The report as a refusal that tells people how many hosts each filter left out."""
    stories = {each.name: each.story for each in policy.filters}
    before = report.total
    told = []
    for count in report.counts:
        if count.left < before:
            told.append(f"{before - count.left} {stories[count.filter]}")
        before = count.left
    counts = {count.filter: count.left for count in report.counts}
    return NoValidHost(total=report.total, story=", ".join(told) or "there are none", counts=counts)
