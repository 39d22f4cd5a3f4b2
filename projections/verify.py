"""Fold the log from its beginning and compare the read models with it: rows are folds, and this is the proof."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from domain.aggregates import AGGREGATES
from domain.dead import Dead
from domain.dead import evolve as evolve_dead
from domain.errors import UnknownMessage
from domain.messages import Envelope, Event, Key, Record, Topic, from_record, named_id
from infra.log.log import Log, Positions, TopicPartition
from infra.log.records import records
from projections.dead import read_dead
from projections.store import Frozen, Store
from projections.told import Told, nobody
from projections.view import Change, Row
from projections.views import VIEWS

MOST = 100
"""Differences that are told."""
TELL = 5000
"""Events after which it is told how far it is."""


@dataclass
class Folded:
    """Every aggregate as its events make it, and the rows that follow."""

    states: dict[Key, Any] = field(default_factory=dict)
    versions: dict[Key, int] = field(default_factory=dict)
    rows: dict[str, dict[str, Row]] = field(default_factory=lambda: {name: {} for name in VIEWS})
    verdicts: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    """Command id -> its verdicts: their ids, which a second decision makes again, and what it makes anew."""
    dead: dict[Key, tuple[int, Dead]] = field(default_factory=dict)
    """Dead records, with how many of their facts were applied."""
    events: int = 0
    repeated: int = 0
    behind: int = 0
    """Events that the read models did not have yet: they are no part of this."""
    problems: list[str] = field(default_factory=list)
    _said: dict[Key, "array[int]"] = field(default_factory=dict)
    """What stands on the log as each version of an aggregate, the last at the end; from its last gap on."""
    _noticed: dict[str, int] = field(default_factory=dict)
    """The same of what stands beside the streams, by its id."""

    def take(self, record: Record, envelope: Envelope) -> None:
        """Apply one event; a version seen before is counted and left out."""
        key = envelope.subject
        # What is published again is the same to the last byte; what is decided again is of another time and cause.
        content = hash((record.headers, record.value))
        before = after = None
        if envelope.aggversion is None:
            self.repeated += self._noticed.get(envelope.id) == content
            self._noticed.setdefault(envelope.id, content)
        else:
            version, said = self.versions.get(key, 0), self._said.setdefault(key, array("q"))
            if envelope.aggversion <= version:
                self.repeated += 1
                back = version - envelope.aggversion + 1
                if back <= len(said) and said[-back] != content:
                    self.problems.append(f"{key}: version {envelope.aggversion} is another event at {record.place}")
                return
            if envelope.aggversion != version + 1:
                self.problems.append(_gap(record, envelope, version))
                del said[:]
            said.append(content)
            assert isinstance(envelope.data, Event)
            before = self.states.get(key)
            after = AGGREGATES[key.kind].evolve(before, envelope.data, key.id)
            self.states[key], self.versions[key] = after, envelope.aggversion
        self.events += 1
        if envelope.verdict:
            self.verdicts.setdefault(envelope.causation, set()).add((envelope.id, envelope.aggversion or content))
        self._project(Change(envelope, before, after, (record.topic, record.partition or 0, record.offset)))

    def bury(self, record: Record, envelope: Envelope) -> None:
        """Apply what gostack.dead says; what leads to nothing is left out."""
        version, before = self.dead.get(envelope.subject, (0, None))
        after = evolve_dead(before, envelope)
        if after is not None and after is not before:
            self.dead[envelope.subject] = version + 1, after
            place = (record.topic, record.partition or 0, record.offset)
            self._project(Change(replace(envelope, aggversion=version + 1), before, after, place))

    def _project(self, change: Change) -> None:
        for view in VIEWS.values():
            if change.key.kind in view.kinds:
                known = self.rows[view.name]
                for row in view.rows(change):
                    if row.id not in known or known[row.id].version <= row.version:
                        known[row.id] = row
                for ident in view.gone(change):
                    self.rows[view.name].pop(ident, None)


async def fold(log: Log, ends: Positions | None = None, told: Told = nobody) -> Folded:
    """gostack.events and gostack.dead: all, or what lies before these offsets."""
    folded = Folded()
    bounds = await log.bounds([Topic.EVENTS, Topic.DEAD])
    last = sum(end for _, end in bounds.values())
    total = last if ends is None else sum(ends.get(each, 0) for each in bounds)
    folded.behind = last - total
    taken = 0
    unreadable: dict[Key, str] = {}
    async for record in records(log, Topic.EVENTS, ends):
        taken += 1
        if taken % TELL == 0:
            await told(taken, total)
        try:
            folded.take(record, from_record(record))
        except UnknownMessage as error:
            unreadable[Key("dead", named_id("dead", record.place))] = str(error)
    # To its very end: an event is laid aside before the read models are past it, and may not be theirs yet.
    async for record in records(log, Topic.DEAD):
        if said := read_dead(record):
            unreadable.pop(said.subject, None)
            if ends is None or record.offset < ends.get(TopicPartition(record.topic, record.partition or 0), 0):
                folded.bury(record, said)
    folded.problems += unreadable.values()
    if ends is not None:
        folded.problems += await _gaps_ahead(log, ends, folded.versions)
    await told(total, total)
    return folded


async def _gaps_ahead(log: Log, begins: Positions, versions: Mapping[Key, int]) -> list[str]:
    """Gaps where the read models are not yet: the projector stops before one, and so never has it."""
    ahead: dict[Key, int] = {}
    gaps = []
    async for record in records(log, Topic.EVENTS, begins=begins):
        try:
            envelope = from_record(record)
        except UnknownMessage:
            continue
        key, version = envelope.subject, envelope.aggversion or 0
        known = ahead.get(key, versions.get(key, 0))
        if version > known + 1:
            gaps.append(_gap(record, envelope, known))
        ahead[key] = max(version, known)
    return gaps


def _gap(record: Record, envelope: Envelope, version: int) -> str:
    return f"{envelope.subject}: version {envelope.aggversion} follows {version} at {record.place}"


async def differences(folded: Folded, frozen: Frozen, most: int = MOST) -> list[str]:
    """Rows of the read models that are not what the log says; at most `most` are told."""
    problems: list[str] = []
    for name, rows in folded.rows.items():
        left = dict(rows)
        async for found in frozen.rows(name):
            wanted = left.pop(found.id, None)
            doc = _as_stored(wanted.doc) if wanted else None
            problems += _differing(f"{name} {found.id}", orjson.loads(found.doc), doc)
            if len(problems) >= most:
                return problems[:most]
        problems += [f"{name} {ident}: it is missing" for ident in list(left)[: most - len(problems)]]
        if len(problems) >= most:
            break
    return problems


def _as_stored(doc: dict[str, Any] | None) -> dict[str, Any] | None:
    found: dict[str, Any] | None = orjson.loads(orjson.dumps(doc))
    return found


def _differing(name: str, told: dict[str, Any], wanted: dict[str, Any] | None) -> list[str]:
    if wanted is None:
        return [f"{name}: it is there, and the log makes no such row"]
    return [
        f"{name}: {field} is {orjson.dumps(told.get(field)).decode()}, the log makes it "
        f"{orjson.dumps(wanted.get(field)).decode()}"
        for field in sorted({*told, *wanted})
        if told.get(field) != wanted.get(field)
    ]


async def compare(log: Log, store: Store, told: Told = nobody) -> tuple[Folded, list[str]]:
    """The fold, and where the read models are not what it makes; an empty list is the proof.

    It is exact while events go on coming: read models are taken as they are at one moment, and the log as far as they
    had it then.
    """
    async with store.frozen() as frozen:
        folded = await fold(log, frozen.positions, told)
        return folded, [*folded.problems, *await differences(folded, frozen)]
