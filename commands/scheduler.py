"""The scheduler: decides for the hosts and zones of its cells, each of which it has in memory as columns."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from commands.engine import EngineRules
from domain.aggregates import DECIDED
from domain.core.cells import DEFAULT_CELL
from domain.core.messages import Envelope, Event, Key, Outcome
from domain.host.messages import AssignZone, RegisterHost
from domain.host.state import Host
from domain.jobs.scheduling import PlaceInstance, ReleaseInstance, ResizeHostClaim
from domain.kind import DecidedBy
from domain.scheduling.decider import Cell, decide, zone_id
from domain.scheduling.policy import DEFAULT, Policy
from domain.scheduling.table import HostTable, Ratios
from domain.tasks.messages import JobsAnswered
from domain.zone import CreateZone, Zone
from infra.process import metrics, traces


class SchedulerRules:
    """The rules of hosts, zones and placements."""

    source = "gostack/scheduler"
    preload: tuple[str, ...] = DECIDED[DecidedBy.SCHEDULER]

    def __init__(self, ratios: Ratios, partitions: int, policy: Policy = DEFAULT) -> None:
        self._ratios = ratios
        self._partitions = partitions
        self._policy = policy
        self._storage = EngineRules()
        self.forget()

    def keys(self, envelope: Envelope) -> Sequence[Key]:
        """Return the aggregates to load: all of the cell is in memory, but a name may be that of another cell's
        zone."""
        match envelope.data:
            case RegisterHost(zone=zone):
                return envelope.subject, Key("zone", zone_id(zone))
            case AssignZone(zone=zone):
                return (Key("zone", zone_id(zone)),)
            case CreateZone(name=name):
                return envelope.subject, Key("zone", zone_id(name))
            case _:
                return ()

    def decide(self, envelope: Envelope, states: Callable[[Key], Any]) -> Outcome:
        """Return the events and messages that follow from the record. Raises a Refusal."""

        def zones(ident: str) -> Zone | None:
            zone: Zone | None = states(Key("zone", ident))
            return zone

        subject = states(envelope.subject)
        cell = self._cell(_cell_name(envelope, subject))
        if not isinstance(envelope.data, PlaceInstance):
            return decide(envelope, subject, zones, cell)
        with traces.span("place") as span:
            outcome = decide(envelope, subject, zones, cell)
            result = _placement(outcome)
            span.set_attributes({"gostack.result": result})
        metrics.PLACEMENTS.labels(result).inc()
        return outcome

    def evolve(self, key: Key, state: Any, event: Event) -> Any:
        """Return the aggregate's state after the event."""
        return self._storage.evolve(key, state, event)

    def load(self, key: Key, state: bytes) -> Any:
        """Return the state that was stored as these bytes."""
        return self._storage.load(key, state)

    def dump(self, state: Any) -> bytes:
        """Return the state as the bytes to store."""
        return self._storage.dump(state)

    def due(self, state: Any) -> tuple[datetime | None, str]:
        """Return when a host that was disabled for some time is to be enabled, and the deadline's id."""
        return self._storage.due(state)

    def stream(self, state: Any) -> str:
        """Return the cell that a host or zone belongs to."""
        return str(state.cell)

    def changed(self, key: Key, state: Any) -> None:
        """Write the host's row in its cell's table anew."""
        if isinstance(state, Host):
            self._cell(state.cell).table.put(state)

    def forget(self) -> None:
        """Forget the tables of all cells; they are made anew."""
        self._cells: dict[str, Cell] = {}

    def _cell(self, name: str) -> Cell:
        if name not in self._cells:
            self._cells[name] = Cell(name, HostTable(self._ratios), self._policy, self._partitions)
        return self._cells[name]


def _cell_name(envelope: Envelope, subject: Host | Zone | None) -> str:
    """Return the cell whose stream the record is in."""
    match envelope.data:
        case PlaceInstance() | ReleaseInstance() | ResizeHostClaim():
            return envelope.subject.id
        case RegisterHost(cell=cell) | CreateZone(cell=cell):
            return cell
        case _:
            return subject.cell if subject is not None else DEFAULT_CELL


def _placement(outcome: Outcome) -> str:
    """Return how a placement ended: `placed`, or the code of its error."""
    for outgoing in outcome.outgoing:
        if isinstance(outgoing.data, JobsAnswered) and (error := outgoing.data.results[0].error):
            return error.code
    return "placed"
