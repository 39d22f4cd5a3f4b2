"""Every kind of aggregate with its state and its fold: all that replay needs, and nothing that could decide or send."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from domain import flavor, image, keypair, webhook, zone
from domain.core.messages import Event, Model
from domain.host import state as host
from domain.instance.evolve import evolve as evolve_instance
from domain.instance.state import Instance
from domain.network import evolve as network
from domain.network.state import Network
from domain.tasks.subject import TaskSubject


@dataclass(frozen=True)
class Aggregate:
    """A kind of aggregate."""

    state: type[Model]
    evolve: Callable[[Any, Event, str], Model]


AGGREGATES: dict[str, Aggregate] = {
    "instance": Aggregate(Instance, evolve_instance),
    "flavor": Aggregate(flavor.Flavor, flavor.evolve),
    "image": Aggregate(image.Image, image.evolve),
    "keypair": Aggregate(keypair.Keypair, keypair.evolve),
    "network": Aggregate(Network, network.evolve),
    "webhook": Aggregate(webhook.Webhook, webhook.evolve),
    "host": Aggregate(host.Host, host.evolve),
    "zone": Aggregate(zone.Zone, zone.evolve),
}

WITH_TASKS = frozenset(kind for kind, row in AGGREGATES.items() if issubclass(row.state, TaskSubject))
"""Kinds of aggregates that tasks work on."""
