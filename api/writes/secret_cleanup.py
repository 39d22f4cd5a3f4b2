"""Deletion of secrets as soon as an event says that no guest needs them any more."""

import asyncio
import contextlib
import logging

from infra.process import log_context
from infra.secrets.secrets import SecretStore, SecretsUnavailable

logger = logging.getLogger(__name__)

MOST_WAITING = 10_000
PATIENCE = 0.2
"""Seconds for which secrets are collected, to be deleted together."""


class SecretCleanup:
    """A queue of instances whose secrets are deleted, so that the reader of the log need not wait for a database."""

    def __init__(self, secrets: SecretStore) -> None:
        self._secrets = secrets
        self._queue: asyncio.Queue[str] = asyncio.Queue(MOST_WAITING)

    def later(self, instance_id: str) -> None:
        """Delete the secrets of an instance soon; if the queue is full, the next sweep deletes them."""
        with contextlib.suppress(asyncio.QueueFull):
            self._queue.put_nowait(instance_id)

    async def run(self) -> None:
        """Delete the secrets of queued instances until cancelled."""
        while True:
            instance_ids = [await self._queue.get()]
            await asyncio.sleep(PATIENCE)
            while not self._queue.empty():
                instance_ids.append(self._queue.get_nowait())
            try:
                await self._secrets.forget(instance_ids)
            except SecretsUnavailable as error:
                for instance_id in instance_ids:
                    with log_context.bound(instance=instance_id):
                        logger.error("its secrets stay until the next sweep: %s", error)
