"""The OpenAPI description; `python -m api.description` prints it.

A test compares it with docs/openapi.json, so that no route changes without review.
"""

import sys
from datetime import UTC, datetime

import orjson

from api.app import create_app
from api.hosts.agent_client import Agents
from api.services import Services
from api.writes.admission import Admission
from api.writes.image_parts import ImageParts
from api.writes.secret_cleanup import SecretCleanup
from api.writes.verdicts import Verdicts
from infra.log.memory import MemoryLog
from infra.process.settings import Settings
from infra.secrets.memory import MemorySecrets
from infra.secrets.segments import MemorySegments
from infra.webhooks.memory import MemoryDeliveries
from infra.webhooks.sender import Sender
from projections.history.replay import ThreadReplays
from projections.maintenance.runs_memory import MemoryRuns
from projections.store.memory import MemoryStore


def described() -> bytes:
    """Return the description as in docs/openapi.json: sorted, indented, and the same for the same routes."""
    log, store, secrets = MemoryLog(), MemoryStore(), MemorySecrets()
    secret_cleanup = SecretCleanup(secrets)
    settings = Settings()
    admission = Admission(settings, log, store, {})
    services = Services(
        log=log,
        store=store,
        runs=MemoryRuns(),
        replays=ThreadReplays(log),
        secrets=secrets,
        segments=MemorySegments(),
        settings=settings,
        clock=lambda: datetime.now(UTC),
        verdicts=Verdicts(log, secret_cleanup.later, admission),
        secret_cleanup=secret_cleanup,
        agents=Agents(store, ""),
        images=ImageParts.of(settings, log, store, lambda: datetime.now(UTC)),
        admission=admission,
        deliveries=MemoryDeliveries(),
        sender=Sender(1, allow_private=False),
    )
    schema = create_app(services).openapi()
    return orjson.dumps(schema, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(described())
