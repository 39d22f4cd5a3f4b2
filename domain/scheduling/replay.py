"""Replay of the cells' scheduling: the hosts as the schedulers saw them, rebuilt from the hosts' events.

Why this is exact: a choice follows from the hosts' states, the request and the policy alone, all of which the facts
tell, and every fact names the record that it was decided on, so the order of the decisions is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from domain.core.messages import Event, Key
from domain.host.messages import HostClaimMade, HostClaimReleased, HostClaimResized, PlacementRefused
from domain.host.state import Host, evolve
from domain.scheduling.policy import Choice, Policy, choose
from domain.scheduling.table import HostTable, Ratios

Place = tuple[str, int, int]
"""Topic, partition and offset."""


@dataclass(frozen=True, slots=True)
class SchedulerFact:
    """An event that the scheduler decided, with its cause."""

    id: str
    subject: Key
    version: int
    """Version of the host; 0 for an event that is in no host's stream."""
    time: datetime
    """Time of the event, never before that of an earlier decision."""
    cause: tuple[int, int]
    """Partition and offset of the record that led to the decision."""
    place: Place
    event: Event


@dataclass(frozen=True)
class SchedulerPast:
    """Hosts at some time, and all decisions since, in order."""

    hosts: Mapping[str, Host]
    facts: Sequence[SchedulerFact]


@dataclass(frozen=True, slots=True)
class Placing:
    """A placement request and its decision: a host, or none."""

    fact: SchedulerFact
    event: HostClaimMade | PlacementRefused

    @property
    def host_id(self) -> str:
        """Id of the chosen host; empty where the request was refused."""
        return self.fact.subject.id if isinstance(self.event, HostClaimMade) else ""

    @property
    def told(self) -> bool:
        """Whether the event has the request's demand; events of earlier releases do not."""
        return bool(self.event.arch) or (self.sized and not self.event.vcpus)

    @property
    def sized(self) -> bool:
        """Whether the event says how much was asked for; refusals of earlier releases do not."""
        return any(self.event.amounts().values())

    def cell(self, hosts: Mapping[str, Host]) -> str:
        """Return the cell whose scheduler decided it."""
        event = self.event
        return event.cell if isinstance(event, PlacementRefused) else hosts[self.fact.subject.id].cell


@dataclass
class Sight:
    """Hosts at one moment, and the table of each cell that is made from them."""

    ratios: Ratios
    hosts: dict[str, Host] = field(default_factory=dict)
    tables: dict[str, HostTable] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for host in self.hosts.values():
            self.table(host.cell).put(host)

    def table(self, cell: str) -> HostTable:
        """Return the table of a cell's hosts."""
        if cell not in self.tables:
            self.tables[cell] = HostTable(self.ratios)
        return self.tables[cell]

    def table_of(self, placed: Placing) -> HostTable:
        """Return the table of the hosts that this request can, or could, be placed on."""
        return self.table(placed.cell(self.hosts))

    def holder(self, claim_id: str) -> str:
        """Return the host that has this claim; empty for none."""
        return next((held for table in self.tables.values() if (held := table.claimed_by.get(claim_id))), "")

    def apply(self, host_id: str, event: Event) -> None:
        """Apply an event to its host."""
        after = evolve(self.hosts.get(host_id), event, host_id)
        self.hosts[host_id] = after
        self.table(after.cell).put(after)

    def claim(self, host_id: str, event: HostClaimMade | PlacementRefused) -> None:
        """Reserve the request's demand on the host."""
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
            among=event.among,
            number=self.table(self.hosts[host_id].cell).latest + 1,
            report=event.report,
        )
        self.apply(host_id, claim)

    def release(self, claim_id: str) -> None:
        """Remove the claim, whichever host has it."""
        if held := self.holder(claim_id):
            instance_id = self.hosts[held].claims[claim_id].instance_id
            self.apply(held, HostClaimReleased(claim_id=claim_id, instance_id=instance_id))

    def resize(self, event: HostClaimResized) -> None:
        """Have the claim reserve other amounts, whichever host has it."""
        if held := self.holder(event.claim_id):
            self.apply(held, event)


def placing(fact: SchedulerFact) -> Placing | None:
    """Return the request that this event decided; None where it decided none."""
    return Placing(fact, fact.event) if isinstance(fact.event, HostClaimMade | PlacementRefused) else None


def differs(placed: Placing, choice: Choice) -> str:
    """Return why a request that is decided again, on the hosts as replayed, gets another decision; empty where decision
    and report are the same."""
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
    """Return the choice of this policy for the request."""
    return choose(placed.event, sight.table_of(placed), policy)
