"""What every host scored in a placement: not kept, but found again by going through the past up to it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from domain.host.state import Host, evolve
from domain.scheduling.demand import Demand
from domain.scheduling.policy import Policy, left_out_by, weigh
from domain.scheduling.replay import Past, Sight, decide, differs, placing
from domain.scheduling.table import HostTable, Ratios


@dataclass(frozen=True)
class Look:
    """At which placement, and by what it is taken to have been decided."""

    fact_id: str
    time: datetime
    policy: Policy
    ratios: Ratios

    @property
    def since(self) -> datetime:
        """The past that is needed begins here."""
        return self.time

    @property
    def until(self) -> datetime:
        """And ends here."""
        return self.time


@dataclass(frozen=True)
class HostScore:
    """A host's part in it."""

    id: str
    name: str
    score: float | None
    """None where a filter left it out."""
    left_out_by: str
    """The first filter that did; empty where none did."""


@dataclass(frozen=True)
class Scored:
    """All hosts of the cell: the best first, then those that were left out, by name."""

    hosts: tuple[HostScore, ...]
    differs: str
    """Why this is not just as it was decided; empty where it is."""


def scored(past: Past, look: Look, enough: Callable[[], bool] = lambda: False) -> Scored | None:
    """What the hosts scored; None where the past has no such placement."""
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
