"""All that the API stands on, as the composition root makes it: nothing here is found, everything is given."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from api.agents import Agents
from api.blobs import Blobs
from api.forgetting import Forgetting
from api.verdicts import Verdicts
from infra.log.log import Log
from infra.secrets.secrets import SecretStore
from infra.secrets.segments import Segments
from infra.settings import Settings
from projections.store import Store


@dataclass
class Services:
    """What requests are answered with."""

    log: Log
    store: Store
    """The read models."""
    secrets: SecretStore
    segments: Segments
    settings: Settings
    clock: Callable[[], datetime]
    verdicts: Verdicts
    forgetting: Forgetting
    agents: Agents
    blobs: Blobs
