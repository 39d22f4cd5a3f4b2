"""Given, when, then for instances: what happened, what is asked, what follows.

A scenario answers an instance's jobs as scheduler, networks and hosts would, so that a test tells only what is
special about it.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.core.errors import Refusal
from domain.core.messages import Envelope, Event, Key, Message, Outgoing
from domain.guest_spec import FlavorRef, HostRef, ImageRef, Nic
from domain.instance.actions.lifecycle.boot import BootInstance
from domain.instance.decider import decide
from domain.instance.evolve import evolve
from domain.instance.state import Instance
from domain.instance.status import status
from domain.jobs.guest import PowerSeen
from domain.jobs.network import PortBound, PortUnbound
from domain.jobs.scheduling import Placed, Released
from domain.tasks.events import DeadlinePassed
from domain.tasks.job import JOBS, HostJob
from domain.tasks.messages import JobError, JobResult, JobsAnswered
from domain.tasks.task import Direction, calls
from tests.harness.incident import Incident

START = datetime(2026, 1, 1, tzinfo=UTC)
HOST = HostRef(id=str(uuid.UUID(int=7)), name="host-7", partition=3, epoch=1)
NETWORK = str(uuid.UUID(int=99))


def boot_command(**changes: Any) -> BootInstance:
    """An ordinary boot: one NIC, config drive, started."""
    return BootInstance(
        name="web",
        hostname="web",
        flavor=FlavorRef(id="f", name="small", core=1, memory=1 << 30),
        image=ImageRef(id="i", name="tiny", checksum="0" * 64, format="qcow2", size=1, virtual_size=1 << 26),
        disk=1 << 30,
        nics=(Nic(network_id=NETWORK, network_name="lan"),),
    ).but(**changes)


Fails = Callable[[str, Direction], JobError | None]


def never(name: str, direction: Direction) -> JobError | None:
    """Every job succeeds."""
    return None


@dataclass
class Scenario:
    """One instance's story."""

    now: Instance | None = None
    events: list[Event] = field(default_factory=list)
    sent: list[Outgoing] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    time: datetime = START
    number: int = 0
    id: str = str(uuid.UUID(int=1))
    last: list[Event] = field(default_factory=list)

    @classmethod
    def given(cls, incident: Incident) -> "Scenario":
        """An instance whose story so far is in an exported file: the one that the file is about."""
        (own,) = {each.subject for each in incident.asked_for if each.subject.kind == "instance"}
        now = incident.states()[own]
        events = [each.data for each in incident.events if each.subject == own and isinstance(each.data, Event)]
        return cls(now=now, events=events, time=incident.events[-1].time, id=own.id)

    def send(self, message: Message, **about: Any) -> "Scenario":
        """Decide on one record and apply what follows; raises the Refusal."""
        self.number += 1
        self.time += timedelta(seconds=1)
        envelope = Envelope(
            id=str(uuid.UUID(int=1000 + self.number)),
            data=message,
            subject=Key("instance", self.id),
            time=self.time,
            source="test",
            correlation="c",
            actor="alice",
            project="p",
            **about,
        )
        decision = decide(self.now, envelope)
        assert decide(self.now, envelope) == decision, "deciding twice gives the same"
        for event in decision.events:
            self.now = evolve(self.now, event, self.id)
        self.last = decision.events
        self.events += decision.events
        self.sent += decision.outgoing
        if self.now and self.now.task:
            assert self.now.due_at is not None, "what runs has a deadline"
        return self

    def answer(self, fails: Fails = never) -> "Scenario":
        """Answer what is on its way."""
        message = self.results(fails)
        return self.send(message)

    def results(self, fails: Fails = never) -> JobsAnswered:
        """The answer that whoever does the jobs would give."""
        assert self.now is not None
        task = self.now.task
        assert task is not None
        dispatch = task.dispatch
        assert dispatch is not None
        results = []
        for call in calls(task, dispatch.steps, dispatch.direction):
            self.ran.append(call.name)
            error = fails(call.name, dispatch.direction)
            results.append(
                JobResult(job_id=call.job_id, name=call.name, error=error, facts=self.facts(call.name, call.args))
            )
            if error:
                results[-1] = results[-1].but(facts=())
                break
        return JobsAnswered(task_id=task.id, dispatch_id=dispatch.id, host_id=HOST.id, epoch=1, results=tuple(results))

    def facts(self, name: str, args: dict[str, Any]) -> tuple[Any, ...]:
        """What becomes known by a job."""
        assert self.now is not None
        job = JOBS[name]
        if issubclass(job, HostJob) and job.leaves is not None:
            return (PowerSeen(power=job.leaves),)
        match name:
            case "Place":
                return (Placed(host=HOST),)
            case "Release":
                return (Released(),)
            case "BindPort":
                nic = self.now.nics[args["nic"]]
                port = nic.but(
                    port_id=nic.port_id or str(uuid.UUID(int=50 + args["nic"])), ip="10.0.0.9", mac="52:00:00:00:00:09"
                )
                return (PortBound(nic=args["nic"], port=port),)
            case "UnbindPort":
                return (PortUnbound(nic=args["nic"]),)
        return ()

    def settle(self, fails: Fails = never) -> "Scenario":
        """Answer until nothing is on its way."""
        for _ in range(100):
            if self.now is None or self.now.task is None:
                return self
            self.answer(fails)
        raise AssertionError("it does not end")

    def wait_out(self) -> "Scenario":
        """Let the deadline of what is on its way pass."""
        assert self.now is not None
        due = self.now.due_at
        assert due is not None
        self.time = max(self.time, due)
        return self.send(DeadlinePassed(due_id=self.now.due_id))

    def booted(self, **changes: Any) -> "Scenario":
        """An active instance."""
        return self.send(boot_command(**changes)).settle()

    def refused(self, message: Message, kind: type[Refusal]) -> Refusal:
        """The command is refused, and nothing happens."""
        before = self.now
        with pytest.raises(kind) as caught:
            self.send(message)
        assert self.now is before
        return caught.value

    @property
    def status(self) -> str:
        """What a user sees."""
        assert self.now is not None
        return status(self.now)

    def names(self) -> list[str]:
        """The events so far, by class name."""
        return [type(event).__name__ for event in self.events]
