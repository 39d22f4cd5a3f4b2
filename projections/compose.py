"""Composition root of the projector: the real log, the real read models."""

import asyncio
import signal
from datetime import UTC, datetime
from functools import partial

from domain import catalog
from infra.log.kafka import KafkaLog
from infra.log.log import LogUnavailable
from infra.process.health_server import Pulse, measure, open_doors
from infra.process.settings import Settings
from projections.maintenance.operator import operate
from projections.projector import Projector
from projections.store.postgres import PostgresStore


async def projector(settings: Settings) -> None:
    """Project, and do what is asked of the read models, until a signal comes.

    Raises what the projector raises, and what ends its other half: the supervisor starts it again."""
    assert catalog.MESSAGES
    log = KafkaLog(settings.log.bootstrap, settings.log.request_timeout)
    store = PostgresStore(settings.db.dsn, pool_size=2)
    await store.open()
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    projector = Projector(log, store)
    pulse = Pulse(settings.metrics.every)
    open_doors(settings.metrics.listen, settings.metrics.projector, pulse)
    running = [asyncio.create_task(projector.run(stop.is_set)), asyncio.create_task(operate(settings))]
    if settings.metrics.projector:
        look = partial(projector.look, lambda: datetime.now(UTC))
        running.append(asyncio.create_task(measure(pulse, look, (LogUnavailable,))))
    try:
        ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await store.close()
        await log.close()
