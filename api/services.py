"""All that the API stands on, as the composition root makes it: nothing here is found, everything is given."""

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
    from api.writes.admission import Load
    from api.writes.image_store import Blobs
    from api.writes.secret_cleanup import Forgetting
    from api.writes.verdicts import Verdicts

KNOWN_SECONDS = 1.0
KNOWN_MOST = 1000


def _known() -> TTLCache[tuple[str, str, str], dict[str, Any]]:
    return TTLCache(KNOWN_MOST, KNOWN_SECONDS)


@dataclass
class Services:
    """What requests are answered with."""

    log: Log
    store: Store
    """The read models."""
    runs: Runs
    """What is done to the read models as a whole."""
    replays: Replays
    """Who goes through the scheduler's past again."""
    secrets: SecretStore
    segments: Segments
    settings: Settings
    clock: Callable[[], datetime]
    verdicts: "Verdicts"
    forgetting: "Forgetting"
    agents: "Agents"
    blobs: "Blobs"
    load: "Load"
    deliveries: Deliveries
    """How far each webhook has been told: only looked at."""
    sender: Sender
    """Of tests of webhooks."""
    deciding: Mapping[str, WriteStore] = field(default_factory=dict)
    """Where engine and scheduler stand, by their names: only looked at, to tell how much waits for them."""
    known: TTLCache[tuple[str, str, str], dict[str, Any]] = field(default_factory=_known)
    """Documents by view, reference and project that boots need again and again; emptied by every other command of
    this process, and a second old at most."""
