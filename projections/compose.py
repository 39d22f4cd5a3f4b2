"""Composition root of the projector: the real log, the real read models."""

from datetime import UTC, datetime
from functools import partial

from domain import catalog
from infra.log.kafka import KafkaLog
from infra.log.log import LogUnavailable
from infra.process.health_server import HealthState, measure_health, start_health_server
from infra.process.run import Part, run_until_signal
from infra.process.settings import Settings
from projections.maintenance.operator import run_maintenance
from projections.projector import Projector
from projections.store.postgres import PostgresStore


async def projector(settings: Settings) -> None:
    """Run the projector, and the maintenance of the read models beside it, until a signal comes.

    Raises what the projector or the maintenance ends with (a gap in the log, a lost database...): the supervisor then
    starts the process again.
    """
    assert catalog.MESSAGES
    log = KafkaLog(settings.log.bootstrap, settings.log.request_timeout)
    store = PostgresStore(settings.db.dsn, pool_size=2)
    projector = Projector(log, store)
    health = HealthState(settings.metrics.every)
    start_health_server(settings.metrics.listen, settings.metrics.projector, health, settings.http)
    parts: list[Part] = [projector.run, partial(run_maintenance, settings)]
    if settings.metrics.projector:
        look = partial(projector.look, lambda: datetime.now(UTC))
        parts.append(partial(measure_health, health, look, (LogUnavailable,)))
    await run_until_signal(*parts, opening=(store.open,), closing=(store.close, log.close))
