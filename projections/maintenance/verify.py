"""Folds the log from its beginning and compares the read models with the result: rows are folds, and this is the proof.

Rows are compared whole, with the columns that lists filter and sort by; history, event by event; and each state that a
projector or a query about the past would start from, with the fold at that version.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson

from domain.aggregates import AGGREGATES
from domain.core.errors import UnknownMessage
from domain.core.messages import (
    Envelope,
    Event,
    Key,
    Record,
    Topic,
    from_record,
    named_id,
)
from domain.dead import Dead
from domain.dead import evolve as evolve_dead
from infra.log.log import Log, Positions, TopicPartition
from infra.log.records import records
from infra.process.error_text import text_of
from projections.maintenance.progress import ProgressReport, ignore_progress
from projections.projector import entry
from projections.store.port import LONG_AGO, Frozen, HistoryEntry, Milestone, Snapshot, Store
from projections.views.dead import read_dead
from projections.views.table import VIEWS
from projections.views.view import Change, Row

MOST = 100
"""Lines of problems that one report has, at most."""
LONGEST = 200
"""Characters of a value that a line shows, at most."""
TELL = 5000
"""Events between two reports of progress."""


class Findings:
    """Problems, a line each: at most `most` lines, and then how many more there are."""

    def __init__(self, lines: Iterable[str] = (), most: int = MOST) -> None:
        self._most = most
        self._lines: list[str] = []
        self._count = 0
        for line in lines:
            self.add(line)

    def add(self, line: str) -> None:
        """Add a line, or only count it where there are enough."""
        self._count += 1
        if self._count <= self._most:
            self._lines.append(line)

    def __add__(self, other: "Findings") -> "Findings":
        both = Findings([*self._lines, *other._lines], self._most)
        both._count = self._count + other._count
        return both

    @property
    def lines(self) -> list[str]:
        """Return the lines to show; the last says how many were left out."""
        if self._count <= self._most:
            return list(self._lines)
        return [*self._lines[:-1], f"and {self._count - self._most + 1} more"]


class ExpectedHistory:
    """The events that history must have: by place, the hash of the id and the hash of the whole entry, eight bytes
    each.

    Why not the events themselves: a log has more of them than there is memory.
    """

    def __init__(self) -> None:
        self._partitions: dict[TopicPartition, tuple[int, array[int], array[int]]] = {}
        """First offset; ids and contents from there on, 0 where nothing is to be."""

    def expect(self, event: HistoryEntry) -> None:
        """Add an event that history must have. In its partition, it lies behind those that were added before."""
        partition = TopicPartition(event.topic, event.partition)
        first, ids, contents = self._partitions.setdefault(partition, (event.offset, array("q"), array("q")))
        gap = event.offset - first - len(ids)
        ids.extend((*(0,) * gap, hash(event.id)))
        contents.extend((*(0,) * gap, hash(event)))

    def found(self, event: HistoryEntry) -> str | None:
        """Mark an entry of history as found; return a line about what is wrong with it, or None."""
        place = f"{event.topic}:{event.partition}:{event.offset}"
        partition = TopicPartition(event.topic, event.partition)
        first, ids, contents = self._partitions.get(partition, (0, array("q"), array("q")))
        at = event.offset - first
        if not 0 <= at < len(ids) or ids[at] != hash(event.id):
            return f"history {event.id}: the entry exists, and the log has no such event at {place}"
        ids[at] = 0
        return (
            None if contents[at] == hash(event) else f"history {event.id}: the entry differs from the event at {place}"
        )

    def missing(self) -> Iterator[str]:
        """Yield a line for each expected event that was not found."""
        for (topic, partition), (first, ids, _) in self._partitions.items():
            for at, ident in enumerate(ids):
                if ident:
                    yield f"history: the event at {topic}:{partition}:{first + at} is missing"


@dataclass
class FoldedLog:
    """Every aggregate as its events make it, the rows that follow, and what is wrong with the log or the read
    models."""

    states: dict[Key, Any] = field(default_factory=dict)
    versions: dict[Key, int] = field(default_factory=dict)
    rows: dict[str, dict[str, Row]] = field(default_factory=lambda: {name: {} for name in VIEWS})
    verdicts: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    """Command id -> its verdicts, each as the event's id, which a second decision makes again, and its version or
    content, which a second decision makes anew."""
    dead: dict[Key, tuple[int, Dead]] = field(default_factory=dict)
    """Dead records, with how many of their events were applied."""
    events: int = 0
    repeated: int = 0
    behind: int = 0
    """Events that the read models did not have yet; they are not compared."""
    problems: Findings = field(default_factory=Findings)
    """Problems of the log itself."""
    differences: Findings = field(default_factory=Findings)
    """Differences between the read models and what the log makes."""
    written: dict[Key, Snapshot] = field(default_factory=dict)
    """Stored snapshots whose version the fold has not reached yet."""
    milestones: set[tuple[Key, int]] = field(default_factory=set)
    """Key and version of every stored milestone."""
    passed: dict[tuple[Key, int], tuple[Milestone, Any]] = field(default_factory=dict)
    """Milestones as they must be, each with its state, by key and version."""
    expected_history: ExpectedHistory = field(default_factory=ExpectedHistory)
    _times: dict[Key, datetime] = field(default_factory=dict)
    """The latest time of an aggregate's events."""
    _said: dict[Key, "array[int]"] = field(default_factory=dict)
    """Hash of the record of each version of an aggregate, the newest last, since its last gap."""
    _noticed: dict[str, int] = field(default_factory=dict)
    """Hash of the record of each event that has no version, by its id."""

    def take(self, record: Record, envelope: Envelope) -> None:
        """Apply one event; an event whose version was applied before is counted and passed over."""
        key = envelope.subject
        # What is published again is the same to the last byte; what is decided again is of another time and cause.
        content = hash((record.headers, record.value))
        before = after = None
        if envelope.aggversion is None:
            self.repeated += self._noticed.get(envelope.id) == content
            if self._noticed.setdefault(envelope.id, content) is content:
                self.expected_history.expect(entry(record, envelope))
        else:
            version, said = self.versions.get(key, 0), self._said.setdefault(key, array("q"))
            if envelope.aggversion <= version:
                self.repeated += 1
                back = version - envelope.aggversion + 1
                if back <= len(said) and said[-back] != content:
                    self.problems.add(f"{key}: version {envelope.aggversion} is another event at {record.place}")
                return
            if envelope.aggversion != version + 1:
                self.problems.add(_gap(record, envelope, version))
                del said[:]
            said.append(content)
            assert isinstance(envelope.data, Event)
            before = self.states.get(key)
            after = AGGREGATES[key.kind].evolve(before, envelope.data, key.id)
            self.states[key], self.versions[key] = after, envelope.aggversion
            self.expected_history.expect(entry(record, envelope))
            self._times[key] = max(envelope.time, self._times.get(key, envelope.time))
            self._reached(key, envelope.aggversion, record.offset, after)
            if (at := (key, envelope.aggversion)) in self.milestones:
                place = (record.partition or 0, record.offset)
                self.passed[at] = Milestone(*at, self._times[key], *place, envelope.id, b""), after
        self.events += 1
        if envelope.verdict:
            self.verdicts.setdefault(envelope.causation, set()).add((envelope.id, envelope.aggversion or content))
        self._project(Change(envelope, before, after, (record.topic, record.partition or 0, record.offset)))

    def bury(self, record: Record, envelope: Envelope) -> None:
        """Apply a record of gostack.dead; a record that changes nothing is passed over."""
        version, before = self.dead.get(envelope.subject, (0, None))
        after = evolve_dead(before, envelope)
        if after is not None and after is not before:
            self.dead[envelope.subject] = version + 1, after
            self._reached(envelope.subject, version + 1, record.offset, after)
            place = (record.topic, record.partition or 0, record.offset)
            self._project(Change(replace(envelope, aggversion=version + 1), before, after, place))

    def _reached(self, key: Key, version: int, offset: int, state: Any) -> None:
        """Compare the stored snapshot of this version, if there is one, with the state."""
        snapshot = self.written.get(key)
        if snapshot is None or snapshot.version != version:
            return
        del self.written[key]
        name = f"state of {key} at version {version}"
        # Earlier releases wrote neither offset nor time.
        if snapshot.offset not in (offset, -1):
            self.differences.add(f"{name}: its offset is {snapshot.offset}, the log makes it {offset}")
        latest = self._times.get(key, LONG_AGO)
        if snapshot.time not in (latest, LONG_AGO):
            self.differences.add(f"{name}: its time is {snapshot.time}, the log makes it {latest}")
        _differ_in_state(self.differences, name, snapshot.state, state)

    def _project(self, change: Change) -> None:
        for view in VIEWS.values():
            if change.key.kind in view.kinds:
                table = self.rows[view.name]
                for row in view.rows(change):
                    if row.id not in table or table[row.id].version <= row.version:
                        table[row.id] = row
                for ident in view.gone(change):
                    self.rows[view.name].pop(ident, None)


async def verify(log: Log, frozen: Frozen, report: ProgressReport = ignore_progress) -> FoldedLog:
    """Fold the log as far as the read models had it, and compare them with the result.

    Raises LogUnavailable, StoreUnavailable.
    """
    folded = FoldedLog(written={key: snapshot async for key, snapshot in frozen.states()})
    folded.milestones = {(each.subject, each.version) async for each in frozen.milestones()}
    await _fold(folded, log, frozen.positions, report)
    for key, snapshot in folded.written.items():
        folded.differences.add(f"state of {key} at version {snapshot.version}: the log makes no such state")
    async for milestone in frozen.milestones():
        _compare_milestone(folded, milestone)
    for name, rows in folded.rows.items():
        await _compare(folded.differences, name, rows, frozen)
    async for event in frozen.history():
        if problem := folded.expected_history.found(event):
            folded.differences.add(problem)
    for problem in folded.expected_history.missing():
        folded.differences.add(problem)
    return folded


async def _fold(folded: FoldedLog, log: Log, ends: Positions, report: ProgressReport) -> None:
    bounds = await log.bounds([Topic.EVENTS, Topic.DEAD])
    total = sum(ends.get(each, 0) for each in bounds)
    folded.behind = sum(end for _, end in bounds.values()) - total
    taken = 0
    unreadable: dict[Key, str] = {}
    async for record in records(log, Topic.EVENTS, ends):
        taken += 1
        if taken % TELL == 0:
            await report(taken, total)
        try:
            folded.take(record, from_record(record))
        except UnknownMessage as error:
            unreadable[Key("dead", named_id("dead", record.place))] = text_of(error)
    # To its very end: an event is laid aside before the read models are past it, and may not be theirs yet.
    async for record in records(log, Topic.DEAD):
        if said := read_dead(record):
            unreadable.pop(said.subject, None)
            if record.offset < ends.get(TopicPartition(record.topic, record.partition or 0), 0):
                folded.bury(record, said)
    for problem in unreadable.values():
        folded.problems.add(problem)
    await _gaps_ahead(folded, log, ends)
    await report(total, total)


async def _gaps_ahead(folded: FoldedLog, log: Log, begins: Positions) -> None:
    """Add the gaps behind the position of the read models: the projector stops before a gap, and so never has it."""
    ahead: dict[Key, int] = {}
    async for record in records(log, Topic.EVENTS, begins=begins):
        try:
            envelope = from_record(record)
        except UnknownMessage:
            continue
        key, version = envelope.subject, envelope.aggversion or 0
        last = ahead.get(key, folded.versions.get(key, 0))
        if version > last + 1:
            folded.problems.add(_gap(record, envelope, last))
        ahead[key] = max(version, last)


def _gap(record: Record, envelope: Envelope, version: int) -> str:
    return f"{envelope.subject}: version {envelope.aggversion} follows {version} at {record.place}"


def _compare_milestone(folded: FoldedLog, milestone: Milestone) -> None:
    name = f"milestone of {milestone.subject} at version {milestone.version}"
    if (milestone.subject, milestone.version) not in folded.passed:
        folded.differences.add(f"{name}: the log makes no such state")
        return
    right, state = folded.passed[milestone.subject, milestone.version]
    _differ(folded.differences, name, milestone._replace(state=b"")._asdict(), right._asdict())
    _differ_in_state(folded.differences, name, milestone.state, state)


async def _compare(found: Findings, view: str, expected: Mapping[str, Row], frozen: Frozen) -> None:
    """Add a line for each row of a view that differs from the expected rows."""
    seen = set()
    async for row in frozen.rows(view):
        if row.id not in expected:
            found.add(f"{view} {row.id}: the row exists, and the log makes no such row")
            continue
        seen.add(row.id)
        right = expected[row.id]
        _differ(found, f"{view} {row.id}", row.doc, orjson.loads(orjson.dumps(right.doc)))
        _differ(found, f"{view} {row.id}", _columns(row), _columns(right))
    for ident in expected:
        if ident not in seen:
            found.add(f"{view} {ident}: the row is missing")


def _columns(row: Row) -> dict[str, Any]:
    """Return the columns of a row beside its document."""
    beside = {"version": row.version, "created": row.created, **row.columns}
    return {f"column {name}": list(value) if isinstance(value, tuple) else value for name, value in beside.items()}


def _differ(found: Findings, name: str, actual: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for each in sorted({*actual, *expected}):
        if actual.get(each) != expected.get(each):
            found.add(f"{name}: {each} is {_text(actual.get(each))}, the log makes it {_text(expected.get(each))}")


def _differ_in_state(found: Findings, name: str, actual: bytes, expected: Any) -> None:
    try:
        kept = type(expected).model_validate_json(actual)
    except ValueError as error:
        found.add(f"{name}: it cannot be read: {text_of(error)[:LONGEST]}")
        return
    if kept != expected:
        _differ(found, name, kept.model_dump(), expected.model_dump())


def _text(value: Any) -> str:
    return orjson.dumps(value, default=str).decode()[:LONGEST]


async def compare(log: Log, store: Store, report: ProgressReport = ignore_progress) -> tuple[FoldedLog, list[str]]:
    """Return the fold of the log, and a line for each difference of the read models; an empty list is the proof.

    The result is exact while events go on coming: read models are read as they are at one moment, and the log as far as
    they had it then. Raises LogUnavailable, StoreUnavailable.
    """
    async with store.frozen() as frozen:
        folded = await verify(log, frozen, report)
    return folded, (folded.problems + folded.differences).lines
