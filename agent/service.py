"""The agent: registers its hosts, takes their jobs off the log, runs them, and sends the results.

A process has one host; with the simulated driver a process can have many.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from agent.drivers.driver import Driver, DriverError
from agent.host.observer import observe_guest, observe_hosts
from agent.host.registration import Candidate, job_positions, register
from agent.jobs import Outside
from agent.runner.journal import Journal
from agent.runner.runner import HostIdentity, HostRunner
from agent.runner.sender import RecordSender
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
    named_id,
    to_record,
)
from domain.dead import dead_record
from domain.host.reports import Heartbeat
from domain.jobs.pool import PoolPlace
from domain.tasks.messages import AbortJobs, DispatchHostJobs
from infra.log.lag import Lag, Lags, export_lags, lags
from infra.log.log import Log, TopicPartition
from infra.process import failpoints, log_context, metrics
from infra.process.error_text import text_of
from infra.process.loops import every

logger = logging.getLogger(__name__)

FETCH = 500
FORGET_SECONDS = 3600.0
"""Seconds between two cleanups of the journal."""


@dataclass(frozen=True)
class AgentOptions:
    """How the agent works, as its settings say. `heartbeat` and `reconcile` are seconds between two rounds."""

    cell: str
    zone: str
    endpoint: str
    parallel: int
    heartbeat: float
    reconcile: float
    held: int = 2000
    """Dispatches that may run or wait, over all hosts."""


class AgentService:
    """All hosts of this process, from registration to the end."""

    def __init__(
        self,
        log: Log,
        journal: Journal,
        drivers: Mapping[str, Driver],
        outside: Outside,
        clock: Callable[[], datetime],
        options: AgentOptions,
    ) -> None:
        self._log = log
        self._journal = journal
        self._drivers = drivers
        """Host name -> driver of that host."""
        self._outside = outside
        self._clock = clock
        self._options = options
        self._sender = RecordSender(log)
        self._held = asyncio.Semaphore(options.held)
        self.runners: dict[str, HostRunner] = {}
        """Host id -> runner of that host, once registered."""
        self.reading: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        """Open the drivers and register the hosts. Raises NotRegistered, DriverError, LogUnavailable."""
        assert catalog.MESSAGES
        self._journal.forget_old(self._clock())
        before = await self._log.bounds([Topic.JOBS])
        candidates = []
        for name, driver in self._drivers.items():
            await driver.open(self._watch)
            inventory = await driver.inventory()
            uplink = await driver.uplink_address()
            key = await driver.tunnel_key()
            candidates.append(Candidate(name, self._options.zone, inventory, self._options.endpoint, uplink, key))
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
        """Take up the dispatches that an earlier process left unanswered, and work until cancelled.

        Raises LogUnavailable where the log stays away.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sender.run())
            runners = list(self.runners.values())
            group.create_task(take_turns(runners, self._options.heartbeat, self._beat, name="heartbeats"))
            group.create_task(observe_hosts(runners, self._options.reconcile))
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
        """Accept the dispatches among these records that are for hosts of this process, and abort those that an abort
        names: at once, whatever waits before them."""
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
        """Return the message of a record for a host of this process; None where it is for another host, or unreadable
        and dead."""
        if record.key.decode(errors="replace") not in self.runners:
            return None
        try:
            return from_record(record)
        except UnknownMessage as error:
            with log_context.handling(None, record.place):
                logger.error("a job cannot be read, and is laid aside as dead: %s", error)
            await self._sender.put(dead_record(record, text_of(error)))
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

    async def know_pools(self, places: Sequence[PoolPlace]) -> None:
        """Have each host look for these pools, and report what is new. Raises DriverError, OSError."""
        for name, driver in self._drivers.items():
            runner = self.runners.get(named_id("host", name))
            if runner is None:
                continue
            for found in await driver.know_pools(places):
                await runner.report_pool(found)

    async def _watch(self, instance_id: str) -> None:
        for runner in self.runners.values():
            if runner.reported_power(instance_id) is not None:
                await observe_guest(runner, instance_id)

    async def _beat(self, runner: HostRunner) -> None:
        await self._sender.put(self._heartbeat(runner))

    def _heartbeat(self, runner: HostRunner) -> Record:
        now = self._clock()
        host = runner.host
        beat_id = derived_id(host.id, "beat", now.isoformat())
        envelope = Envelope(
            id=beat_id,
            data=Heartbeat(host_id=host.id, epoch=host.epoch, guests=len(runner.reported_guests())),
            subject=Key("host", host.id),
            time=now,
            source=f"gostack/agent/{host.name}",
            correlation=beat_id,
        )
        return to_record(envelope, Topic.REPORTS)

    async def look(self) -> Lags:
        """Measure how many jobs were not fetched yet, and how many dispatches are not answered. Raises
        LogUnavailable."""
        now = self._clock()
        taken = [envelope.time for runner in self.runners.values() for envelope in runner.unanswered()]
        held = Lag(len(taken), max(0.0, (now - min(taken)).total_seconds()) if taken else 0.0)
        found = await lags(self._log, dict(self.reading), now, [Topic.JOBS])
        return export_lags("agent", {**found, "dispatches": held})

    async def close(self) -> None:
        """Close the drivers and the journal; guests run on."""
        for driver in self._drivers.values():
            try:
                await driver.close()
            except DriverError as error:
                logger.warning("a driver could not be closed: %s", error.for_operators())
        self._journal.close()
