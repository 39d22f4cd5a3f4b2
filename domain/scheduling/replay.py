"""The cells' past, gone through again: the schedulers' own view of their hosts, made of the facts of them.

Why this is exact: a choice follows from the hosts' states, the request and the policy alone, all of which the facts
tell, and every fact names the record that it was decided on, so the order of the decisions is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from domain.core.messages import Event, Key
from domain.host.messages import HostClaimMade, HostClaimReleased, PlacementRefused
from domain.host.state import Host, evolve
from domain.scheduling.policy import Choice, Policy, choose
from domain.scheduling.table import HostTable, Ratios

Place = tuple[str, int, int]
"""Topic, partition and offset."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that the scheduler decided."""

    id: str
    subject: Key
    version: int
    """Of its host; 0 for what stands beside the hosts' streams."""
    time: datetime
    """Never before that of what was decided before it."""
    cause: tuple[int, int]
    """Partition and offset of the record that it was decided on."""
    place: Place
    event: Event


@dataclass(frozen=True)
class Past:
    """Hosts as they were at some time, and all that was decided since, in order."""

    hosts: Mapping[str, Host]
    facts: Sequence[Fact]


@dataclass(frozen=True, slots=True)
class Placing:
    """A request that was decided: for this host, or none, with what was asked."""

    fact: Fact
    event: HostClaimMade | PlacementRefused

    @property
    def host_id(self) -> str:
        """Empty where it was refused."""
        return self.fact.subject.id if isinstance(self.event, HostClaimMade) else ""

    @property
    def told(self) -> bool:
        """Whether the fact tells what was asked for; those of earlier releases do not."""
        return bool(self.event.arch)

    def cell(self, hosts: Mapping[str, Host]) -> str:
        """Whose scheduler decided it."""
        event = self.event
        return event.cell if isinstance(event, PlacementRefused) else hosts[self.fact.subject.id].cell


@dataclass
class Sight:
    """Hosts, and each cell's table that is made of them."""

    ratios: Ratios
    hosts: dict[str, Host] = field(default_factory=dict)
    tables: dict[str, HostTable] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for host in self.hosts.values():
            self.table(host.cell).put(host)

    def table(self, cell: str) -> HostTable:
        """A cell's hosts."""
        if cell not in self.tables:
            self.tables[cell] = HostTable(self.ratios)
        return self.tables[cell]

    def table_of(self, placed: Placing) -> HostTable:
        """The hosts that this request is, or was, to choose among."""
        return self.table(placed.cell(self.hosts))

    def holder(self, claim_id: str) -> str:
        """The host that holds something under this claim; empty for none."""
        return next((held for table in self.tables.values() if (held := table.claimed_by.get(claim_id))), "")

    def apply(self, host_id: str, event: Event) -> None:
        """The host after this event."""
        after = evolve(self.hosts.get(host_id), event, host_id)
        self.hosts[host_id] = after
        self.table(after.cell).put(after)

    def claim(self, host_id: str, event: HostClaimMade | PlacementRefused) -> None:
        """Hold there what was asked for."""
        claim = HostClaimMade(
            claim_id=event.claim_id,
            instance_id=event.instance_id,
            holder_kind=event.holder_kind if isinstance(event, HostClaimMade) else "instance",
            project=event.project if isinstance(event, HostClaimMade) else "",
            **event.amounts(),
            arch=event.arch,
            zone=event.zone,
            wanted_host=event.wanted_host,
            avoid=event.avoid,
            number=self.table(self.hosts[host_id].cell).latest + 1,
            report=event.report,
        )
        self.apply(host_id, claim)

    def release(self, claim_id: str) -> None:
        """Give back what is held under this claim, whichever host holds it."""
        if held := self.holder(claim_id):
            instance_id = self.hosts[held].claims[claim_id].instance_id
            self.apply(held, HostClaimReleased(claim_id=claim_id, instance_id=instance_id))


def placing(fact: Fact) -> Placing | None:
    """The request that was decided by this; None where it is none."""
    return Placing(fact, fact.event) if isinstance(fact.event, HostClaimMade | PlacementRefused) else None


def differs(placed: Placing, choice: Choice) -> str:
    """Why a request that is decided once more, on the hosts as they are said to have been, is not decided as it was;
    empty where it is, with the same report."""
    then, now = placed.event.report, choice.report
    if placed.host_id == (choice.host_id or "") and then == now:
        return ""
    if not placed.told:
        return "an earlier release decided it, and did not tell what was asked for"
    if then.total != now.total:
        return f"there were {then.total} hosts, and are {now.total} in its past"
    filters = [count.filter for count in then.counts]
    if filters != [count.filter for count in now.counts]:
        return f"other filters were in force: {', '.join(filters) or 'none'}"
    for was, would in zip(then.counts, now.counts, strict=True):
        if was.left != would.left:
            return f"{was.filter} left {was.left} hosts, and leaves {would.left}: other ratios were in force"
    return "other weights were in force, or claims of an earlier release counted as building"


def decide(placed: Placing, sight: Sight, policy: Policy) -> Choice:
    """What this policy makes of the request."""
    return choose(placed.event, sight.table_of(placed), policy)
