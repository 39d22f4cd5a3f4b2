"""Given what was, when something is asked, then this follows: a specification for any aggregate of the engine.

    given(SMALL, kind="flavor").when(DeleteFlavor()).then(FlavorDeleted)
    given(kind="flavor").when(DeleteFlavor()).refused(NotFound)

What is given is a state, or events and commands one after another. Every record is decided twice, every event read back
from the log, and every state from its store, so that no specification has to ask for that.
"""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from commands.engine import DECIDERS
from domain.aggregates import AGGREGATES
from domain.core.errors import Refusal
from domain.core.messages import Envelope, Event, Key, Message, Model, Outgoing, Topic, from_record, to_record
from domain.tasks.job import Fact
from domain.tasks.messages import JobsAnswered

START = datetime(2026, 1, 1, tzinfo=UTC)
ID = str(uuid.UUID(int=99))

Expected = Event | type[Event]


class Spec:
    """One aggregate's story."""

    def __init__(self, kind: str, ident: str = ID) -> None:
        self.key = Key(kind, ident)
        self.time = START
        """Of the last record; each is a second after the one before."""
        self.now: Any = None
        self.events: list[Event] = []
        """All of them."""
        self.last: list[Event] = []
        """Of the last record."""
        self.sent: list[Outgoing] = []
        """Because of the last record."""
        self.refusal: Refusal | None = None
        self._number = 0

    @property
    def state(self) -> Any:
        """The aggregate; it is there."""
        assert self.now is not None
        return self.now

    def when(self, *messages: Message) -> Self:
        """Decide on these; only the last may be refused, which then() or refused() has to say next."""
        assert self.refusal is None, f"refused, which nobody expected: {self.refusal}"
        for number, message in enumerate(messages, 1):
            try:
                self._decide(message)
            except Refusal as refusal:
                if number < len(messages):
                    raise
                self.refusal = refusal
        return self

    def then(self, *expected: Expected) -> Self:
        """The last record led to these events, given in full or by their class, and to no others."""
        assert self.refusal is None, f"refused: {self.refusal}"
        found = [
            event if isinstance(each, Event) else type(event) for each, event in zip(expected, self.last, strict=False)
        ]
        assert (found, len(self.last)) == (list(expected), len(expected))
        return self

    def refused(self, kind: type[Refusal], **values: Any) -> Refusal:
        """The last record was refused so, with these values among the refusal's; nothing has happened."""
        refusal, self.refusal = self.refusal, None
        assert type(refusal) is kind, f"not refused with {kind.__name__}: {refusal!r}, {self.last}"
        assert {name: refusal.values.get(name) for name in values} == values
        return refusal

    def answered(self) -> Fact:
        """The one fact with which the last record, which was a job, was answered."""
        (answer,) = self.sent
        assert answer.topic == Topic.RESULTS
        assert isinstance(answer.data, JobsAnswered)
        (result,) = answer.data.results
        (fact,) = result.facts
        return fact

    def happened(self, event: Event) -> None:
        """Apply a fact, read back from the log; the state is read back from its store."""
        row = AGGREGATES[self.key.kind]
        self.now = row.evolve(self.now, self._read_back(event), self.key.id)
        assert type(self.now).model_validate_json(self.now.model_dump_json(exclude_defaults=True)) == self.now
        self.events.append(event)

    def _decide(self, message: Message) -> None:
        self.time += timedelta(seconds=1)
        self._number += 1
        decide = DECIDERS[self.key.kind].decide
        self.last, self.sent = [], []
        decision = decide(self.now, self._envelope(message))
        assert decide(self.now, self._envelope(message)) == decision, "deciding twice gives the same"
        for event in decision.events:
            self.happened(event)
        self.last, self.sent = decision.events, decision.outgoing

    def _envelope(self, message: Message) -> Envelope:
        ident = str(uuid.UUID(int=1000 + self._number))
        return Envelope(ident, message, self.key, self.time, "test", "c", actor="alice", project="p")

    def _read_back(self, event: Event) -> Event:
        read = from_record(to_record(self._envelope(event), Topic.EVENTS)).data
        assert isinstance(read, Event)
        assert read == event
        return read


def given(*before: Model, kind: str, ident: str = ID) -> Spec:
    """An aggregate of this kind as it is after these: a state, or events and commands in their order; none: no such."""
    spec = Spec(kind, ident)
    for each in before:
        if isinstance(each, Event):
            spec.happened(each)
        elif isinstance(each, Message):
            spec.when(each)
            assert spec.refusal is None, f"what is given was refused: {spec.refusal}"
        else:
            spec.now = each
    return spec
