"""The one step of the write path, used by engine and scheduler alike.

Take a batch from the log; in ONE transaction move the positions, skip what was done before, load the aggregates,
decide and evolve record by record, store the states and the outgoing records; then publish these and forget them.

What follows: a crash anywhere repeats a batch or a publication and never loses one; a worker that was overtaken moves
no position, drops those records and begins anew; ids are derived from causes, so what is repeated is recognised.
"""

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from opentelemetry.trace import SpanKind

from commands.startup_guard import refuse_lost_database
from domain.aggregates import AGGREGATES
from domain.core.errors import GoStackError, Parked, Refusal, VersionConflict
from domain.core.messages import (
    Command,
    Envelope,
    Event,
    Key,
    Outcome,
    Outgoing,
    Record,
    Topic,
    derived_id,
    from_record,
    to_record,
)
from domain.dead import dead_record
from domain.parking import AggregateParked, AggregateReleased, ReleaseAggregate
from domain.tasks.events import CommandRefused, CommandSatisfied, TaskEvent
from domain.tasks.messages import JobError, JobResult, JobsAnswered, Reply
from infra.db.outbox import pack, unpack
from infra.db.write_store import AggregateWrite, Conflict, Move, Opened, StoredAggregate, WriteStore
from infra.log.behind import must_reach
from infra.log.gaps import Gaps
from infra.log.lag import Lags, export_lags, lags
from infra.log.log import Log, TopicPartition
from infra.log.topics import partition_of
from infra.process import failpoints, log_context, metrics, traces

logger = logging.getLogger(__name__)

CACHE = 8_000
"""Aggregates whose state is kept in memory between steps."""
LARGE = 16 << 10
"""Bytes of a state from which on it is not stored whole at each step."""
BYTES_A_TAIL = 512
LONGEST_TAIL = 2000
"""A large state is stored whole again after its bytes / 512 versions, at most 2,000: writing it costs as much as those
tails did, and loading it folds no more than that."""
PARKED = "parked"
"""Names, within the record that could not be applied, the event that says so."""
CONFLICTS = 3
"""Times a batch is decided anew because another writer was quicker."""


States = Callable[[Key], Any]
"""An aggregate's state in this step, or None."""


class Rules(Protocol):
    """The domain as a processor sees it."""

    source: str
    preload: tuple[str, ...]
    """Kinds of which every aggregate is in memory."""

    def keys(self, envelope: Envelope) -> Sequence[Key]:
        """The aggregates that deciding on this record needs."""

    def decide(self, envelope: Envelope, states: States) -> Outcome:
        """What follows from the record; raises a Refusal."""

    def evolve(self, key: Key, state: Any, event: Event) -> Any:
        """The state after the event."""

    def load(self, key: Key, state: bytes) -> Any:
        """A stored state."""

    def dump(self, state: Any) -> bytes:
        """A state as it is stored."""

    def due(self, state: Any) -> tuple[datetime | None, str]:
        """When something must have happened, and what."""

    def stream(self, state: Any) -> str:
        """Of what is preloaded: the key of the records that lead to it, so that whoever has these has it."""

    def changed(self, key: Key, state: Any) -> None:
        """This is the state now, for what is derived from it."""

    def forget(self) -> None:
        """Nothing derived holds any more; every state will be told again."""


@dataclass(slots=True)
class CachedAggregate:
    """An aggregate in memory."""

    version: int
    state: Any
    size: int = 0
    """Bytes of the state as it was last stored whole."""
    tail: int = 0
    """Versions since then."""


@dataclass(slots=True)
class StepBatch:
    """A step in the making."""

    opened: Opened
    touched: dict[Key, tuple[int, CachedAggregate]] = field(default_factory=dict)
    """Key -> version before this step, and the aggregate now."""
    events: dict[Key, list[Record]] = field(default_factory=dict)
    """Of the aggregates that are large."""
    outbox: list[Record] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    parked: dict[Key, str] = field(default_factory=dict)
    released: set[Key] = field(default_factory=set)
    spans: list[traces.Span] = field(default_factory=list)
    """Of what is traced; they end when all that follows is on the log."""
    verdicts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """How many of each command, verdict and code."""
    dead: int = 0

    def why_parked(self, key: Key) -> str:
        """Why it takes no commands; empty where it does."""
        before = "" if key in self.released else self.opened.parked.get(key, "")
        return self.parked.get(key) or before

    def begin(self, verb: str, envelope: Envelope, place: str, kind: SpanKind = traces.CONSUMER) -> traces.Span:
        """A span of this step; none where the envelope's trace is not followed."""
        span = traces.handling(verb, envelope, place, kind)
        if span:
            self.spans.append(span)
        return span

    def sending(self, cause: Envelope, message: Outgoing) -> Envelope:
        """The cause of a message that is sent, as the message is to know it: with a span of its own if it is traced."""
        if not traces.followed(cause.traceparent):
            return cause
        about = replace(cause, data=message.data, subject=message.subject)
        return traces.under(cause, self.begin("send", about, message.topic, traces.PRODUCER))


class Processor:
    """Runs the step."""

    def __init__(
        self, rules: Rules, write_store: WriteStore, log: Log, topics: Sequence[Topic], clock: Callable[[], datetime]
    ) -> None:
        self.topics = tuple(topics)
        self._rules = rules
        self._write_store = write_store
        self._log = log
        self._clock = clock
        self._cache: OrderedDict[Key, CachedAggregate] = OrderedDict()
        self._pinned: dict[Key, CachedAggregate] = {}
        self._parked: set[Key] = set()
        """Parked when last asked: asked about each time, since a person may release them."""
        self._positions: dict[TopicPartition, int] = {}
        self._preloaded = False
        self.name = rules.source.rpartition("/")[2]
        self._step_seconds = metrics.STEP_SECONDS.labels(self.name)
        self._step_records = metrics.STEP_RECORDS.labels(self.name)

    async def assigned(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """These partitions are this worker's from now on. Sends what an earlier owner could not, and says where to
        read from; what was remembered of aggregates is forgotten, since another may have changed them.

        Raises DatabaseLost, LogBehind, LogUnavailable, WriteStoreUnavailable.
        """
        self._forget()
        await refuse_lost_database(self._log, self._write_store, self._rules.source)
        # In this order: whatever an earlier owner commits after this leaves a position that is not here, and what it
        # committed before is in the outbox. Nothing of its can come on the log after what follows from it.
        positions = await self._write_store.positions(partitions)
        for number, records in await self._write_store.unsent():
            await self._log.publish(records)
            failpoints.point("assigned-published")
            await self._write_store.sent([number])
        # Read last: what an earlier owner took was on the log before.
        await must_reach(self._log, positions)
        self._positions = positions
        metrics.ASSIGNED.labels(self.name).set(len(self._positions))
        metrics.ASSIGNMENTS.labels(self.name).inc()
        return dict(self._positions)

    async def look(self) -> Lags:
        """Measure what no step tells: what waits. Raises LogUnavailable."""
        return export_lags(self.name, await lags(self._log, dict(self._positions), self._clock(), self.topics))

    async def step(self, records: Sequence[Record]) -> int:
        """Process these records, which follow one another in each partition; how many were new.

        Raises WriteStoreUnavailable, LogUnavailable, GapInLog, Overtaken: then the process is to end, and start again
        from the positions.
        """
        for attempt in range(1, CONFLICTS + 1):
            try:
                return await self._step(records)
            except Conflict:
                self._forget()
                if attempt == CONFLICTS:
                    raise
            except BaseException:
                self._forget()
                raise
        raise AssertionError("unreachable")

    async def _step(self, records: Sequence[Record]) -> int:
        fresh, moves = await self._fresh(records)
        if not moves:
            return 0
        failpoints.point("step-fetched")
        began = time.monotonic()
        await self._preload()
        read = [self._read(record) for record in fresh]
        envelopes = {record.place: found for record, found in zip(fresh, read, strict=True)}
        async with self._write_store.step() as step:
            keys = {key for found in read if isinstance(found, Envelope) for key in self._rules.keys(found)}
            missing = [key for key in keys if key not in self._cache and key not in self._pinned]
            ids = [found.id for found in read if isinstance(found, Envelope)]
            queried = {*missing, *self._perhaps_parked(read)}
            opened = await step.open(moves, ids, list(queried))
            failpoints.point("step-moved")
            self._parked = (self._parked - queried) | opened.parked.keys()
            for key in missing:
                row = opened.rows.get(key)
                self._remember(key, restored(self._rules, key, row) if row else CachedAggregate(0, None))
            batch = StepBatch(opened)
            for record in fresh:
                if TopicPartition(record.topic, record.partition or 0) in opened.moved:
                    found = envelopes[record.place]
                    with log_context.handling(found if isinstance(found, Envelope) else None, record.place):
                        self._apply(batch, record, found)
            changes = [self._change(batch, key, before, entry) for key, (before, entry) in batch.touched.items()]
            number = await step.close(
                changes, batch.done, batch.outbox, list(batch.parked.items()), list(batch.released)
            )
            failpoints.point("step-stored")
        failpoints.point("step-committed")
        self._parked = (self._parked - batch.released) | batch.parked.keys()
        for move in moves:
            if move.partition in opened.moved:
                self._positions[move.partition] = move.end
        while len(self._cache) > CACHE:
            self._cache.popitem(last=False)
        self._count(batch)
        if number:
            for part in failpoints.halves("step-half-published", batch.outbox):
                await self._log.publish(part)
            failpoints.point("step-published")
            await self._write_store.sent([number])
            failpoints.point("step-done")
        for span in batch.spans:
            span.end()
        if overtaken := [move.partition for move in moves if move.partition not in opened.moved]:
            raise Overtaken(f"another worker moved the positions of {', '.join(map(str, overtaken))}")
        self._step_seconds.observe(time.monotonic() - began)
        self._step_records.observe(len(batch.done))
        return len(batch.done)

    def _count(self, batch: StepBatch) -> None:
        for labels, count in batch.verdicts.items():
            metrics.VERDICTS.labels(self.name, *labels).inc(count)
        if batch.dead:
            metrics.DEAD.labels(self.name).inc(batch.dead)

    async def _fresh(self, records: Sequence[Record]) -> tuple[list[Record], list[Move]]:
        ends: dict[TopicPartition, int] = {}
        fresh = []
        async with aclosing(Gaps(self._log)) as gaps:
            for record in records:
                partition = TopicPartition(record.topic, record.partition or 0)
                if partition not in self._positions:
                    continue
                expected = ends.get(partition, self._positions[partition])
                if record.offset < expected:
                    continue
                if record.offset > expected and not await gaps.is_gap(partition, expected, record.offset):
                    raise GapInLog(f"{record.place} came where offset {expected} was due")
                ends[partition] = record.offset + 1
                if not record.filler:
                    fresh.append(record)
        return fresh, [Move(each, self._positions[each], end) for each, end in ends.items()]

    def _perhaps_parked(self, read: Sequence[Envelope | GoStackError]) -> set[Key]:
        subjects = {found.subject for found in read if isinstance(found, Envelope)}
        return {key for key in subjects if key in self._parked or key not in self._cache}

    def _read(self, record: Record) -> Envelope | GoStackError:
        try:
            envelope = from_record(record)
        except GoStackError as error:
            return error
        return replace(envelope, time=max(envelope.time, self._clock()), cause_place=record.place)

    def _apply(self, batch: StepBatch, record: Record, envelope: Envelope | GoStackError) -> None:
        if isinstance(envelope, GoStackError):
            logger.error("dead record: %s", envelope)
            batch.outbox.append(dead_record(record, str(envelope)))
            batch.dead += 1
            return
        if envelope.id in batch.opened.seen or envelope.id in batch.done:
            return
        batch.done.append(envelope.id)
        span = batch.begin("decide", envelope, record.place)
        envelope = traces.under(envelope, span)
        if isinstance(envelope.data, ReleaseAggregate):
            self._release(batch, envelope)
            return
        staged: dict[Key, tuple[int, CachedAggregate]] = {}
        grown: list[tuple[Key, Record]] = []
        task = _task_of(envelope)

        def entry(key: Key) -> CachedAggregate:
            if key in staged:
                return staged[key][1]
            return batch.touched[key][1] if key in batch.touched else self._cached(key)

        try:
            outcome = span.run(self._decide, batch, envelope, lambda key: entry(key).state)
            sent: list[Record] = []
            wants_verdict = isinstance(envelope.data, Command) and _reply(envelope) is None
            for number, (key, event) in enumerate(outcome.events):
                now = entry(key)
                after = CachedAggregate(now.version + 1, self._rules.evolve(key, now.state, event), now.size, now.tail)
                before = batch.touched[key][0] if key in batch.touched else self._cached(key).version
                staged[key] = (staged[key][0] if key in staged else before, after)
                verdict = "accepted" if wants_verdict and number == 0 else None
                cause = envelope.on(outcome.behalf.get(number))
                if isinstance(event, TaskEvent):
                    # The answer that ends one task may begin the next.
                    task = event.task_id
                sent.append(self._event(cause, key, event, number, after.version, verdict, task))
                if after.size >= LARGE:
                    grown.append((key, sent[-1]))
            for number, (key, event) in enumerate(outcome.notices, len(outcome.events)):
                verdict = _verdict_of(event) if wants_verdict else None
                sent.append(self._event(envelope, key, event, number, None, verdict, task))
            sent += [
                self._message(batch.sending(envelope, each).on(each.behalf), each, number)
                for number, each in enumerate(outcome.outgoing)
            ]
        except Exception as error:
            why = f"{type(error).__name__}: {error}"[:1000]
            logger.exception("parked %s: %s could not be applied", envelope.subject, record.place)
            span.fail(why)
            if envelope.subject.kind in AGGREGATES:
                # A cell is none: what cannot be placed must not stop all other placements.
                batch.parked[envelope.subject] = why
                parked = AggregateParked(why=why, place=record.place)
                batch.outbox.append(self._event(envelope, envelope.subject, parked, PARKED, None, None, task))
            batch.outbox.append(dead_record(record, why))
            batch.dead += 1
            if isinstance(envelope.data, Command) and _reply(envelope) is None:
                batch.verdicts[envelope.data.type_name, "refused", Parked.code] += 1
            batch.outbox += self._refused(
                envelope, Parked(kind=envelope.subject.kind.capitalize(), id=envelope.subject.id, why=why)
            )
            return
        for key, (_, after) in staged.items():
            self._rules.changed(key, after.state)
        batch.touched |= staged
        batch.outbox += sent
        logger.debug("decided: %s events, %s messages", len(outcome.events), len(outcome.outgoing))
        if wants_verdict:
            batch.verdicts[_judged(envelope, outcome)] += 1
        for key, record in grown:
            batch.events.setdefault(key, []).append(record)

    def _release(self, batch: StepBatch, envelope: Envelope) -> None:
        key = envelope.subject
        event: Event
        if why := batch.why_parked(key):
            batch.parked.pop(key, None)
            batch.released.add(key)
            event = AggregateReleased(why=why)
        else:
            event = CommandSatisfied(command=envelope.data.type_name, message=f"{key.kind} {key.id} is not parked")
        batch.outbox.append(self._event(envelope, key, event, 0, None, _verdict_of(event), ""))

    def _decide(self, batch: StepBatch, envelope: Envelope, states: States) -> Outcome:
        subject = envelope.subject
        try:
            if isinstance(envelope.data, Command):
                if why := batch.why_parked(subject):
                    raise Parked(kind=subject.kind.capitalize(), id=subject.id, why=why)
                if envelope.if_match is not None:
                    version = batch.touched[subject][1].version if subject in batch.touched else 0
                    version = version or self._cached(subject).version
                    if version != envelope.if_match:
                        raise VersionConflict(
                            kind=subject.kind.capitalize(), id=subject.id, actual=version, expected=envelope.if_match
                        )
            outcome = self._rules.decide(envelope, states)
        except Refusal as refusal:
            return Outcome(notices=self._refusal_notice(envelope, refusal), outgoing=_refused_job(envelope, refusal))
        if isinstance(envelope.data, Command) and _reply(envelope) is None and not outcome.events:
            message = f"{subject.kind} {subject.id} is so already"
            satisfied = CommandSatisfied(command=envelope.data.type_name, message=message)
            outcome.notices.append((subject, satisfied))
        return outcome

    def _refusal_notice(self, envelope: Envelope, refusal: Refusal) -> list[tuple[Key, Event]]:
        if _reply(envelope) is not None:
            return []
        refused = CommandRefused(
            command=envelope.data.type_name,
            code=refusal.code,
            message=str(refusal),
            hint=refusal.hint,
            values={name: str(value) for name, value in refusal.values.items()},
        )
        return [(envelope.subject, refused)]

    def _refused(self, envelope: Envelope, refusal: Refusal) -> list[Record]:
        if not isinstance(envelope.data, Command):
            return []
        notices = [
            self._event(envelope, key, event, number, None, "refused", _task_of(envelope))
            for number, (key, event) in enumerate(self._refusal_notice(envelope, refusal))
        ]
        return notices + [
            self._message(envelope, each, number) for number, each in enumerate(_refused_job(envelope, refusal))
        ]

    def _event(
        self, cause: Envelope, key: Key, event: Event, number: int | str, version: int | None, verdict: Any, task: str
    ) -> Record:
        envelope = Envelope(
            id=derived_id(cause.id, number),
            data=event,
            subject=key,
            time=cause.time,
            source=self._rules.source,
            correlation=cause.correlation,
            causation=cause.id,
            actor=cause.actor,
            project=cause.project,
            reason=cause.reason,
            aggversion=version,
            verdict=verdict,
            fingerprint=cause.fingerprint if verdict else "",
            traceparent=cause.traceparent,
            cause_place=cause.cause_place,
            task="" if isinstance(event, TaskEvent) or task == cause.correlation else task,
        )
        return to_record(envelope, Topic.EVENTS)

    def _message(self, cause: Envelope, message: Outgoing, number: int) -> Record:
        envelope = Envelope(
            id=derived_id(cause.id, "out", number),
            data=message.data,
            subject=message.subject,
            time=cause.time,
            source=self._rules.source,
            correlation=cause.correlation,
            causation=cause.id,
            actor=cause.actor,
            project=cause.project,
            reason=cause.reason,
            traceparent=cause.traceparent,
            cause_place=cause.cause_place,
        )
        return to_record(envelope, message.topic, message.key, message.partition)

    def _change(self, batch: StepBatch, key: Key, before: int, entry: CachedAggregate) -> AggregateWrite:
        self._remember(key, entry)
        due_at, due_id = self._rules.due(entry.state)
        tail = entry.tail + entry.version - before
        if entry.size >= LARGE and tail <= min(entry.size // BYTES_A_TAIL, LONGEST_TAIL):
            entry.tail = tail
            return AggregateWrite(key, before, entry.version, b"", due_at, due_id, tail, pack(batch.events[key]))
        shed = entry.tail > 0
        state = self._rules.dump(entry.state)
        entry.size, entry.tail = len(state), 0
        return AggregateWrite(key, before, entry.version, state, due_at, due_id, shed=shed)

    async def _preload(self) -> None:
        if self._preloaded or not self._rules.preload:
            return
        count = await self._log.partitions(self.topics[0])
        mine = {each.partition for each in self._positions}
        for kind in self._rules.preload:
            for key, row in (await self._write_store.all(kind)).items():
                entry = restored(self._rules, key, row)
                if partition_of(self._rules.stream(entry.state).encode(), count) in mine:
                    self._remember(key, entry)
                    self._rules.changed(key, entry.state)
        self._preloaded = True

    def _cached(self, key: Key) -> CachedAggregate:
        found = self._pinned if key.kind in self._rules.preload else self._cache
        return found.get(key) or CachedAggregate(0, None)

    def _remember(self, key: Key, entry: CachedAggregate) -> None:
        if key.kind in self._rules.preload:
            self._pinned[key] = entry
            return
        self._cache[key] = entry
        self._cache.move_to_end(key)

    def _forget(self) -> None:
        self._cache.clear()
        self._pinned.clear()
        self._parked.clear()
        self._preloaded = False
        self._rules.forget()


def restored(rules: Rules, key: Key, row: StoredAggregate) -> CachedAggregate:
    """An aggregate as it is stored: its state, with the tail folded in."""
    state = rules.load(key, row.state)
    records = [record for packed in row.tail for record in unpack(packed)]
    for record in records:
        event = from_record(record).data
        assert isinstance(event, Event)
        state = rules.evolve(key, state, event)
    return CachedAggregate(row.version, state, len(row.state), len(records))


class Overtaken(Exception):
    """Another worker moved a position: it owns the partition now, or did until this one took over while it was at work.
    Only starting from the positions tells; what could be done of the batch is done."""


class GapInLog(Exception):
    """Records are missing between a position and what the log delivered."""


def _reply(envelope: Envelope) -> Reply | None:
    return getattr(envelope.data, "reply", None)


def _task_of(cause: Envelope) -> str:
    """The task that a record is of: the one that waits for its answer, the one that it speaks of, or the one that it
    becomes if it is accepted."""
    reply = _reply(cause)
    if reply is not None:
        return reply.task_id
    return getattr(cause.data, "task_id", "") or (cause.id if isinstance(cause.data, Command) else "")


def _verdict_of(event: Event) -> str | None:
    if isinstance(event, CommandRefused):
        return "refused"
    if isinstance(event, AggregateReleased):
        return "accepted"
    return "already" if isinstance(event, CommandSatisfied) else None


def _judged(envelope: Envelope, outcome: Outcome) -> tuple[str, str, str]:
    """A command, its verdict, and the code where it was refused."""
    for _, event in outcome.notices:
        if isinstance(event, CommandRefused):
            return envelope.data.type_name, "refused", event.code
    return envelope.data.type_name, "accepted" if outcome.events else "already", ""


def _refused_job(envelope: Envelope, refusal: Refusal) -> list[Outgoing]:
    reply = _reply(envelope)
    if reply is None:
        return []
    details = {
        name: value for name, value in refusal.values.items() if isinstance(value, (str, int, float, list, dict))
    }
    error = JobError(code=refusal.code, message=str(refusal), ran=False, details=details)
    result = JobResult(job_id=reply.job_id, name=envelope.data.type_name, error=error)
    answer = JobsAnswered(task_id=reply.task_id, dispatch_id=reply.dispatch_id, results=(result,))
    return [Outgoing(Topic.RESULTS, reply.key, answer)]
