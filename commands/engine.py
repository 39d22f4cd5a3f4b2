"""The engine: decides for every aggregate but those of the schedulers' cells."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

from domain import flavor, image, keypair, webhook
from domain.aggregates import AGGREGATES
from domain.core.messages import Decision, Envelope, Event, Key, Outcome
from domain.instance import decider as instance
from domain.network import decider as network


class Decider(Protocol):
    """A kind's module."""

    def decide(self, now: Any, envelope: Envelope, /) -> Decision:
        """What follows from the record; raises a Refusal."""


DECIDERS: dict[str, Decider] = {
    "instance": instance,
    "network": network,
    "flavor": flavor,
    "image": image,
    "keypair": keypair,
    "webhook": webhook,
}


class EngineRules:
    """Instances, networks, flavors, images, keypairs, webhooks."""

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
