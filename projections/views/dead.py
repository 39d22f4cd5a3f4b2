"""Dead records: gostack.dead as a read model.

The topic holds records as they came, of which nothing is certain, not even a time; their order in the topic is. So a
row's moment is made of the record's place there.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from domain.core.errors import GoStackError
from domain.core.messages import Envelope, Key, Record, from_record, named_id
from domain.dead import PLACE, WHY, Dead, DeadEvent, DeadFound
from projections.views.view import Change, Row, View, ViewColumn

LONGEST = 1000
"""Characters that a row keeps of each text; the record itself has all."""
LONGEST_FOUND_BY = 200
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def headers_of(record: Record) -> dict[str, str]:
    """Return the record's headers as text, whatever bytes they have."""
    return {name: (value or b"").decode(errors="replace") for name, value in record.headers}


def read_dead(record: Record) -> Envelope | None:
    """Return the event of a record of gostack.dead, in an envelope: DeadFound for a dead record, or what was done about
    one.

    None where the record is neither.
    """
    headers = headers_of(record)
    if PLACE in headers:
        return _found(record, headers)
    try:
        envelope = from_record(record)
    except GoStackError:
        return None
    return envelope if isinstance(envelope.data, DeadEvent) else None


def _found(record: Record, headers: Mapping[str, str]) -> Envelope:
    def header(name: str) -> str:
        return headers.get(name, "").replace("\0", "\ufffd")[:LONGEST]

    ident = named_id("dead", headers[PLACE])
    found = DeadFound(
        offset=record.offset,
        place=header(PLACE),
        why=header(WHY),
        type=header("ce_type"),
        subject=header("ce_subject"),
        time=header("ce_time"),
        actor=header("ce_actor"),
        project=header("ce_project"),
        correlation=header("ce_correlationid"),
    )
    moment = BEGINNING + timedelta(microseconds=record.offset)
    return Envelope(ident, found, Key("dead", ident), moment, source="", correlation="")


def rows(change: Change) -> Iterable[Row]:
    """Yield the row of the dead record."""
    dead = change.after
    if not isinstance(dead, Dead):
        return
    found = dead.found
    yield Row(
        id=dead.id,
        version=change.version,
        created=BEGINNING + timedelta(microseconds=found.offset),
        columns={
            "status": dead.status,
            "kind": found.subject.partition("/")[0][:LONGEST_FOUND_BY],
            "subject": found.subject[:LONGEST_FOUND_BY],
        },
        doc={
            "id": dead.id,
            "status": dead.status,
            "place": found.place,
            "why": found.why,
            "type": found.type,
            "subject": found.subject,
            "time": found.time,
            "actor": found.actor,
            "project_id": found.project,
            "correlation_id": found.correlation,
            "closed": dead.closed,
            "closed_by": dead.by,
            "closed_reason": dead.reason,
            "offset": found.offset,
        },
    )


DEAD_VIEW = View(
    name="dead",
    kinds=frozenset({"dead"}),
    rows=rows,
    columns=(ViewColumn("status", indexed=True), ViewColumn("kind", indexed=True), ViewColumn("subject", indexed=True)),
)
