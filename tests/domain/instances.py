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
from domain.instance.actions.lifecycle.boot import BootInstance
from domain.instance.decider import decide
from domain.instance.evolve import evolve
from domain.instance.state import Instance
from domain.instance.status import status
from domain.tasks.events import DeadlinePassed
from domain.tasks.messages import JobError, JobResult, JobsAnswered
from domain.tasks.task import Direction, Task, calls
from tests.harness.answers import HOST as HOST
from tests.harness.answers import SECOND_HOST as SECOND_HOST
from tests.harness.answers import facts_of
from tests.harness.incident import Incident
from tests.harness.samples import NETWORK as NETWORK
from tests.harness.samples import sample

START = datetime(2026, 1, 1, tzinfo=UTC)


def boot_command(**changes: Any) -> BootInstance:
    """An ordinary boot: one NIC, config drive, started."""
    return sample(BootInstance).but(**changes)


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
        if self.now and self.now.tasks:
            assert self.now.due_at is not None, "what runs has a deadline"
        return self

    def answer(self, fails: Fails = never, task: Task | None = None) -> "Scenario":
        """Answer what is on its way, of the instance's own task or another."""
        message = self.results(fails, task)
        return self.send(message)

    def results(self, fails: Fails = never, task: Task | None = None) -> JobsAnswered:
        """The answer that whoever does the jobs would give."""
        assert self.now is not None
        task = task or self.now.tasks[0]
        dispatch = task.dispatch
        assert dispatch is not None
        results = []
        for call in calls(task, dispatch.steps, dispatch.direction):
            self.ran.append(call.name)
            error = fails(call.name, dispatch.direction)
            facts = () if error else facts_of(self.now, call)
            results.append(JobResult(job_id=call.job_id, name=call.name, error=error, facts=facts))
            if error:
                break
        host = dispatch.host or HOST
        return JobsAnswered(task_id=task.id, dispatch_id=dispatch.id, host_id=host.id, epoch=1, results=tuple(results))

    def under_way(self) -> list[str]:
        """The jobs that are on their way, by name."""
        dispatch = self.now.task.dispatch if self.now and self.now.task else None
        assert self.now is not None
        assert self.now.task is not None
        assert dispatch is not None
        return [call.name for call in calls(self.now.task, dispatch.steps, dispatch.direction)]

    def settle(self, fails: Fails = never) -> "Scenario":
        """Answer until nothing is on its way."""
        for _ in range(100):
            if self.now is None or not self.now.tasks:
                return self
            sent = [task for task in self.now.tasks if task.dispatch and not task.dispatch.held]
            self.answer(fails, sent[0]) if sent else self.wait_out()
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
