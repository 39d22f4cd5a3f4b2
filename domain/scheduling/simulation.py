"""Simulation of another policy: past placements decided again, with their consequences.

From the window's first request on there are two fleets. In the one everything is as it was. In the other the hosts
register, leave and fail just as they did, but every request is decided by the other policy on the hosts of its cell as
its own choices left them. An instance is given up there when it was given up; one that was refused then, and is placed
there, stays to the end, since nobody can tell how long it would have been wanted.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from domain.core.messages import Event
from domain.core.resources import RESOURCES
from domain.host.messages import HostClaimReleased, HostClaimResized, PlacementRefused, PlacementReport
from domain.host.state import Host, evolve
from domain.scheduling.policy import Choice, Policy, left_out_by, refusal, weigh
from domain.scheduling.replay import Place, Placing, SchedulerPast, Sight, decide, differs, placing
from domain.scheduling.table import Ratios

BEFORE = "it was placed there before"


@dataclass(frozen=True)
class Size:
    """Resources of a flavor, to test whether an instance of it still fits."""

    name: str
    vcpus: int
    memory: int


@dataclass(frozen=True)
class Question:
    """Input of a simulation: the policies and the window of time."""

    policy: Policy
    ratios: Ratios
    own: Policy
    """The scheduler's policy, with its ratios: past requests are decided again by it, to verify the replay."""
    own_ratios: Ratios
    since: datetime
    until: datetime
    """End of the window, which includes its first moment and not its last."""
    most: int
    """How many requests are decided at most."""
    sizes: Sequence[Size] = ()


@dataclass(frozen=True)
class Decided:
    """A request, with its actual host and its simulated host; empty for none."""

    time: datetime
    place: Place
    instance_id: str
    vcpus: int
    memory: int
    disk: int
    was: str
    would: str
    why: str
    """Why the two hosts differ."""


@dataclass(frozen=True)
class FleetLoad:
    """How full a fleet is."""

    hosts: int
    hosts_used: int
    used: dict[str, int]
    total: dict[str, int]
    """Physical amount of vcpus, memory and disk of all hosts, without overcommit."""
    refused: dict[str, int]
    """Name of a filter -> number of requests for which it left no host."""
    largest: str
    """Largest of the sizes that could still be placed; empty for none."""


@dataclass(frozen=True)
class Filled:
    """Reserved resources of a host at the end, in both fleets."""

    id: str
    name: str
    total: dict[str, int]
    was: dict[str, int]
    would: dict[str, int]
    """Reserved amount of each resource, and the number of `instances`."""


@dataclass(frozen=True)
class Simulated:
    """Result of a simulation: decisions, moves and the load of both fleets."""

    decided: tuple[Decided, ...]
    was: FleetLoad
    would: FleetLoad
    hosts: tuple[Filled, ...]
    moves: tuple[tuple[str, str, int], ...]
    """Actual host, simulated host, and how often; the most frequent first. An empty name is a refusal."""
    names: dict[str, str]
    """Host id -> name."""
    unlike: Counter[str]
    """Why requests are not decided as they were when their own policy decides them again -> how many."""
    unknown: int
    """Number of refusals of an earlier release, which do not record their demand and are left out."""
    next: datetime | None
    """Start of the next window; None where all of the window was decided."""
    reached: datetime


@dataclass
class _Tally:
    """Counts of a fleet during the simulation."""

    sight: Sight
    refused: Counter[str] = field(default_factory=Counter)


def simulate(past: SchedulerPast, question: Question, enough: Callable[[], bool] = lambda: False) -> Simulated:
    """Decide the requests of the window again. It stops early after `most` requests, or when `enough` returns true."""
    hosts = dict(past.hosts)
    was = would = None
    decided: list[Decided] = []
    unlike: Counter[str] = Counter()
    unknown = 0
    following: datetime | None = None
    last = question.since
    for fact in past.facts:
        moment = fact.time
        if moment >= question.until:
            break
        placed = placing(fact)
        if moment >= question.since and was is None:
            was = _Tally(Sight(question.own_ratios, dict(hosts)))
            would = _Tally(Sight(question.ratios, dict(hosts)))
        if was is None or would is None:
            _remember(hosts, fact.subject.id, fact.event)
            continue
        if placed is not None:
            if moment > last and decided and (len(decided) >= question.most or enough()):
                following = moment
                break
            last = moment
            if why := differs(placed, decide(placed, was.sight, question.own)):
                unlike[why] += 1
            if placed.sized:
                decided.append(_decide(placed, was, would, question.policy))
            else:
                unknown += 1
        _apply(placed, fact.subject.id, fact.event, was.sight, would.sight)
    if was is None or would is None:
        was, would = _Tally(Sight(question.own_ratios, dict(hosts))), _Tally(Sight(question.ratios, dict(hosts)))
    moves = Counter((each.was, each.would) for each in decided if each.was != each.would)
    return Simulated(
        decided=tuple(decided),
        was=_load(was, question.sizes),
        would=_load(would, question.sizes),
        hosts=tuple(_filled(host, would.sight.hosts[host.id]) for host in was.sight.hosts.values()),
        moves=tuple((*pair, count) for pair, count in moves.most_common()),
        names={host.id: host.name for host in was.sight.hosts.values()},
        unlike=unlike,
        unknown=unknown,
        next=following,
        reached=following or question.until,
    )


def _remember(hosts: dict[str, Host], host_id: str, event: Event) -> None:
    if not isinstance(event, PlacementRefused):
        hosts[host_id] = evolve(hosts.get(host_id), event, host_id)


def _apply(placed: Placing | None, host_id: str, event: Event, was: Sight, would: Sight) -> None:
    """Apply an event to the actual fleet, and to the simulated one where that is not decided by the simulation."""
    if isinstance(event, PlacementRefused):
        return
    was.apply(host_id, event)
    if isinstance(event, HostClaimReleased):
        would.release(event.claim_id)
    elif isinstance(event, HostClaimResized):
        would.resize(event)
    elif placed is None:
        would.apply(host_id, event)


def _decide(placed: Placing, was: _Tally, would: _Tally, policy: Policy) -> Decided:
    event, sight = placed.event, would.sight
    if not placed.host_id:
        was.refused[_none_left(event.report)] += 1
    chosen = sight.table_of(placed).claimed_by.get(event.claim_id, "")
    why = ""
    if not chosen:
        choice = decide(placed, sight, policy)
        chosen = choice.host_id or ""
        if not chosen:
            would.refused[_none_left(choice.report)] += 1
        if chosen != placed.host_id:
            why = _why(placed, choice, sight, policy)
        if chosen and (elsewhere := sight.holder(event.claim_id)):
            chosen, why = elsewhere, BEFORE
        elif chosen:
            sight.claim(chosen, event)
    elif chosen != placed.host_id:
        why = BEFORE
    return Decided(
        time=placed.fact.time,
        place=placed.fact.place,
        instance_id=event.instance_id,
        vcpus=event.vcpus,
        memory=event.memory,
        disk=event.disk,
        was=placed.host_id,
        would=chosen,
        why=why,
    )


def _why(placed: Placing, choice: Choice, sight: Sight, policy: Policy) -> str:
    """Return why the request gets another host, or none, or one where it had none."""
    table = sight.table_of(placed)
    if not choice.host_id:
        return str(refusal(choice.report))
    name = sight.hosts[choice.host_id].name
    if not placed.host_id:
        return f"{name} would do; it was refused: {refusal(placed.event.report)}"
    before, row = sight.hosts[placed.host_id].name, table.rows[placed.host_id]
    if (by := left_out_by(placed.event, table, policy)[row]) is not None:
        return f"{before} would be {by.story}"
    weighed = weigh(placed.event, table, policy)
    score = dict(zip(weighed.rows.tolist(), weighed.scores.tolist(), strict=True))
    mine, other = score[table.rows[choice.host_id]], score[row]
    if mine == other:
        return f"{name} and {before} score {mine:.4g} both, and {name} is older"
    return f"{name} scores {mine:.4g}, {before} {other:.4g}"


def _none_left(report: PlacementReport) -> str:
    return next((count.filter for count in report.counts if not count.left), "no hosts")


def _load(tally: _Tally, sizes: Sequence[Size]) -> FleetLoad:
    hosts = tally.sight.hosts.values()

    def fits(size: Size) -> bool:
        return any(
            (table.ready & (table.free["vcpus"] >= size.vcpus) & (table.free["memory"] >= size.memory)).any()
            for table in tally.sight.tables.values()
        )

    by_size = sorted(sizes, key=lambda size: (size.memory, size.vcpus), reverse=True)
    used = [host.used() for host in hosts]
    return FleetLoad(
        hosts=len(hosts),
        hosts_used=sum(bool(host.claims) for host in hosts),
        used={name: sum(each[name] for each in used) for name in RESOURCES},
        total={name: sum(getattr(host.inventory, name) for host in hosts) for name in RESOURCES},
        refused=dict(tally.refused.most_common()),
        largest=next((size.name for size in by_size if fits(size)), ""),
    )


def _filled(was: Host, would: Host) -> Filled:
    def held(host: Host) -> dict[str, int]:
        return {"instances": host.instances, **host.used()}

    total = {name: int(getattr(was.inventory, name)) for name in RESOURCES}
    return Filled(was.id, was.name, total, held(was), held(would))
