"""Fills an empty database from the log: what engine and scheduler remember, and the positions where they go on.

Why not by reading all commands once more: they would be decided anew, by today's rules and against other states. The
events are what was decided. What follows from a record names the record's place, so the log itself says how far each
partition was processed; ids of what was decided are remembered, so that nothing of it is decided twice.

What the database alone had is gone: secrets of boots, and messages of the last step that were not on the log yet. Jobs
among these meet their deadlines; commands among the records of the last step are decided now.
"""

import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from commands.engine import EngineRules
from domain import catalog
from domain.aggregates import AGGREGATES
from domain.core.errors import UnknownMessage
from domain.core.messages import Envelope, Event, Key, Record, Topic, from_record
from domain.dead import PLACE
from domain.network.messages import CreateNetwork
from domain.network.state import Network
from domain.parking import AggregateParked, ParkingEvent
from infra.db.write_store import AggregateWrite, Move, WriteStore
from infra.log.log import Log, TopicPartition
from infra.log.records import records
from infra.secrets.segments import Segments

WINDOW = 500
"""Records that a step takes at most: up to so many before the last record with consequences, there may be one whose
consequences were lost."""
CONSEQUENCES = (Topic.EVENTS, Topic.SCHEDULING, Topic.COMMANDS, Topic.JOBS, Topic.RESULTS, Topic.DEAD)


class DatabaseNotEmpty(Exception):
    """The database holds something already: only an empty one can be filled from the log."""


class LogIncomplete(Exception):
    """Events are missing from the log, so states cannot be made of it."""


@dataclass(frozen=True)
class ProcessorShare:
    """The share of one processor: its write store, the kinds of aggregates in it, and the topics it reads."""

    write_store: WriteStore
    kinds: Sequence[str]
    topics: Sequence[Topic]


@dataclass
class RefillResult:
    """How many events, aggregates and parked aggregates a refill found."""

    events: int = 0
    aggregates: int = 0
    parked: int = 0
    undecided: int = 0
    """Records on the log that are still to be decided."""
    halves: list[str] = field(default_factory=list)
    """Instances whose last decision is on the log in part: their task has no deadline."""


@dataclass
class Consequences:
    """The records that were processed, as the records that follow from them say."""

    since: datetime
    upto: dict[TopicPartition, int] = field(default_factory=dict)
    """Per partition, the offset after the last record that has consequences."""
    offsets: dict[TopicPartition, set[int]] = field(default_factory=dict)
    """Offsets of records that have consequences; at least the last ones of each partition."""
    ids: dict[TopicPartition, set[str]] = field(default_factory=dict)
    """Ids of records that have consequences from after `since`."""

    def take(self, record: Record) -> None:
        """Learn from one record which record it follows from."""
        headers = dict(record.headers)
        cause = _place(headers.get("ce_causeplace"))
        if cause:
            self._note(*cause)
            ident = _text(headers.get("ce_causationid"))
            if _is_uuid(ident) and _moment(headers.get("ce_time"), self.since) >= self.since:
                self.ids.setdefault(cause[0], set()).add(ident)
        if dead := _place(headers.get(PLACE)):
            self._note(*dead)

    def _note(self, partition: TopicPartition, offset: int) -> None:
        end = self.upto[partition] = max(self.upto.get(partition, 0), offset + 1)
        offsets = self.offsets.setdefault(partition, set())
        offsets.add(offset)
        if len(offsets) > 4 * WINDOW:
            self.offsets[partition] = {each for each in offsets if each >= end - WINDOW}


@dataclass
class ParkedAggregates:
    """The parked aggregates, as events say. These events have no version, so one that was published twice is recognised
    by its id."""

    parked: dict[Key, str] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def take(self, envelope: Envelope) -> None:
        """Learn from an event whether its aggregate is parked."""
        if not isinstance(envelope.data, ParkingEvent) or envelope.id in self._seen:
            return
        self._seen.add(envelope.id)
        if isinstance(envelope.data, AggregateParked):
            self.parked.setdefault(envelope.subject, envelope.data.why)
        else:
            self.parked.pop(envelope.subject, None)


async def refill(
    log: Log, parts: Iterable[ProcessorShare], segments: Segments, now: datetime, keep: timedelta = timedelta(days=7)
) -> RefillResult:
    """Fill the write stores from the log, and remember the ids of what was decided in the last `keep`.

    Raises DatabaseNotEmpty, LogIncomplete, and what log and write stores raise; each write store is filled whole or not
    at all.
    """
    assert catalog.MESSAGES
    parts = list(parts)
    for part in parts:
        await _must_be_empty(log, part)
    found = Consequences(now - keep)
    for topic in CONSEQUENCES[1:]:
        async for record in records(log, topic):
            found.take(record)
    states, versions, parked, done = await _fold(log, found)
    await segments.raise_to(await _highest_segment(log, states) + 1)
    for part in parts:
        await _fill(log, part, states, versions, parked, found, done)
    return done


async def _must_be_empty(log: Log, part: ProcessorShare) -> None:
    positions = await part.write_store.positions(list(await log.bounds(part.topics)))
    if any(positions.values()):
        raise DatabaseNotEmpty("the database is not empty: it has positions; create it anew, migrate it, and try again")
    for kind in part.kinds:
        if rows := await part.write_store.all(kind):
            raise DatabaseNotEmpty(f"the database is not empty: it has {len(rows)} aggregates of kind {kind}")


async def _fold(log: Log, found: Consequences) -> tuple[dict[Key, Any], dict[Key, int], dict[Key, str], RefillResult]:
    states: dict[Key, Any] = {}
    versions: dict[Key, int] = {}
    parking = ParkedAggregates()
    done = RefillResult()
    for partition, (first, _) in (await log.bounds([Topic.EVENTS])).items():
        if first:
            raise LogIncomplete(f"{partition.topic}:{partition.partition} begins at offset {first}")
    async for record in records(log, Topic.EVENTS):
        found.take(record)
        try:
            envelope = from_record(record)
        except UnknownMessage:
            # What was lost by that, if anything, shows as a gap in the versions.
            continue
        done.events += 1
        parking.take(envelope)
        key, version = envelope.subject, envelope.aggversion
        if version is None or version <= versions.get(key, 0):
            continue
        if version != versions.get(key, 0) + 1:
            raise LogIncomplete(f"{key}: version {version} follows {versions.get(key, 0)} at {record.place}")
        assert isinstance(envelope.data, Event)
        states[key] = AGGREGATES[key.kind].evolve(states.get(key), envelope.data, key.id)
        versions[key] = version
    return states, versions, parking.parked, done


async def _highest_segment(log: Log, states: Mapping[Key, Any]) -> int:
    """Return the highest segment of the networks that exist or existed, and of those whose creation is not decided
    yet."""
    highest = max((state.segment for state in states.values() if isinstance(state, Network)), default=0)
    create_network = CreateNetwork.type_name.encode()
    async for record in records(log, Topic.COMMANDS):
        if dict(record.headers).get("ce_type") == create_network:
            try:
                data = from_record(record).data
            except UnknownMessage:
                continue
            assert isinstance(data, CreateNetwork)
            highest = max(highest, data.segment)
    return highest


async def _fill(
    log: Log,
    part: ProcessorShare,
    states: Mapping[Key, Any],
    versions: Mapping[Key, int],
    parked: Mapping[Key, str],
    found: Consequences,
    done: RefillResult,
) -> None:
    rules = EngineRules()
    changes = []
    for key, state in states.items():
        if key.kind in part.kinds:
            due_at, due_id = rules.due(state)
            if getattr(state, "task", None) is not None and due_at is None:
                done.halves.append(key.id)
            changes.append(AggregateWrite(key, 0, versions[key], rules.dump(state), due_at, due_id))
    bounds = await log.bounds(part.topics)
    ids = {ident for partition in bounds for ident in found.ids.get(partition, ())}
    moves = []
    for partition, (first, end) in bounds.items():
        start, passed, lost = await _start(log, partition, first, found)
        ids |= passed
        moves.append(Move(partition, 0, start))
        done.undecided += lost
        async for record in _between(log, partition, max(first, found.upto.get(partition, 0)), end):
            done.undecided += not record.filler
    async with part.write_store.step() as step:
        opened = await step.open(moves, [], [])
        if len(opened.moved) != len(moves):
            raise DatabaseNotEmpty("another process works on the database: stop engine, scheduler and timers first")
        standing = [(key, why) for key, why in parked.items() if key.kind in part.kinds]
        await step.close(changes, sorted(ids), [], standing)
    done.aggregates += len(changes)
    done.parked += len(standing)


async def _start(log: Log, partition: TopicPartition, first: int, found: Consequences) -> tuple[int, set[str], int]:
    """Return where to go on, the ids of records after it that were processed all the same, and how many were not.

    What follows from records of one subject is published in their order, so a record before one with consequences had
    what it would ever have. Only a step's last records can have lost theirs, and these are decided now.
    """
    upto = found.upto.get(partition, 0)
    begin = max(first, upto - WINDOW)
    window = [record async for record in _between(log, partition, begin, upto) if not record.filler]
    start, passed, lost = max(first, upto), set(), 0
    later: set[bytes | None] = set()
    for record in reversed(window):
        headers = dict(record.headers)
        subject, ident = headers.get("ce_subject"), _text(headers.get("ce_id"))
        if record.offset in found.offsets.get(partition, ()) or subject in later:
            later.add(subject)
            if _is_uuid(ident):
                passed.add(ident)
        else:
            start = record.offset
            lost += 1
    return start, passed, lost


async def _between(log: Log, partition: TopicPartition, begin: int, end: int) -> AsyncIterator[Record]:
    """Yield a partition's records from one offset on and before another, which the log has."""
    if begin >= end:
        return
    reader = await log.reader({partition: begin})
    try:
        while await reader.position(partition) < end:
            for record in await reader.fetch(WINDOW, 1.0):
                if record.offset < end:
                    yield record
    finally:
        await reader.close()


def _text(header: bytes | None) -> str:
    return (header or b"").decode(errors="replace")


def _place(header: bytes | None) -> tuple[TopicPartition, int] | None:
    topic, _, rest = _text(header).partition(":")
    partition, _, offset = rest.partition(":")
    if not (topic and partition.isdecimal() and offset.isdecimal()):
        return None
    return TopicPartition(topic, int(partition)), int(offset)


def _moment(header: bytes | None, otherwise: datetime) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(header))
    except ValueError:
        return otherwise
    return moment if moment.tzinfo else otherwise


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
