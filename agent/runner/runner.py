"""Runs the jobs of one host: for one instance in order, for different ones side by side, each at most once.

Of a dispatch of an older epoch nothing is done: a host that was fenced and comes back does nothing stale. Nor of one
from before all that the journal knows, which may have been done and forgotten. A job that
succeeded before is answered from the journal; handlers are safe to run twice, so one that was cut off runs again.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime

from agent.drivers.driver import Driver, DriverError, Secrets
from agent.drivers.traced import traced
from agent.jobs import HANDLERS, Context
from agent.runner.journal import Journal
from agent.runner.sender import Sender
from domain.core.messages import (
    Envelope,
    Key,
    Message,
    Record,
    Topic,
    derived_id,
    to_record,
)
from domain.guest_spec import GuestSpec, Power
from domain.host.reports import GuestObserved
from domain.jobs.disk import DeleteDisk
from domain.jobs.guest import PowerSeen
from domain.tasks.job import JOBS
from domain.tasks.messages import DispatchHostJobs, JobCall, JobError, JobResult, JobsAnswered, JobStarted
from infra.process import failpoints, log_context, metrics, traces

logger = logging.getLogger(__name__)

SLOW_SECONDS = 1.0
"""A job that takes longer says that it has begun."""


@dataclass(frozen=True)
class HostIdentity:
    """Who this host is, as registered."""

    id: str
    name: str
    epoch: int
    partition: int


class HostRunner:
    """One host."""

    def __init__(
        self,
        host: HostIdentity,
        driver: Driver,
        journal: Journal,
        sender: Sender,
        secrets: Callable[[GuestSpec], Awaitable[Secrets]],
        clock: Callable[[], datetime],
        parallel: int,
        held: asyncio.Semaphore,
    ) -> None:
        """`held` has room for the dispatches that the process may have unfinished, over all its hosts."""
        self.host = host
        self.driver = driver
        self._journal = journal
        self._sender = sender
        self._context = Context(driver=traced(driver), secrets=secrets)
        self._clock = clock
        self._slots = asyncio.Semaphore(parallel)
        self._queues: dict[str, list[Envelope]] = {}
        self._given: Counter[str] = Counter()
        self._telling: dict[str, Power] = {}
        """What was seen of guests and is on its way to the log."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._held = held

    async def accept(self, envelope: Envelope) -> None:
        """Queue a dispatch behind what its instance has already; waits for room."""
        await self._held.acquire()
        assert isinstance(envelope.data, DispatchHostJobs)
        instance_id = envelope.data.key.id
        self._given[instance_id] += 1
        metrics.DISPATCHES.inc()
        queue = self._queues.get(instance_id)
        if queue is not None:
            queue.append(envelope)
            return
        self._queues[instance_id] = [envelope]
        task = asyncio.create_task(self._work(instance_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def busy(self, instance_id: str) -> bool:
        """Jobs of this instance run or wait."""
        return instance_id in self._queues

    def unanswered(self) -> list[Envelope]:
        """Dispatches that run or wait."""
        return [envelope for queue in self._queues.values() for envelope in queue]

    def given(self, instance_id: str) -> int:
        """How many dispatches for this instance there were so far."""
        return self._given[instance_id]

    @property
    def idle(self) -> bool:
        """No job runs or waits."""
        return not self._queues

    async def observe(self, instance_id: str, power: Power, given: int) -> None:
        """Report what the hypervisor says of a guest, if that is news and no job is the reason: `given` is what given()
        said before the hypervisor was asked."""
        known = self.known_guest(instance_id)
        worked_on = self.busy(instance_id) or self.given(instance_id) != given
        if worked_on or known in (None, power):
            return
        self._telling[instance_id] = power
        await self._sender.put(self._observed(instance_id, power), lambda: self._told(instance_id, power))

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

    def _told(self, instance_id: str, power: Power) -> None:
        """The log has it. Noted before, it would never be said by a process that ended in between."""
        if self._telling.get(instance_id) is power:
            del self._telling[instance_id]
            self._journal.saw(self.host.id, instance_id, power)

    def known_guests(self) -> dict[str, Power]:
        """Every guest of this host with what was last said of it."""
        return self._journal.guests(self.host.id) | self._telling

    def known_guest(self, instance_id: str) -> Power | None:
        """What was last said of this guest, if it is one of this host."""
        return self._telling.get(instance_id) or self._journal.guest(self.host.id, instance_id)

    async def _work(self, instance_id: str) -> None:
        queue = self._queues[instance_id]
        while queue:
            try:
                async with self._slots:
                    await self._dispatch(queue[0])
            except Exception:
                # It stays pending: the next process takes it up again, and until then there is its deadline.
                with log_context.handling(queue[0]):
                    logger.exception("a dispatch was not answered")
            finally:
                queue.pop(0)
                metrics.DISPATCHES.dec()
                self._held.release()
                if not queue:
                    del self._queues[instance_id]

    async def _dispatch(self, envelope: Envelope) -> None:
        span = traces.handling("run", envelope)
        with log_context.handling(envelope), traces.current(span, end=True):
            await self._answered(traces.under(envelope, span))

    async def _answered(self, envelope: Envelope) -> None:
        dispatch = envelope.data
        assert isinstance(dispatch, DispatchHostJobs)
        results: list[JobResult] = []
        stale = dispatch.epoch < self.host.epoch
        old = self._journal.may_have_forgotten(envelope.time)
        for call in dispatch.jobs:
            # What was done before the epoch changed is said, or nobody would know what there is to undo.
            result = self._journal.done(call.job_id)
            if result is None:
                if stale:
                    result = self._refused(call)
                elif old:
                    result = self._too_old(call, envelope.time)
                else:
                    result = await self._timed(envelope, dispatch, call)
            results.append(result)
            if result.error is not None:
                break
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

        said = [self._answer(traces.under(envelope, sending), answer, "answer")]
        power = self.known_guest(dispatch.key.id)
        if power is not None and not any(isinstance(fact, PowerSeen) for each in results for fact in each.facts):
            # While an instance is worked on nobody heeds it: what was said last may have come after the work began.
            said.append(self._observed(dispatch.key.id, power))
        for record in said[:-1]:
            await self._sender.put(record)
        await self._sender.put(said[-1], sent)

    def _refused(self, call: JobCall) -> JobResult:
        """It may have run nevertheless: a process that ended in the middle of it told nobody."""
        message = f"Host {self.host.name} was registered anew, in epoch {self.host.epoch}."
        error = JobError(code="stale-epoch", message=message, details={"epoch": self.host.epoch})
        return JobResult(job_id=call.job_id, name=call.name, error=error)

    def _too_old(self, call: JobCall, sent: datetime) -> JobResult:
        """It may have run: what was done so long ago is forgotten, so doing it now could be doing it twice."""
        message = f"The job is of {sent.isoformat()}; what host {self.host.name} did then it does not know any more."
        error = JobError(code="job-too-old", message=message, details={"sent": sent.isoformat()})
        return JobResult(job_id=call.job_id, name=call.name, error=error)

    def _sent(self, dispatch_id: str) -> None:
        failpoints.point("agent-answered")
        self._journal.answered([dispatch_id])

    async def _timed(self, envelope: Envelope, dispatch: DispatchHostJobs, call: JobCall) -> JobResult:
        began = time.monotonic()
        with (
            log_context.bound(job=call.name, job_id=call.job_id),
            traces.span(f"job {call.name}", about={"gostack.job_id": call.job_id}) as span,
        ):
            result = await self._job(envelope, dispatch, call)
            code = result.error.code if result.error else "done"
            if result.error:
                span.fail(f"{code}: {result.error.message}")
            seconds = time.monotonic() - began
            logger.debug("%s: %s in %.3f s", call.name, code, seconds)
        metrics.JOB_SECONDS.labels(call.name, code).observe(seconds)
        return result

    async def _job(self, envelope: Envelope, dispatch: DispatchHostJobs, call: JobCall) -> JobResult:
        loop = asyncio.get_running_loop()
        started = JobStarted(
            task_id=dispatch.task_id, dispatch_id=dispatch.dispatch_id, job_id=call.job_id, name=call.name
        )
        record = self._answer(envelope, started, f"started/{call.job_id}")
        slow = loop.call_later(SLOW_SECONDS, lambda: self._say(record))
        try:
            job = JOBS[call.name].model_validate(call.args)
            async with asyncio.timeout(job.deadline):
                failpoints.point("agent-acting")
                facts = await HANDLERS[type(job)](job, dispatch.guest, self._context)
        except DriverError as error:
            logger.warning("%s failed: %s: %s", call.name, error.code, error)
            return JobResult(
                job_id=call.job_id, name=call.name, error=JobError(code=error.code, message=str(error)[:2000])
            )
        except TimeoutError:
            message = f"{call.name} took longer than {JOBS[call.name].deadline:g} s."
            logger.warning("%s", message)
            return JobResult(job_id=call.job_id, name=call.name, error=JobError(code="job-failed", message=message))
        except Exception as error:
            logger.exception("%s failed", call.name)
            message = f"{type(error).__name__}: {error}"[:2000]
            return JobResult(job_id=call.job_id, name=call.name, error=JobError(code="job-failed", message=message))
        finally:
            slow.cancel()
        result = JobResult(job_id=call.job_id, name=call.name, facts=facts)
        failpoints.point("agent-acted")
        self._journal.finish(result, envelope.time)
        failpoints.point("agent-noted")
        for fact in facts:
            if isinstance(fact, PowerSeen):
                self._telling.pop(dispatch.key.id, None)
                self._journal.saw(self.host.id, dispatch.key.id, fact.power, self.host.epoch)
        if call.name == DeleteDisk.__name__:
            self._telling.pop(dispatch.key.id, None)
            self._journal.forget(dispatch.key.id)
            self._given.pop(dispatch.key.id, None)
        return result

    def _say(self, record: Record) -> None:
        task = asyncio.ensure_future(self._sender.put(record))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _answer(self, cause: Envelope, data: Message, name: str) -> Record:
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
