"""The port from a processor to the domain, and an aggregate as the processor has it in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from domain.core.messages import Envelope, Event, Key, Outcome, from_record
from infra.db.outbox import unpack
from infra.db.write_store import StoredAggregate

States = Callable[[Key], Any]
"""Returns an aggregate's state in this step, or None where it does not exist."""


class Rules(Protocol):
    """The port to the domain: which aggregates a record needs, and what follows from it."""

    source: str
    preload: tuple[str, ...]
    """Kinds of which every aggregate is kept in memory."""

    def keys(self, envelope: Envelope) -> Sequence[Key]:
        """Return the aggregates that are needed to decide on this record."""

    def decide(self, envelope: Envelope, states: States) -> Outcome:
        """Return the events and messages that follow from the record. Raises a Refusal."""

    def evolve(self, key: Key, state: Any, event: Event) -> Any:
        """Return the aggregate's state after the event."""

    def load(self, key: Key, state: bytes) -> Any:
        """Return the state that was stored as these bytes."""

    def dump(self, state: Any) -> bytes:
        """Return the state as the bytes to store."""

    def due(self, state: Any) -> tuple[datetime | None, str]:
        """Return the time and the id of the aggregate's next deadline; (None, "") where there is none."""

    def stream(self, state: Any) -> str:
        """Return the key of the records that lead to a preloaded aggregate: the worker that reads these keeps it in
        memory."""

    def changed(self, key: Key, state: Any) -> None:
        """Take the aggregate's new state into what is derived from states."""

    def forget(self) -> None:
        """Forget all that was derived from states; every state comes again through changed()."""


@dataclass(slots=True)
class CachedAggregate:
    """An aggregate's state and version in memory."""

    version: int
    state: Any
    size: int = 0
    """Bytes of the state as it was last stored whole."""
    tail: int = 0
    """Versions since the state was last stored whole."""


def restored(rules: Rules, key: Key, row: StoredAggregate) -> CachedAggregate:
    """Return a stored aggregate with the events since its state was stored folded in."""
    state = rules.load(key, row.state)
    records = [record for packed in row.tail for record in unpack(packed)]
    for record in records:
        event = from_record(record).data
        assert isinstance(event, Event)
        state = rules.evolve(key, state, event)
    return CachedAggregate(row.version, state, len(row.state), len(records))
