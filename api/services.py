"""The services that the API depends on, made by the composition root and passed to every request."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cachetools import TTLCache

from infra.db.write_store import WriteStore
from infra.log.log import Log
from infra.process.settings import Settings
from infra.secrets.secrets import SecretStore
from infra.secrets.segments import Segments
from infra.webhooks.deliveries import Deliveries
from infra.webhooks.sender import Sender
from projections.history.replay import Replays
from projections.maintenance.runs import Runs
from projections.store.port import Store

if TYPE_CHECKING:
    # The rooms of these stand on this one: they are made elsewhere, and only held here.
    from api.hosts.agent_client import Agents
    from api.writes.admission import Admission
    from api.writes.image_parts import ImageParts
    from api.writes.secret_cleanup import SecretCleanup
    from api.writes.verdicts import Verdicts

KNOWN_SECONDS = 1.0
KNOWN_MOST = 1000


def _known() -> TTLCache[tuple[str, str, str], dict[str, Any]]:
    return TTLCache(KNOWN_MOST, KNOWN_SECONDS)


@dataclass
class Services:
    """The services that requests are answered with."""

    log: Log
    store: Store
    """The store of the read models."""
    runs: Runs
    """The runs on all read models: rebuilds, rollbacks and verifications."""
    replays: Replays
    """The replays of the scheduler's past."""
    secrets: SecretStore
    segments: Segments
    settings: Settings
    clock: Callable[[], datetime]
    verdicts: "Verdicts"
    secret_cleanup: "SecretCleanup"
    agents: "Agents"
    images: "ImageParts"
    admission: "Admission"
    deliveries: Deliveries
    """The progress of each webhook's deliveries; only read by the API."""
    sender: Sender
    """The sender of test events to webhooks."""
    deciding: Mapping[str, WriteStore] = field(default_factory=dict)
    """Write stores of engine and scheduler, by name; only read by the API, to tell how much waits for them."""
    known: TTLCache[tuple[str, str, str], dict[str, Any]] = field(default_factory=_known)
    """Documents by view, reference and project that boots need again and again; emptied by every other command of
    this process, and a second old at most."""
