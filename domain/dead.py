"""Dead records: records that could not be read or applied, and what a person did about each.

These facts stand on gostack.dead itself, behind the record they are about, so that the topic tells its whole story in
one order. A record is dead once, whichever process put it there again: its id is made of the place it came from.
"""

from datetime import datetime
from typing import ClassVar

from domain.core.messages import Envelope, Event, Model, Record, Topic

PLACE, WHY = "gostack_place", "gostack_why"
"""Headers that a dead record has beside its own."""
LARGEST = (1 << 20) - (16 << 10)
"""Size in bytes up to which a record is kept whole: with the headers that are added it still fits on the topic. A
larger one was compressed by its sender, which GoStack does not do."""
FRAME = 16
"""Bytes that the log adds around a header, at most."""
MOST_HEADERS, LONGEST_HEADER, LONGEST_VALUE = 100, 1000, 100_000
"""Limits on what is kept of a larger record: headers, and bytes of a header and of the value."""
DEAD, RETRIED, DROPPED = "dead", "retried", "dropped"


class DeadEvent(Event):
    """A fact about a dead record."""

    abstract: ClassVar[bool] = True
    kind = "dead"


class DeadRetried(DeadEvent):
    """The dead record was put on its topic again, under this id."""

    record_id: str


class DeadDropped(DeadEvent):
    """The dead record was closed without being applied."""


class DeadFound(Event):
    """A dead record as a reader of the topic finds it. The event has no type name: it is never written."""

    offset: int
    """Offset of the record in gostack.dead."""
    place: str
    """Topic, partition and offset at which the record was before."""
    why: str
    type: str
    subject: str
    time: str
    actor: str
    project: str
    correlation: str


class Dead(Model):
    """A dead record, without its data."""

    id: str
    found: DeadFound
    status: str = DEAD
    closed: datetime | None = None
    by: str = ""
    reason: str = ""


def dead_record(record: Record, why: str) -> Record:
    """Return the record as it is put on gostack.dead, with its place and the reason in two headers."""
    key, value = record.key, record.value
    # A header may have no value, and one on its way through an outbox must have.
    own = [(name, said or b"") for name, said in record.headers]
    if len(key) + len(value) + sum(FRAME + len(name.encode()) + len(said) for name, said in own) > LARGEST:
        # Whoever could not lay it aside would meet it again after every start.
        why = f"It is too large to be here whole: its value has {len(value)} bytes. {why}"
        key, value = key[:LONGEST_HEADER], value[:LONGEST_VALUE]
        own = [(name[:LONGEST_HEADER], said[:LONGEST_HEADER]) for name, said in own[:MOST_HEADERS]]
    headers = (*own, (PLACE, record.place.encode()), (WHY, why.encode()))
    return Record(Topic.DEAD, key, value, headers)


def evolve(now: Dead | None, envelope: Envelope) -> Dead | None:
    """Return the dead record after this event; unchanged where the event has no effect, since the record was found
    before or is closed already."""
    match envelope.data:
        case DeadFound() as found if now is None:
            return Dead(id=envelope.subject.id, found=found)
        case DeadRetried() | DeadDropped() if now is not None and now.status == DEAD:
            status = RETRIED if isinstance(envelope.data, DeadRetried) else DROPPED
            return now.but(status=status, closed=envelope.time, by=envelope.actor, reason=envelope.reason)
        case _:
            return now
