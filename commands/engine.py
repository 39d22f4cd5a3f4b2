"""The engine: decides for every aggregate but those of the schedulers' cells."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from domain.aggregates import AGGREGATES, DECIDED
from domain.core.messages import Envelope, Event, Key, Outcome
from domain.kind import DecidedBy, Decider

DECIDERS: dict[str, Decider] = {kind: AGGREGATES[kind].load_decider() for kind in DECIDED[DecidedBy.ENGINE]}


class EngineRules:
    """All kinds that belong to no cell."""

    source = "gostack/engine"
    preload: tuple[str, ...] = ()

    def keys(self, envelope: Envelope) -> Sequence[Key]:
        """Every record concerns its subject alone."""
        return (envelope.subject,)

    def decide(self, envelope: Envelope, states: Callable[[Key], Any]) -> Outcome:
        """What follows from the record; raises a Refusal."""
        key = envelope.subject
        decision = DECIDERS[key.kind].decide(states(key), envelope)
        events = [(key, event) for event in decision.events]
        return Outcome(events=events, outgoing=decision.outgoing, behalf=decision.behalf)

    def evolve(self, key: Key, state: Any, event: Event) -> Any:
        """The state after the event."""
        return AGGREGATES[key.kind].evolve(state, event, key.id)

    def load(self, key: Key, state: bytes) -> Any:
        """A stored state."""
        return AGGREGATES[key.kind].state.model_validate_json(state)

    def dump(self, state: Any) -> bytes:
        """A state as it is stored."""
        return bytes(state.model_dump_json(exclude_defaults=True).encode())

    def due(self, state: Any) -> tuple[datetime | None, str]:
        """An instance's task, or its purge, is due at some time."""
        return getattr(state, "due_at", None), getattr(state, "due_id", "")

    def stream(self, state: Any) -> str:
        """Nothing is preloaded."""
        return ""

    def changed(self, key: Key, state: Any) -> None:
        """Nothing is derived."""

    def forget(self) -> None:
        """Nothing is derived."""
