"""A host's runner on a workbench: a hypervisor that can be held and made to fail, a log in memory, a journal."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from agent.drivers.driver import DriverError, DriverFault, Secrets
from agent.drivers.simulated.driver import SimulatedDriver
from agent.jobs import Outside
from agent.runner.journal import Journal
from agent.runner.runner import HostIdentity, HostRunner
from agent.runner.sender import RecordSender
from domain.core.messages import (
    Envelope,
    Message,
    Record,
    Topic,
    derived_id,
    from_record,
    to_record,
)
from domain.guest_spec import GuestSpec, ImageRef, Power
from domain.tasks.messages import AbortJobs, DispatchHostJobs, JobCall, JobsAnswered
from infra.log.memory import MemoryLog
from tests.agent.samples import a_guest

START = datetime(2026, 1, 1, tzinfo=UTC)
IMAGE = ImageRef(id="i-1", name="tiny", checksum="ab" * 32, format="qcow2", size=1, virtual_size=1)
HOST = HostIdentity(id=str(uuid.UUID(int=7)), name="h1", epoch=2, partition=3)
BOOT = ("PrepareImage", "CreateDisk", "PlugPorts", "DefineGuest", "StartGuest")
PATIENCE = 5.0
"""Seconds after which a test gives up."""


def ident(number: int) -> str:
    return str(uuid.UUID(int=number))


class Hypervisor(SimulatedDriver):
    """Remembers what it was asked, waits where it is told to, and fails where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, str]] = []
        """Job and instance, in the order they began."""
        self.gates: dict[tuple[str, str], asyncio.Event] = {}
        """Job and instance -> what it waits for."""
        self.errors: dict[str, Exception] = {}
        self.cleaned: list[tuple[str, str]] = []
        """Jobs, and their instances, that were cut off and cleaned up."""
        self.cleaning = 0.0
        """Seconds that cleaning up takes."""
        self.unreachable = False
        self.most = 0
        """Jobs that ever ran side by side."""
        self._running = 0

    def hold(self, job: str, instance: str) -> asyncio.Event:
        """Make this job wait; set the event to let it go on."""
        return self.gates.setdefault((job, instance), asyncio.Event())

    def began(self, job: str) -> list[str]:
        """Instances for which this job began, in order."""
        return [instance for name, instance in self.calls if name == job]

    async def _at(self, job: str, instance: str) -> None:
        self.calls.append((job, instance))
        self._running += 1
        self.most = max(self.most, self._running)
        try:
            if gate := self.gates.get((job, instance)):
                await gate.wait()
            if job in self.errors:
                raise self.errors[job]
        except asyncio.CancelledError:
            await asyncio.sleep(self.cleaning)
            self.cleaned.append((job, instance))
            raise
        finally:
            self._running -= 1

    async def create_disk(self, guest: GuestSpec) -> None:
        await self._at("CreateDisk", guest.id)
        await super().create_disk(guest)

    async def define(self, guest: GuestSpec) -> None:
        await self._at("DefineGuest", guest.id)
        await super().define(guest)

    async def start(self, instance_id: str) -> None:
        await self._at("StartGuest", instance_id)
        await super().start(instance_id)

    async def stop(self, instance_id: str, grace: float) -> None:
        await self._at("StopGuest", instance_id)
        await super().stop(instance_id, grace)

    async def reboot(self, instance_id: str, grace: float) -> None:
        await self._at("RebootGuest", instance_id)
        await super().reboot(instance_id, grace)

    async def guests(self) -> dict[str, Power]:
        self._reach()
        return await super().guests()

    async def power(self, instance_id: str) -> Power:
        self._reach()
        return await super().power(instance_id)

    def _reach(self) -> None:
        if self.unreachable:
            raise DriverError(DriverFault.HYPERVISOR_UNREACHABLE, "away")


def dispatch(number: int, instance: int, *jobs: str, host: HostIdentity = HOST, **rest: Any) -> DispatchHostJobs:
    """Dispatch `number`: these jobs for this instance. Its jobs' ids are its own, unless `task` names another's."""
    task = ident(rest.pop("task", number) + 20_000)
    whole: dict[str, Any] = {
        "dispatch_id": ident(number + 10_000),
        "task_id": task,
        "subject": f"instance/{ident(instance)}",
        "host_id": host.id,
        "epoch": host.epoch,
        "deadline": START + timedelta(hours=1),
        "guest": a_guest(IMAGE, id=ident(instance)),
        "jobs": tuple(JobCall(job_id=derived_id(task, name), name=name) for name in jobs),
    }
    return DispatchHostJobs(**{**whole, **rest})


def wrapped(data: DispatchHostJobs) -> Envelope:
    """As the engine sends it."""
    return Envelope(
        id=derived_id(data.dispatch_id, "sent"),
        data=data,
        subject=data.key,
        time=START,
        source="gostack/engine",
        correlation="c",
        actor="alice",
        project="p",
        cause_place="gostack.commands:0:0",
    )


def abort_record(dispatch: DispatchHostJobs, host: HostIdentity = HOST) -> Record:
    """The wish that this be stopped, as it lies on the log."""
    data = AbortJobs(dispatch_id=dispatch.dispatch_id, task_id=dispatch.task_id, host_id=host.id)
    envelope = replace(wrapped(dispatch), id=derived_id(dispatch.dispatch_id, "abort"), data=data)
    return to_record(envelope, Topic.JOBS, key=host.id, partition=host.partition)


def job_record(data: DispatchHostJobs, host: HostIdentity = HOST) -> Record:
    """As it lies on the log."""
    return to_record(wrapped(data), Topic.JOBS, key=host.id, partition=host.partition)


async def no_secrets(guest: GuestSpec) -> Secrets:
    """There are none."""
    return Secrets()


NOTHING = Outside(secrets=no_secrets)
"""There is nothing beyond the host."""


@dataclass
class Bench:
    """One host."""

    patience = PATIENCE
    """Seconds to wait for an answer."""

    journal: Journal = field(default_factory=lambda: Journal(":memory:"))
    driver: Hypervisor = field(default_factory=Hypervisor)
    log: MemoryLog = field(default_factory=MemoryLog)
    parallel: int = 4
    now: datetime = START
    host: HostIdentity = HOST

    def __post_init__(self) -> None:
        self.sender = RecordSender(self.log)
        self.runner = HostRunner(
            self.host,
            self.driver,
            self.journal,
            self.sender,
            NOTHING,
            self.clock,
            self.parallel,
            asyncio.Semaphore(100),
        )

    def clock(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def abort(self, dispatch: DispatchHostJobs) -> None:
        """Have this stopped, by way of the journal."""
        self.journal.accept({}, {}, aborts=[dispatch.dispatch_id])
        self.runner.abort(dispatch.dispatch_id)

    async def give(self, *dispatches: DispatchHostJobs) -> None:
        """Let the runner have these, by way of the journal."""
        for each in dispatches:
            if self.journal.accept({each.dispatch_id: job_record(each)}, {}):
                await self.runner.accept(wrapped(each))

    def said(self, kind: type[Message]) -> list[Envelope]:
        """What the host said, in order; results are in one partition a instance, so order holds for each."""
        found = [from_record(record) for record in self.log.all(Topic.RESULTS)]
        return [each for each in found if isinstance(each.data, kind)]

    def answers(self) -> dict[str, JobsAnswered]:
        """Dispatch id -> its answer; each has one."""
        found: dict[str, JobsAnswered] = {}
        for each in self.said(JobsAnswered):
            assert isinstance(each.data, JobsAnswered)
            assert each.data.dispatch_id not in found, "answered twice"
            found[each.data.dispatch_id] = each.data
        return found

    async def answered(self, *dispatches: DispatchHostJobs) -> list[JobsAnswered]:
        """Wait for these answers; in the order asked for."""
        await self.until(lambda: {each.dispatch_id for each in dispatches} <= self.answers().keys())
        return [self.answers()[each.dispatch_id] for each in dispatches]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until this is so."""
        async with asyncio.timeout(self.patience):
            while not holds():
                await self.log.wait(0.005)

    async def boot(self, *instances: int) -> None:
        """Have these guests running, and forget that it was asked for."""
        await self.answered_all(*(dispatch(number + 500, number, *BOOT) for number in instances))
        self.driver.calls.clear()

    async def answered_all(self, *dispatches: DispatchHostJobs) -> list[JobsAnswered]:
        """Give these, and wait for their answers."""
        await self.give(*dispatches)
        return await self.answered(*dispatches)


@asynccontextmanager
async def working(bench: Bench) -> AsyncIterator[Bench]:
    """The sender runs meanwhile."""
    sending = asyncio.create_task(bench.sender.run())
    try:
        yield bench
    finally:
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending


def outcomes(answer: JobsAnswered) -> Sequence[tuple[str, str]]:
    """Job and error code, or empty, of each result."""
    return [(result.name, result.error.code if result.error else "") for result in answer.results]
