"""The engine: decides for every aggregate but those that the schedulers decide for."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from domain.aggregates import AGGREGATES, DECIDED
from domain.core.messages import Envelope, Event, Key, Outcome
from domain.kind import DecidedBy, Decider

DECIDERS: dict[str, Decider] = {kind: AGGREGATES[kind].load_decider() for kind in DECIDED[DecidedBy.ENGINE]}


class EngineRules:
    """The rules of all kinds that the engine decides for."""

    source = "gostack/engine"
    preload: tuple[str, ...] = ()

    def keys(self, envelope: Envelope) -> Sequence[Key]:
        """Return the record's subject: no other aggregate is needed to decide."""
        return (envelope.subject,)

    def decide(self, envelope: Envelope, states: Callable[[Key], Any]) -> Outcome:
        """Return the events and messages that follow from the record. Raises a Refusal."""
        key = envelope.subject
        decision = DECIDERS[key.kind].decide(states(key), envelope)
        events = [(key, event) for event in decision.events]
        return Outcome(events=events, outgoing=decision.outgoing, behalf=decision.behalf)

    def evolve(self, key: Key, state: Any, event: Event) -> Any:
        """Return the aggregate's state after the event."""
        return AGGREGATES[key.kind].evolve(state, event, key.id)

    def load(self, key: Key, state: bytes) -> Any:
        """Return the state that was stored as these bytes."""
        return AGGREGATES[key.kind].state.model_validate_json(state)

    def dump(self, state: Any) -> bytes:
        """Return the state as the bytes to store."""
        return bytes(state.model_dump_json(exclude_defaults=True).encode())

    def due(self, state: Any) -> tuple[datetime | None, str]:
        """Return the time and the id of the aggregate's next deadline: that of its task, or of its purge."""
        return getattr(state, "due_at", None), getattr(state, "due_id", "")

    def stream(self, state: Any) -> str:
        """Return an empty key: no aggregate of the engine is preloaded."""
        return ""

    def changed(self, key: Key, state: Any) -> None:
        """Do nothing: the engine derives nothing from states."""

    def forget(self) -> None:
        """Do nothing: the engine derives nothing from states."""
