"""The agent: registers its hosts, takes their jobs off the log, runs them, and says what became of it.

One process a host; with the simulated driver one process carries as many hosts as asked for.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from agent.drivers.driver import Driver, DriverError
from agent.host.observer import look_at, reconcile
from agent.host.registration import Candidate, job_positions, register
from agent.jobs import Outside
from agent.runner.journal import Journal
from agent.runner.runner import HostIdentity, HostRunner
from agent.runner.sender import Sender
from agent.runner.staggered import take_turns
from domain import catalog
from domain.core.errors import UnknownMessage
from domain.core.messages import (
    Envelope,
    Key,
    Record,
    Topic,
    derived_id,
    from_record,
    to_record,
)
from domain.dead import dead_record
from domain.host.reports import Heartbeat
from domain.tasks.messages import AbortJobs, DispatchHostJobs
from infra.log.lag import Lag, Lags, export_lags, lags
from infra.log.log import Log, TopicPartition
from infra.process import failpoints, log_context, metrics
from infra.process.loops import every

logger = logging.getLogger(__name__)

FETCH = 500
FORGET_SECONDS = 3600.0
"""Between two looks for what the journal may forget."""


@dataclass(frozen=True)
class Options:
    """How the agent works."""

    cell: str
    zone: str
    endpoint: str
    parallel: int
    heartbeat: float
    reconcile: float
    held: int = 2000
    """Dispatches that may run or wait, over all hosts."""


class AgentService:
    """The hosts of this process."""

    def __init__(
        self,
        log: Log,
        journal: Journal,
        drivers: Mapping[str, Driver],
        outside: Outside,
        clock: Callable[[], datetime],
        options: Options,
    ) -> None:
        self._log = log
        self._journal = journal
        self._drivers = drivers
        """By host name."""
        self._outside = outside
        self._clock = clock
        self._options = options
        self._sender = Sender(log)
        self._held = asyncio.Semaphore(options.held)
        self.runners: dict[str, HostRunner] = {}
        """By host id, once registered."""
        self.reading: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        """Open the drivers and register the hosts."""
        assert catalog.MESSAGES
        self._journal.forget_old(self._clock())
        before = await self._log.bounds([Topic.JOBS])
        candidates = []
        for name, driver in self._drivers.items():
            await driver.open(self._watch)
            inventory = await driver.inventory()
            candidates.append(Candidate(name, self._options.zone, inventory, self._options.endpoint))
        identities = await register(self._log, self._options.cell, candidates, self._clock)
        for candidate in candidates:
            identity = identities[candidate.id]
            self.runners[identity.id] = self._runner(identity, self._drivers[candidate.name])
        partitions = {identity.partition for identity in identities.values()}
        ends = {partition: end for partition, (_, end) in before.items()}
        self.reading = job_positions(partitions, self._journal.positions(), ends)
        self._journal.accept({}, self.reading)
        logger.info("%s hosts registered, %s partitions", len(self.runners), len(partitions))

    async def run(self) -> None:
        """Take up what was left undone, and work until cancelled. Raises LogUnavailable where the log stays away."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sender.run())
            runners = list(self.runners.values())
            group.create_task(take_turns(runners, self._options.heartbeat, self._beat, name="heartbeats"))
            group.create_task(reconcile(runners, self._options.reconcile))
            group.create_task(self._read())
            group.create_task(self._forget())

    async def _forget(self) -> None:
        async def forget() -> None:
            self._journal.forget_old(self._clock())

        await every(FORGET_SECONDS, forget, name="journal-cleanup", first=FORGET_SECONDS)

    async def _read(self) -> None:
        aborted = self._journal.aborted()
        for dispatch_id, record in self._journal.pending().items():
            envelope = from_record(record)
            if isinstance(envelope.data, DispatchHostJobs) and envelope.data.host_id in self.runners:
                runner = self.runners[envelope.data.host_id]
                await runner.accept(envelope, aborted=dispatch_id in aborted, again=True)
        reader = await self._log.reader(self.reading)
        try:
            while True:
                await self.take(await reader.fetch(FETCH, 0.5))
        finally:
            await reader.close()

    async def take(self, records: list[Record]) -> None:
        """Take over the dispatches among these records that are for hosts of this process, and have those stopped that
        are to be: at once, whatever waits before them."""
        dispatches: dict[str, tuple[Record, Envelope]] = {}
        aborts: dict[str, HostRunner] = {}
        positions: dict[TopicPartition, int] = {}
        for record in records:
            positions[TopicPartition(record.topic, record.partition or 0)] = record.offset + 1
            envelope = await self._read_job(record)
            if envelope is None:
                continue
            if isinstance(envelope.data, DispatchHostJobs):
                dispatches[envelope.data.dispatch_id] = (record, envelope)
            elif isinstance(envelope.data, AbortJobs):
                aborts[envelope.data.dispatch_id] = self.runners[envelope.data.host_id]
        if not positions:
            return
        self.reading |= positions
        failpoints.point("agent-fetched")
        new = self._journal.accept({ident: record for ident, (record, _) in dispatches.items()}, positions, aborts)
        if new:
            failpoints.point("agent-accepted")
        if aborts:
            failpoints.point("abort-noted")
        for dispatch_id, runner in aborts.items():
            runner.abort(dispatch_id)
        for dispatch_id, (_, envelope) in dispatches.items():
            if dispatch_id in new:
                assert isinstance(envelope.data, DispatchHostJobs)
                await self.runners[envelope.data.host_id].accept(envelope, aborted=dispatch_id in aborts)

    async def _read_job(self, record: Record) -> Envelope | None:
        """What a record for a host of this process says; None: it is for another, or cannot be read and is dead."""
        if record.key.decode(errors="replace") not in self.runners:
            return None
        try:
            return from_record(record)
        except UnknownMessage as error:
            with log_context.handling(None, record.place):
                logger.error("dead job: %s", error)
            await self._sender.put(dead_record(record, str(error)))
            metrics.DEAD.labels("agent").inc()
            return None

    def _runner(self, identity: HostIdentity, driver: Driver) -> HostRunner:
        return HostRunner(
            identity,
            driver,
            self._journal,
            self._sender,
            self._outside,
            self._clock,
            self._options.parallel,
            self._held,
        )

    async def _watch(self, instance_id: str) -> None:
        for runner in self.runners.values():
            if runner.known_guest(instance_id) is not None:
                await look_at(runner, instance_id)

    async def _beat(self, runner: HostRunner) -> None:
        await self._sender.put(self._heartbeat(runner))

    def _heartbeat(self, runner: HostRunner) -> Record:
        now = self._clock()
        host = runner.host
        beat_id = derived_id(host.id, "beat", now.isoformat())
        envelope = Envelope(
            id=beat_id,
            data=Heartbeat(host_id=host.id, epoch=host.epoch, guests=len(runner.known_guests())),
            subject=Key("host", host.id),
            time=now,
            source=f"gostack/agent/{host.name}",
            correlation=beat_id,
        )
        return to_record(envelope, Topic.REPORTS)

    async def look(self) -> Lags:
        """Measure what was not fetched yet, and what was and is not answered. Raises LogUnavailable."""
        now = self._clock()
        taken = [envelope.time for runner in self.runners.values() for envelope in runner.unanswered()]
        held = Lag(len(taken), max(0.0, (now - min(taken)).total_seconds()) if taken else 0.0)
        found = await lags(self._log, dict(self.reading), now, [Topic.JOBS])
        return export_lags("agent", {**found, "dispatches": held})

    async def close(self) -> None:
        """Let go of the drivers; guests run on."""
        for driver in self._drivers.values():
            try:
                await driver.close()
            except DriverError as error:
                logger.warning("closing: %s", error)
        self._journal.close()
