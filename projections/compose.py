"""Composition root of the projector: the real log, the real read models."""

import asyncio
import signal

from domain import catalog
from infra.log.kafka import KafkaLog
from infra.settings import Settings
from projections.operate import operate
from projections.postgres import PostgresStore
from projections.projector import Projector


async def projector(settings: Settings) -> None:
    """Project until a signal comes. Raises what the projector raises: the supervisor starts it again."""
    assert catalog.MESSAGES
    log = KafkaLog(settings.log.bootstrap, settings.log.request_timeout)
    store = PostgresStore(settings.db.dsn, pool_size=2)
    await store.open()
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    operating = asyncio.create_task(operate(settings))
    try:
        await Projector(log, store).run(stop.is_set)
    finally:
        operating.cancel()
        await asyncio.gather(operating, return_exceptions=True)
        await store.close()
        await log.close()
