"""All deciders on one stage, without a log: a message that one decides to send is decided by the next at once.

Pure and quick, so that every flow can be walked in every way that it may go wrong. Hosts are played: what they answer,
and whether they do, is up to whoever has the dispatch.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from commands.engine import DECIDERS
from domain.aggregates import AGGREGATES
from domain.core.cells import DEFAULT_CELL
from domain.core.errors import Refusal
from domain.core.messages import (
    Decision,
    Envelope,
    Event,
    Key,
    Message,
    Outcome,
    Outgoing,
    Topic,
    named_id,
)
from domain.host.messages import Inventory, RegisterHost
from domain.host.state import Host
from domain.network.messages import CreateNetwork
from domain.scheduling.decider import Cell
from domain.scheduling.decider import decide as decide_in_cell
from domain.scheduling.policy import DEFAULT
from domain.scheduling.table import HostTable, Ratios
from domain.tasks.messages import JobError, JobResult, JobsAnswered, Reply
from tests.harness.samples import NETWORK

START = datetime(2026, 1, 1, tzinfo=UTC)
HOSTS = ("h1", "h2", "h3")
ROOM = Inventory(vcpus=64, memory=1 << 36, disk=1 << 40)

Decide = Callable[[Any, Envelope], Decision]
Evolve = Callable[[Any, Event, str], Any]


@dataclass
class Stage:
    """The states of all aggregates, and the messages that are on their way."""

    states: dict[Key, Any] = field(default_factory=dict)
    sent: list[Outgoing] = field(default_factory=list)
    """What was decided to be sent and is not delivered."""
    events: list[tuple[Key, Event]] = field(default_factory=list)
    time: datetime = START
    number: int = 0
    others: dict[str, tuple[Decide, Evolve]] = field(default_factory=dict)
    """Kind -> decider and fold of a kind that only tests know."""
    cell: Cell = field(default_factory=lambda: Cell(DEFAULT_CELL, HostTable(Ratios()), DEFAULT, 4))

    @classmethod
    def with_hosts(cls, **others: tuple[Decide, Evolve]) -> "Stage":
        """A stage with three hosts and a network."""
        stage = cls(others=others)
        for name in HOSTS:
            stage.send(host_key(name), RegisterHost(name=name, zone="default", inventory=ROOM))
        stage.send(Key("network", NETWORK), CreateNetwork(name="lan", cidr="10.0.0.0/24", segment=1))
        return stage

    def copy(self) -> "Stage":
        """The same once more, where what happens leaves this as it is."""
        cell = Cell(self.cell.name, HostTable(Ratios()), self.cell.policy, self.cell.partitions)
        for state in self.states.values():
            if isinstance(state, Host):
                cell.table.put(state)
        return Stage(dict(self.states), list(self.sent), [], self.time, self.number, self.others, cell)

    @property
    def hosts(self) -> list[Host]:
        """Every host."""
        return [state for state in self.states.values() if isinstance(state, Host)]

    def send(self, subject: Key, message: Message) -> list[Event]:
        """Decide on a message and apply what follows; the events. Raises the Refusal of a command that no job is."""
        self.number += 1
        self.time += timedelta(seconds=1)
        envelope = Envelope(
            id=str(uuid.UUID(int=(1 << 32) + self.number)),
            data=message,
            subject=subject,
            time=self.time,
            source="test",
            correlation="c",
            actor="alice",
            project="p",
        )
        try:
            outcome = self._decide(envelope)
        except Refusal as refusal:
            reply = getattr(message, "reply", None)
            if reply is None:
                raise
            self.sent.append(refused(reply, refusal))
            return []
        for key, event in outcome.events:
            self.states[key] = self._evolve(key, event)
            if isinstance(self.states[key], Host):
                self.cell.table.put(self.states[key])
        self.events += outcome.events
        self.sent += outcome.outgoing
        return [event for _, event in outcome.events]

    def _decide(self, envelope: Envelope) -> Outcome:
        key = envelope.subject
        now = self.states.get(key)
        if key.kind in ("cell", "host", "zone"):
            return decide_in_cell(envelope, now, lambda ident: self.states.get(Key("zone", ident)), self.cell)
        decide = self.others[key.kind][0] if key.kind in self.others else DECIDERS[key.kind].decide
        decision = decide(now, envelope)
        assert decide(now, envelope) == decision, "deciding twice gives the same"
        return Outcome([(key, event) for event in decision.events], outgoing=decision.outgoing)

    def _evolve(self, key: Key, event: Event) -> Any:
        evolve = self.others[key.kind][1] if key.kind in self.others else AGGREGATES[key.kind].evolve
        return evolve(self.states.get(key), event, key.id)

    def register_again(self, host_id: str) -> int:
        """A host's agent starts anew; the host's epoch from now on."""
        host: Host = self.states[Key("host", host_id)]
        self.send(Key("host", host_id), RegisterHost(name=host.name, zone=host.zone, inventory=host.inventory))
        renewed: Host = self.states[Key("host", host_id)]
        return renewed.epoch


def host_key(name: str) -> Key:
    """The host with this name."""
    return Key("host", named_id("host", name))


def refused(reply: Reply, refusal: Refusal) -> Outgoing:
    """The answer to a job that an aggregate or a scheduler refused, as the processor makes it."""
    error = JobError(code=refusal.code, message=str(refusal), ran=False)
    answer = JobsAnswered(
        task_id=reply.task_id,
        dispatch_id=reply.dispatch_id,
        results=(JobResult(job_id=reply.job_id, name="", error=error),),
    )
    return Outgoing(Topic.RESULTS, reply.key, answer)
