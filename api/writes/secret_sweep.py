"""A periodic sweep that deletes secrets which no guest needs any more, even if the event that says so was missed
because no API ran.
"""

import logging
from datetime import timedelta

import orjson

from api.services import Services
from infra.process.loops import every
from infra.secrets.secrets import SecretsUnavailable
from projections.store.port import StoreUnavailable

logger = logging.getLogger(__name__)

EVERY = 600.0
SETTLED = timedelta(hours=1)
"""Age below which a secret is kept in any case: its command may be on its way."""
NEVER_BOOTED = timedelta(days=7)
"""Time for which the secret of an unknown instance is kept: longer than any job is."""
MOST = 1000
READS_SECRETS = "boot"
"""The action while which a guest's secrets are read."""


async def sweep(services: Services) -> int:
    """Delete secrets that have expired, or are not needed any more. Returns of how many instances and webhooks.

    Raises SecretsUnavailable, StoreUnavailable.
    """
    await services.secrets.expire()
    now = services.clock()
    lost = set(await services.secrets.held(now - NEVER_BOOTED, MOST))
    forgotten = 0
    for instance_id in await services.secrets.held(now - SETTLED, MOST):
        kind, _, ident = instance_id.rpartition("/")
        found = await services.store.get("webhooks" if kind else "instances", ident)
        if found is None:
            needed = instance_id not in lost
        elif kind:
            # What a webhook is signed with is needed as long as it is there.
            needed = orjson.loads(found.doc)["deleted"] is None
        else:
            task = orjson.loads(found.doc)["task"]
            needed = task is not None and task["action"] == READS_SECRETS
        if not needed:
            await services.secrets.forget([instance_id])
            forgotten += 1
    return forgotten


async def sweep_for_ever(services: Services) -> None:
    """Delete secrets that are not needed any more every `EVERY` seconds, until cancelled."""

    async def run() -> None:
        if count := await sweep(services):
            logger.info("secrets of %s instances were forgotten", count)

    await every(EVERY, run, name="secret-sweep", failures=(SecretsUnavailable, StoreUnavailable))
