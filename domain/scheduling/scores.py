"""Scores of every host in a placement: not stored, but computed again by replaying up to it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from domain.host.state import Host, evolve
from domain.scheduling.demand import Demand
from domain.scheduling.policy import Policy, left_out_by, weigh
from domain.scheduling.replay import SchedulerPast, Sight, decide, differs, placing
from domain.scheduling.table import HostTable, Ratios


@dataclass(frozen=True)
class Look:
    """The placement whose scores are computed, and the policy that is taken to have decided it."""

    fact_id: str
    time: datetime
    policy: Policy
    ratios: Ratios

    @property
    def since(self) -> datetime:
        """Start of the time that has to be replayed."""
        return self.time

    @property
    def until(self) -> datetime:
        """End of the time that has to be replayed."""
        return self.time


@dataclass(frozen=True)
class HostScore:
    """A host's result in a placement."""

    id: str
    name: str
    score: float | None
    """Weighed score; None where a filter rejected the host."""
    left_out_by: str
    """Name of the first filter that rejected the host; empty where none did."""


@dataclass(frozen=True)
class Scored:
    """All hosts of the cell: the best first, then the rejected ones by name."""

    hosts: tuple[HostScore, ...]
    differs: str
    """Why the result differs from the original decision; empty where it does not."""


def scored(past: SchedulerPast, look: Look, enough: Callable[[], bool] = lambda: False) -> Scored | None:
    """Return the scores of the hosts; None where there is no such placement."""
    hosts: dict[str, Host] = dict(past.hosts)
    for fact in past.facts:
        placed = placing(fact)
        if placed is not None and fact.id == look.fact_id:
            sight = Sight(look.ratios, hosts)
            return Scored(
                _all(sight.table_of(placed), placed.event, look.policy),
                differs(placed, decide(placed, sight, look.policy)),
            )
        if fact.version:
            hosts[fact.subject.id] = evolve(hosts.get(fact.subject.id), fact.event, fact.subject.id)
    return None


def _all(table: HostTable, demand: Demand, policy: Policy) -> tuple[HostScore, ...]:
    weighed = weigh(demand, table, policy)
    score = dict(zip(weighed.rows.tolist(), weighed.scores.tolist(), strict=True))
    out = left_out_by(demand, table, policy)
    ranks = table.ranks
    left = sorted(score, key=lambda row: (-score[row], ranks[row]))
    rest = sorted(set(range(len(table))) - score.keys(), key=lambda row: table.hosts[table.ids[row]].name)
    return tuple(
        HostScore(
            id=table.ids[row],
            name=table.hosts[table.ids[row]].name,
            score=round(score[row], 4) if row in score else None,
            left_out_by=by.name if (by := out[row]) is not None else "",
        )
        for row in (*left, *rest)
    )
