"""The scheduler: decides for the hosts and zones of one cell, which it has in memory as columns."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from commands.engine import EngineRules
from domain.host.messages import PlaceInstance
from domain.host.state import Host
from domain.jobs import JobsAnswered
from domain.messages import Envelope, Event, Key, Outcome
from domain.scheduling.decider import Cell, decide, zone_id
from domain.scheduling.policy import DEFAULT, Policy
from domain.scheduling.table import HostTable, Ratios
from domain.zone.zone import Zone
from infra import metrics, traces


class SchedulerRules:
    """Hosts, zones, placements."""

    source = "gostack/scheduler"
    preload: tuple[str, ...] = ("host", "zone")

    def __init__(self, ratios: Ratios, partitions: int, policy: Policy = DEFAULT) -> None:
        self._ratios = ratios
        self._partitions = partitions
        self._policy = policy
        self._storage = EngineRules("")
        self.forget()

    def keys(self, envelope: Envelope) -> Sequence[Key]:
        """All is in memory."""
        return ()

    def decide(self, envelope: Envelope, states: Callable[[Key], Any]) -> Outcome:
        """What follows from the record; raises a Refusal."""

        def zone_of(name: str) -> Zone | None:
            zone: Zone | None = states(Key("zone", zone_id(name)))
            return zone if zone is not None and zone.deleted is None else None

        if not isinstance(envelope.data, PlaceInstance):
            return decide(envelope, states(envelope.subject), zone_of, self._cell)
        with traces.span("place") as span:
            outcome = decide(envelope, states(envelope.subject), zone_of, self._cell)
            result = _placement(outcome)
            span.tell({"gostack.result": result})
        metrics.PLACEMENTS.labels(result).inc()
        return outcome

    def evolve(self, key: Key, state: Any, event: Event) -> Any:
        """The state after the event."""
        return self._storage.evolve(key, state, event)

    def load(self, key: Key, state: bytes) -> Any:
        """A stored state."""
        return self._storage.load(key, state)

    def dump(self, state: Any) -> bytes:
        """A state as it is stored."""
        return self._storage.dump(state)

    def due(self, state: Any) -> tuple[datetime | None, str]:
        """Nothing here has a deadline."""
        return None, ""

    def changed(self, key: Key, state: Any) -> None:
        """A host's row is written anew."""
        if isinstance(state, Host):
            self._cell.table.put(state)

    def forget(self) -> None:
        """The table is made anew."""
        self._cell = Cell(HostTable(self._ratios), self._policy, self._partitions)


def _placement(outcome: Outcome) -> str:
    """What came of a placement: `placed`, or why not."""
    for outgoing in outcome.outgoing:
        if isinstance(outgoing.data, JobsAnswered) and (error := outgoing.data.results[0].error):
            return error.code
    return "placed"
