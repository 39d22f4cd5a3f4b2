"""Runs the jobs of one host: for one subject in order, for different ones side by side, each at most once.

Work beside is in order for its task alone, and has slots of its own: neither does it wait for other work of its
subject, nor does that wait for it.

A dispatch of an older epoch is not run: a host that was fenced and comes back does nothing stale. Nor is one from
before all that the journal knows, which may have been done and forgotten. A job that succeeded before is answered from
the journal; handlers are safe to run twice, so one that was cut off runs again.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import datetime

from agent.drivers.driver import Driver
from agent.drivers.traced import traced
from agent.jobs import Context, Outside
from agent.runner.attempt import Attempt, failed
from agent.runner.journal import Journal
from agent.runner.sender import RecordSender
from domain.core.messages import (
    Envelope,
    Key,
    Message,
    Record,
    Topic,
    derived_id,
    to_record,
)
from domain.guest_spec import Power
from domain.host.reports import GuestObserved
from domain.jobs.disk import DeleteDisk
from domain.jobs.guest import PowerSeen
from domain.jobs.pool import PoolOnHost, PoolSeen, differs
from domain.tasks.messages import DispatchHostJobs, JobCall, JobResult, JobsAnswered
from infra.process import failpoints, log_context, metrics, traces

logger = logging.getLogger(__name__)

Line = tuple[str, str]
"""A queue of dispatches that run one after the other: a subject, as KIND/ID, and the task where it is work beside; else
empty."""


@dataclass(frozen=True)
class HostIdentity:
    """A host's id, name, epoch and job partition, as registered."""

    id: str
    name: str
    epoch: int
    partition: int


@dataclass(eq=False)
class HeldDispatch:
    """A dispatch that runs or waits."""

    envelope: Envelope
    dispatch: DispatchHostJobs
    again: bool
    """Whether an earlier process had the dispatch, and may have been in the middle of the first job that is not
    done."""
    begun: bool = False
    aborted: bool = False
    answered: bool = False
    attempt: Attempt | None = field(default=None, repr=False)
    """The attempt that runs now, or None."""


class HostRunner:
    """Runs the dispatches of one host, and reports what its guests do."""

    def __init__(
        self,
        host: HostIdentity,
        driver: Driver,
        journal: Journal,
        sender: RecordSender,
        outside: Outside,
        clock: Callable[[], datetime],
        parallel: int,
        held: asyncio.Semaphore,
    ) -> None:
        """Make the runner of a host. `held` has room for the dispatches that the process may have unfinished, over all
        its hosts."""
        self.host = host
        self.driver = driver
        self._journal = journal
        self._sender = sender
        self._context = Context(driver=traced(driver), **vars(outside))
        self._clock = clock
        self._slots = asyncio.Semaphore(parallel)
        self._slots_beside = asyncio.Semaphore(max(1, parallel // 2))
        self._queues: dict[Line, list[HeldDispatch]] = {}
        self._held_by_id: dict[str, HeldDispatch] = {}
        self._dispatch_counts: Counter[str] = Counter()
        """Number of dispatches so far, by subject."""
        self._unsent_powers: dict[str, Power] = {}
        self._reported_pools: dict[str, PoolOnHost] = {}
        """Powers of guests that were observed and are not on the log yet."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._held = held

    async def accept(self, envelope: Envelope, aborted: bool = False, again: bool = False) -> None:
        """Queue a dispatch behind those of its subject, or answer at once that it is aborted; waits for room.

        `again`: a process before this one had the dispatch.
        """
        await self._held.acquire()
        dispatch = envelope.data
        assert isinstance(dispatch, DispatchHostJobs)
        metrics.DISPATCHES.inc()
        held = HeldDispatch(envelope, dispatch, again)
        self._held_by_id[dispatch.dispatch_id] = held
        if not dispatch.beside:
            self._dispatch_counts[dispatch.subject] += 1
        line = dispatch.subject, dispatch.task_id if dispatch.beside else ""
        queue = self._queues.setdefault(line, [])
        queue.append(held)
        if len(queue) == 1:
            self._begin(self._work(line))
        if aborted:
            self.abort(dispatch.dispatch_id)

    def abort(self, dispatch_id: str) -> None:
        """Stop a dispatch.

        One that waits is answered at once. Of one that runs, the job under way is the last, and is stopped if its class
        allows that. A dispatch that is not here has ended, or has not come: nothing is done.
        """
        held = self._held_by_id.get(dispatch_id)
        if held is None or held.aborted:
            return
        held.aborted = True
        if held.attempt is not None:
            held.attempt.abort()
        elif not held.begun:
            self._begin(self._dispatch(held))

    def busy(self, instance_id: str) -> bool:
        """Say whether jobs of this instance run or wait, other than work beside."""
        return (_subject(instance_id), "") in self._queues

    def unanswered(self) -> list[Envelope]:
        """Return the dispatches that run or wait."""
        return [held.envelope for held in self._held_by_id.values() if not held.answered]

    def dispatch_count(self, instance_id: str) -> int:
        """Return how many dispatches for this instance there were so far, without work beside."""
        return self._dispatch_counts[_subject(instance_id)]

    @property
    def idle(self) -> bool:
        """Say whether no job runs or waits."""
        return not self._queues

    async def observe(self, instance_id: str, power: Power, dispatches_before: int) -> None:
        """Report the power that the hypervisor showed of a guest, if it is new and no job caused it.

        `dispatches_before`: the dispatch_count() from before the hypervisor was asked.
        """
        last = self.reported_power(instance_id)
        worked_on = self.busy(instance_id) or self.dispatch_count(instance_id) != dispatches_before
        if worked_on or last in (None, power):
            return
        self._unsent_powers[instance_id] = power
        await self._sender.put(self._observed(instance_id, power), lambda: self._observation_sent(instance_id, power))

    def _observed(self, instance_id: str, power: Power) -> Record:
        now = self._clock()
        envelope = Envelope(
            id=derived_id(self.host.id, instance_id, power, now.isoformat()),
            data=GuestObserved(host_id=self.host.id, epoch=self.host.epoch, power=power),
            subject=Key("instance", instance_id),
            time=now,
            source=f"gostack/agent/{self.host.name}",
            correlation=instance_id,
        )
        return to_record(envelope, Topic.RESULTS)

    def _observation_sent(self, instance_id: str, power: Power) -> None:
        """Note a reported power once the log has it. Noted before, it would never be reported if the process ended in
        between."""
        if self._unsent_powers.get(instance_id) is power:
            del self._unsent_powers[instance_id]
            self._journal.record_power(self.host.id, instance_id, power)

    async def report_pool(self, found: PoolOnHost) -> None:
        """Report what the host finds of a pool, where that is new since the process began."""
        last = self._reported_pools.get(found.id)
        if last is not None and not differs(last, found):
            return
        self._reported_pools[found.id] = found
        now = self._clock()
        seen = PoolSeen(host_id=self.host.id, **found.model_dump(exclude={"id"}))
        report_id = derived_id(self.host.id, found.id, now.isoformat())
        envelope = Envelope(
            id=report_id,
            data=seen,
            subject=Key("pool", found.id),
            time=now,
            source=f"gostack/agent/{self.host.name}",
            correlation=report_id,
        )
        await self._sender.put(to_record(envelope, Topic.RESULTS))

    def reported_guests(self) -> dict[str, Power]:
        """Return every guest of this host with its last reported power."""
        return self._journal.guests(self.host.id) | self._unsent_powers

    def reported_power(self, instance_id: str) -> Power | None:
        """Return the last reported power of this guest, or None where it is no guest of this host."""
        return self._unsent_powers.get(instance_id) or self._journal.guest(self.host.id, instance_id)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, line: Line) -> None:
        queue = self._queues[line]
        _, beside = line
        slots = self._slots_beside if beside else self._slots
        while queue:
            held = queue[0]
            try:
                async with slots:
                    await self._dispatch(held)
            finally:
                queue.pop(0)
                self._held_by_id.pop(held.dispatch.dispatch_id, None)
                metrics.DISPATCHES.dec()
                self._held.release()
                if not queue:
                    del self._queues[line]

    async def _dispatch(self, held: HeldDispatch) -> None:
        """Run a dispatch's jobs and answer, unless that was done already: an abort overtakes its queue."""
        if held.begun:
            return
        held.begun = True
        envelope = held.envelope
        try:
            span = traces.handling("run", envelope)
            with log_context.handling(envelope), traces.current(span, end=True):
                await self._answer(held, traces.under(envelope, span))
        except Exception:
            # It stays pending: the next process takes it up again, and until then there is its deadline.
            with log_context.handling(envelope):
                logger.exception("a dispatch was not answered")
        held.answered = True

    async def _results(self, held: HeldDispatch, envelope: Envelope) -> list[JobResult]:
        """Return the results of the jobs, up to the first that failed or was not done."""
        results: list[JobResult] = []
        for call in held.dispatch.jobs:
            # What was done before the epoch changed is said, or nobody would know what there is to undo.
            result = self._journal.done(call.job_id) or self._refused(held, call)
            if result is None:
                result = await self._timed(held, envelope, call)
                held.again = False
            results.append(result)
            if result.error is not None:
                break
        return results

    async def _answer(self, held: HeldDispatch, envelope: Envelope) -> None:
        dispatch = held.dispatch
        results = await self._results(held, envelope)
        answer = JobsAnswered(
            task_id=dispatch.task_id,
            dispatch_id=dispatch.dispatch_id,
            host_id=self.host.id,
            epoch=self.host.epoch,
            results=tuple(results),
        )
        failpoints.point("agent-answering")
        sending = traces.begin(f"send {traces.short(answer.type_name)}", traces.PRODUCER)

        def sent() -> None:
            sending.end()
            self._sent(dispatch.dispatch_id)

        said = [self._about(traces.under(envelope, sending), answer, "answer")]
        power = None if dispatch.guest is None or dispatch.beside else self.reported_power(dispatch.guest.id)
        if power is not None and not any(isinstance(fact, PowerSeen) for each in results for fact in each.facts):
            # A report about an instance with a task is ignored: the last one may have come after the task began.
            said.append(self._observed(dispatch.key.id, power))
        for record in said[:-1]:
            await self._sender.put(record)
        await self._sender.put(said[-1], sent)

    def _refused(self, held: HeldDispatch, call: JobCall) -> JobResult | None:
        """Return the result of a job that must not begin, or None.

        An aborted job did not run, unless a process that ended may have been in the middle of it; whether the others
        ran is not known.
        """
        name, sent = self.host.name, held.envelope.time
        if held.dispatch.epoch < self.host.epoch:
            message = f"Host {name} was registered anew, in epoch {self.host.epoch}."
            return failed(call, "stale-epoch", message, details={"epoch": self.host.epoch})
        if self._journal.may_have_forgotten(sent):
            # What was done so long ago is forgotten, so doing it now could be doing it twice.
            message = f"The job was sent at {sent.isoformat()}; host {name} no longer knows which jobs it did then."
            return failed(call, "job-too-old", message, details={"sent": sent.isoformat()})
        if held.aborted:
            return failed(call, "aborted", f"{call.name} was not begun: it was aborted.", ran=held.again)
        return None

    def _sent(self, dispatch_id: str) -> None:
        failpoints.point("agent-answered")
        self._journal.answered([dispatch_id])

    async def _timed(self, held: HeldDispatch, envelope: Envelope, call: JobCall) -> JobResult:
        began = time.monotonic()
        with (
            log_context.bound(job=call.name, job_id=call.job_id),
            traces.span(f"job {call.name}", about={"gostack.job_id": call.job_id}) as span,
        ):
            result = await self._job(held, envelope, call)
            code = result.error.code if result.error else "done"
            if result.error:
                span.fail(f"{code}: {result.error.message}")
            seconds = time.monotonic() - began
            logger.debug("%s: %s in %.3f s", call.name, code, seconds)
        metrics.JOB_SECONDS.labels(call.name, code).observe(seconds)
        return result

    async def _job(self, held: HeldDispatch, envelope: Envelope, call: JobCall) -> JobResult:
        dispatch = held.dispatch

        def say(message: Message, name: str) -> None:
            # Who waits can do without it; the log may be away.
            self._sender.offer(self._about(envelope, message, name))

        held.attempt = Attempt(dispatch, call, self._context, say, self._clock)
        try:
            result = await held.attempt.run()
        finally:
            held.attempt = None
        if result.error is not None:
            if held.aborted:
                failpoints.point("abort-stopped")
            return result
        failpoints.point("agent-acted")
        self._journal.finish(result, envelope.time)
        failpoints.point("agent-noted")
        for fact in result.facts:
            if isinstance(fact, PowerSeen):
                self._unsent_powers.pop(dispatch.key.id, None)
                self._journal.record_power(self.host.id, dispatch.key.id, fact.power, self.host.epoch)
        if call.name == DeleteDisk.__name__:
            self._unsent_powers.pop(dispatch.key.id, None)
            self._journal.forget(self.host.id, dispatch.key.id)
            self._dispatch_counts.pop(dispatch.subject, None)
        return result

    def _about(self, cause: Envelope, data: Message, name: str) -> Record:
        assert isinstance(cause.data, DispatchHostJobs)
        envelope = replace(
            cause,
            id=derived_id(cause.data.dispatch_id, name),
            data=data,
            time=self._clock(),
            source=f"gostack/agent/{self.host.name}",
            causation=cause.id,
            cause_place="",
        )
        return to_record(envelope, Topic.RESULTS)


def _subject(instance_id: str) -> str:
    return str(Key("instance", instance_id))
