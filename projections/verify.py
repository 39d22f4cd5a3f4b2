"""Fold the log from its beginning and compare: with the read models, and states with one another.

Why: claims, usage and rows are folds of the log, and this is the proof, for tests and for operators.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from domain.aggregates import AGGREGATES
from domain.errors import UnknownMessage
from domain.host.state import Host
from domain.instance.state import Instance, VmState
from domain.messages import Envelope, Event, Key, Record, Topic, from_record
from infra.log.log import Log
from projections.store import Store
from projections.view import Change
from projections.views import VIEWS

FETCH = 1000


@dataclass
class Folded:
    """Every aggregate as its events make it, and the rows that follow."""

    states: dict[Key, Any] = field(default_factory=dict)
    versions: dict[Key, int] = field(default_factory=dict)
    rows: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {name: {} for name in VIEWS})
    verdicts: dict[str, int] = field(default_factory=dict)
    """Command id -> how many different verdict events it has."""
    events: int = 0
    repeated: int = 0
    problems: list[str] = field(default_factory=list)

    def take(self, record: Record, envelope: Envelope) -> None:
        """Apply one event; one seen before is counted and left out."""
        key = envelope.subject
        before = after = None
        if envelope.aggversion is not None:
            version = self.versions.get(key, 0)
            if envelope.aggversion <= version:
                self.repeated += 1
                return
            if envelope.aggversion != version + 1:
                self.problems.append(f"{key}: version {envelope.aggversion} follows {version} at {record.place}")
            assert isinstance(envelope.data, Event)
            before = self.states.get(key)
            after = AGGREGATES[key.kind].evolve(before, envelope.data, key.id)
            self.states[key], self.versions[key] = after, envelope.aggversion
        self.events += 1
        if envelope.verdict:
            self.verdicts[envelope.causation] = self.verdicts.get(envelope.causation, 0) + 1
        change = Change(envelope, before, after, (record.topic, record.partition or 0, record.offset))
        for view in VIEWS.values():
            if key.kind in view.kinds:
                for row in view.rows(change):
                    self.rows[view.name][row.id] = row.doc
                for ident in view.gone(change):
                    self.rows[view.name].pop(ident, None)


async def records(log: Log, topic: Topic) -> AsyncIterator[Record]:
    """Every record of a topic, up to the end that it has now."""
    bounds = await log.bounds([topic])
    left = {each: end for each, (first, end) in bounds.items() if end > first}
    if not left:
        return
    reader = await log.reader({each: bounds[each][0] for each in left})
    try:
        reached = {each: bounds[each][0] for each in left}
        while any(reached[each] < end for each, end in left.items()):
            for record in await reader.fetch(FETCH, 1.0):
                partition = next(each for each in left if each == (record.topic, record.partition))
                reached[partition] = record.offset + 1
                if record.offset < left[partition]:
                    yield record
    finally:
        await reader.close()


async def fold(log: Log) -> Folded:
    """All of gostack.events."""
    folded = Folded()
    async for record in records(log, Topic.EVENTS):
        try:
            folded.take(record, from_record(record))
        except UnknownMessage as error:
            folded.problems.append(str(error))
    return folded


def claims_problems(folded: Folded) -> list[str]:
    """Claims on each host must be the instances there, once each."""
    problems = []
    instances = {key.id: state for key, state in folded.states.items() if isinstance(state, Instance)}
    holders: dict[str, list[str]] = {}
    for state in folded.states.values():
        if isinstance(state, Host):
            for instance_id in state.claims:
                holders.setdefault(instance_id, []).append(state.id)
    for instance_id, hosts in holders.items():
        instance = instances.get(instance_id)
        if len(hosts) > 1:
            problems.append(f"instance {instance_id} holds claims on {len(hosts)} hosts")
        if instance is None or (instance.task is None and instance.host is None):
            problems.append(f"host {hosts[0]} holds a claim for instance {instance_id}, which is not there")
    for instance in instances.values():
        if instance.task is None and instance.host and holders.get(instance.id) != [instance.host.id]:
            problems.append(f"instance {instance.id} is on host {instance.host.name} without a claim")
        if instance.vm_state is VmState.DELETED and instance.host:
            problems.append(f"instance {instance.id} is deleted and still has a host")
    return problems


async def differences(folded: Folded, store: Store, most: int = 20) -> list[str]:
    """Rows of the read models that are not what the log says; at most `most` are told."""
    problems = []
    for name, rows in folded.rows.items():
        count = await store.count(name)
        if count != len(rows):
            problems.append(f"{name}: {count} rows, the log makes {len(rows)}")
        for ident, doc in rows.items():
            found = await store.get(name, ident)
            told = orjson.loads(found.doc) if found else None
            if told != orjson.loads(orjson.dumps(doc)):
                problems.append(f"{name} {ident}: {told} instead of {doc}")
                if len(problems) >= most:
                    return problems
    return problems


async def verify(log: Log, store: Store) -> tuple[Folded, list[str]]:
    """The fold, and everything that is not as it must be; an empty list is the proof."""
    folded = await fold(log)
    problems = [*folded.problems, *claims_problems(folded)]
    problems += [f"command {ident} has {count} verdicts" for ident, count in folded.verdicts.items() if count > 1]
    problems += await differences(folded, store)
    return folded, problems
