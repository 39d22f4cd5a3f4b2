"""The one step of the write path, used by engine and scheduler alike.

Take a batch from the log; in ONE transaction move the positions, skip what was done before, load the aggregates, decide
and evolve record by record, store the states and the outgoing records; then publish these and forget them.

What follows: a crash anywhere repeats a batch or a publication and never loses one; a worker that was overtaken moves
no position, drops those records and begins anew; ids are derived from causes, so what is repeated is recognised.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import Any

from commands.rules import CachedAggregate, Rules, States, restored
from commands.startup_guard import refuse_lost_database
from commands.step_batch import StepBatch
from commands.verdict import already_message, refused_job, reply_of, task_of, verdict_labels, verdict_of
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
from infra.db.outbox import pack
from infra.db.write_store import AggregateWrite, Conflict, Move, WriteStore
from infra.log.behind import must_reach
from infra.log.gaps import Gaps
from infra.log.lag import Lags, export_lags, lags
from infra.log.log import Log, TopicPartition
from infra.log.topics import partition_of
from infra.process import failpoints, log_context, metrics, traces
from infra.process.error_text import named, text_of

logger = logging.getLogger(__name__)

CACHE = 8_000
"""Aggregates whose state is kept in memory between steps."""
LARGE = 16 << 10
"""Bytes from which on a state is no longer stored whole at each step."""
BYTES_A_TAIL = 512
LONGEST_TAIL = 2000
"""A large state is stored whole again after its bytes / 512 versions, at most 2,000: writing it costs as much as the
events since did, and loading it folds no more than those."""
PARKED = "parked"
"""Part of the id of the event that parks an aggregate, beside the id of the record that could not be applied."""
CONFLICTS = 3
"""Times that a batch is decided anew because another writer was quicker."""


class Processor:
    """Takes records from the log, has the rules decide on them, stores the states and publishes what follows."""

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
        """Aggregates that were parked at the last look. Each step looks again, since a person may release them."""
        self._positions: dict[TopicPartition, int] = {}
        self._preloaded = False
        self.name = rules.source.rpartition("/")[2]
        self._step_seconds = metrics.STEP_SECONDS.labels(self.name)
        self._step_records = metrics.STEP_RECORDS.labels(self.name)

    async def assigned(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Take over these partitions; return the offset from which each is to be read.

        Publishes what an earlier owner could not, and forgets all aggregates in memory, since another worker may have
        changed them. Raises DatabaseLost, LogBehind, LogUnavailable, WriteStoreUnavailable.
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
        """Measure how many records wait, and how long, as no step can. Raises LogUnavailable."""
        return export_lags(self.name, await lags(self._log, dict(self._positions), self._clock(), self.topics))

    async def step(self, records: Sequence[Record]) -> int:
        """Process these records, which must follow one another in each partition; return how many were new.

        Raises WriteStoreUnavailable, LogUnavailable, GapInLog, Overtaken: then the process has to end, and start again
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
            logger.error("the record cannot be read, and is laid aside as dead: %s", envelope)
            batch.outbox.append(dead_record(record, text_of(envelope)))
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
        task = task_of(envelope)

        def entry(key: Key) -> CachedAggregate:
            if key in staged:
                return staged[key][1]
            return batch.touched[key][1] if key in batch.touched else self._cached(key)

        try:
            outcome = span.run(self._decide, batch, envelope, lambda key: entry(key).state)
            sent: list[Record] = []
            wants_verdict = isinstance(envelope.data, Command) and reply_of(envelope) is None
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
                verdict = verdict_of(event) if wants_verdict else None
                sent.append(self._event(envelope, key, event, number, None, verdict, task))
            sent += [
                self._message(batch.sending(envelope, each).on(each.behalf), each, number)
                for number, each in enumerate(outcome.outgoing)
            ]
        except Exception as error:
            span.fail(self._park(batch, record, envelope, error, task))
            return
        for key, (_, after) in staged.items():
            self._rules.changed(key, after.state)
        batch.touched |= staged
        batch.outbox += sent
        logger.debug("decided: %s events, %s messages", len(outcome.events), len(outcome.outgoing))
        if wants_verdict:
            batch.verdicts[verdict_labels(envelope, outcome)] += 1
        for key, record in grown:
            batch.events.setdefault(key, []).append(record)

    def _park(self, batch: StepBatch, record: Record, envelope: Envelope, error: Exception, task: str) -> str:
        """Park the aggregate that a record could not be applied to, and lay the record aside as dead; return why."""
        why = named(error)[:1000]
        logger.exception("parked %s: %s could not be applied", envelope.subject, record.place)
        if envelope.subject.kind in AGGREGATES:
            # A cell is none: what cannot be placed must not stop all other placements.
            batch.parked[envelope.subject] = why
            parked = AggregateParked(why=why, place=record.place)
            batch.outbox.append(self._event(envelope, envelope.subject, parked, PARKED, None, None, task))
        batch.outbox.append(dead_record(record, why))
        batch.dead += 1
        if isinstance(envelope.data, Command) and reply_of(envelope) is None:
            batch.verdicts[envelope.data.type_name, "refused", Parked.code] += 1
        batch.outbox += self._refused(
            envelope, Parked(kind=envelope.subject.kind.capitalize(), id=envelope.subject.id, why=why)
        )
        return why

    def _release(self, batch: StepBatch, envelope: Envelope) -> None:
        key = envelope.subject
        event: Event
        if why := batch.why_parked(key):
            batch.parked.pop(key, None)
            batch.released.add(key)
            event = AggregateReleased(why=why)
        else:
            event = CommandSatisfied(command=envelope.data.type_name, message=f"{key.kind} {key.id} is not parked")
        batch.outbox.append(self._event(envelope, key, event, 0, None, verdict_of(event), ""))

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
            return Outcome(notices=self._refusal_notice(envelope, refusal), outgoing=refused_job(envelope, refusal))
        if isinstance(envelope.data, Command) and reply_of(envelope) is None and not outcome.events:
            message = already_message(envelope.data, subject, states(subject))
            satisfied = CommandSatisfied(command=envelope.data.type_name, message=message)
            outcome.notices.append((subject, satisfied))
        return outcome

    def _refusal_notice(self, envelope: Envelope, refusal: Refusal) -> list[tuple[Key, Event]]:
        if reply_of(envelope) is not None:
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
            self._event(envelope, key, event, number, None, "refused", task_of(envelope))
            for number, (key, event) in enumerate(self._refusal_notice(envelope, refusal))
        ]
        return notices + [
            self._message(envelope, each, number) for number, each in enumerate(refused_job(envelope, refusal))
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


class Overtaken(Exception):
    """Another worker moved a position: that worker owns the partition now, or did until this one took over while it was
    at work. Only a start from the positions tells; what could be done of the batch is done."""


class GapInLog(Exception):
    """Records are missing between a position and what the log delivered."""
