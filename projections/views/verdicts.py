"""Verdicts: the answer that each command got, for a client that repeats its request."""

from collections.abc import Iterable

from domain.aggregates import AGGREGATES, begins_task
from domain.tasks.events import CommandRefused, CommandSatisfied
from projections.views.view import Change, Row, View, ViewColumn


def rows(change: Change) -> Iterable[Row]:
    """Yield the row of the verdict, where the event is one."""
    envelope = change.envelope
    if envelope.verdict is None:
        return
    event = envelope.data
    refused = isinstance(event, CommandRefused)
    doc = {
        "id": envelope.causation,
        "verdict": envelope.verdict,
        "subject": str(envelope.subject),
        "task_id": envelope.causation if envelope.verdict == "accepted" and begins_task(envelope) else None,
        "code": event.code if isinstance(event, CommandRefused) else None,
        "message": event.message if isinstance(event, (CommandRefused, CommandSatisfied)) else None,
        "hint": event.hint if isinstance(event, CommandRefused) else None,
        "values": event.values if refused and isinstance(event, CommandRefused) else {},
        "fingerprint": envelope.fingerprint,
        "actor": envelope.actor,
        "project_id": envelope.project,
        "correlation_id": envelope.correlation,
        "at": envelope.time,
    }
    yield Row(
        id=envelope.causation,
        version=1,
        created=envelope.time,
        columns={"subject": str(envelope.subject), "verdict": envelope.verdict},
        doc=doc,
    )


def about(change: Change) -> str | None:
    """Return the id of the command that the event is the verdict on, or None."""
    return change.envelope.causation if change.envelope.verdict is not None else None


VERDICTS = View(
    name="verdicts",
    kinds=frozenset(AGGREGATES),
    rows=rows,
    about=about,
    columns=(ViewColumn("subject"), ViewColumn("verdict")),
)
