"""Sends the agent's records in the order in which they were put, many at a time.

Why one sender: a result and a later observation of the same guest must not overtake each other, and a batch costs
hardly more than one record.
"""

import asyncio
import logging
from collections.abc import Callable

from domain.core.messages import Record
from infra.log.log import Log, LogUnavailable

logger = logging.getLogger(__name__)

BATCH = 500
WAITING = 10_000
RETRY_SECONDS = 1.0
TRIES = 60


class RecordSender:
    """A bounded queue of records in front of the log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._queue: asyncio.Queue[tuple[Record, Callable[[], None] | None]] = asyncio.Queue(WAITING)

    async def put(self, record: Record, sent: Callable[[], None] | None = None) -> None:
        """Queue a record, and wait for room; `sent` is called when the log has it."""
        await self._queue.put((record, sent))

    def offer(self, record: Record) -> bool:
        """Queue a record if there is room now, behind all others; return whether there was."""
        if self._queue.full():
            return False
        self._queue.put_nowait((record, None))
        return True

    async def run(self) -> None:
        """Send for ever. Raises LogUnavailable where the log stays away."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._publish([record for record, _ in batch])
            for _, sent in batch:
                if sent:
                    sent()

    async def _publish(self, records: list[Record]) -> None:
        for attempt in range(1, TRIES + 1):
            try:
                await self._log.publish(records)
                return
            except LogUnavailable as error:
                if attempt == TRIES:
                    raise
                logger.warning("the log is away, trying again (%s of %s): %s", attempt, TRIES, error)
                await asyncio.sleep(RETRY_SECONDS)
