"""Parked aggregates: those that take no commands until a person releases them, and why."""

from collections.abc import Iterable

from domain.aggregates import AGGREGATES
from domain.parking import AggregateParked, AggregateReleased
from projections.views.view import Change, Row, View, ViewColumn


def rows(change: Change) -> Iterable[Row]:
    """Yield a row that says whether the aggregate is parked from now on.

    The row's version is the event's time, so an event that is repeated late changes nothing.
    """
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
    columns=(ViewColumn("kind"), ViewColumn("parked", "boolean")),
)
