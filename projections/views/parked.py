"""Parked aggregates: what takes no commands until somebody releases it, and why."""

from collections.abc import Iterable

from domain.aggregates import AGGREGATES
from domain.parking import AggregateParked, AggregateReleased
from projections.views.view import Change, Column, Row, View


def rows(change: Change) -> Iterable[Row]:
    """Whether it is parked from now on. The moment is the row's version: an event that is repeated late is no news."""
    event = change.envelope.data
    if not isinstance(event, AggregateParked | AggregateReleased):
        return
    parked = isinstance(event, AggregateParked)
    doc = {
        "id": str(change.key),
        "kind": change.key.kind,
        "parked": parked,
        "why": event.why,
        "place": event.place if isinstance(event, AggregateParked) else "",
        "since": change.envelope.time,
    }
    version = int(change.envelope.time.timestamp() * 1_000_000)
    yield Row(str(change.key), version, change.envelope.time, {"kind": change.key.kind, "parked": parked}, doc)


PARKED = View(
    name="parked",
    kinds=frozenset(AGGREGATES),
    events=frozenset({AggregateParked, AggregateReleased}),
    rows=rows,
    columns=(Column("kind"), Column("parked", "boolean")),
)
