"""The engine: decides for every aggregate but those of the scheduler's cell."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from domain.aggregates import AGGREGATES
from domain.flavor import flavor
from domain.image import image
from domain.instance import decider as instance
from domain.keypair import keypair
from domain.messages import Decision, Envelope, Event, Key, Outcome
from domain.network import decider as network
from domain.webhook import webhook

Decide = Callable[[Any, Envelope], Decision]


class EngineRules:
    """Instances, networks, flavors, images, keypairs, webhooks."""

    source = "gostack/engine"
    preload: tuple[str, ...] = ()

    def __init__(self, cell: str) -> None:
        self._deciders: dict[str, Decide] = {
            "instance": lambda state, envelope: instance.decide(state, envelope, cell),
            "network": network.decide,
            "flavor": flavor.decide,
            "image": image.decide,
            "keypair": keypair.decide,
            "webhook": webhook.decide,
        }

    def keys(self, envelope: Envelope) -> Sequence[Key]:
        """Every record concerns its subject alone."""
        return (envelope.subject,)

    def decide(self, envelope: Envelope, states: Callable[[Key], Any]) -> Outcome:
        """What follows from the record; raises a Refusal."""
        key = envelope.subject
        decision = self._deciders[key.kind](states(key), envelope)
        return Outcome(events=[(key, event) for event in decision.events], outgoing=decision.outgoing)

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

    def changed(self, key: Key, state: Any) -> None:
        """Nothing is derived."""

    def forget(self) -> None:
        """Nothing is derived."""
