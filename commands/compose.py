"""Composition roots of the write side: each makes the real parts of one process and runs it."""

import asyncio
import uuid
from collections.abc import Iterator
from functools import partial

import uvloop

from commands.engine import EngineRules
from commands.processor import Processor
from commands.reconcilers.liveness import LivenessMonitor
from commands.reconcilers.webhooks import Deliverer, DeliveryParts
from commands.rules import Rules, restored
from commands.scheduler import SchedulerRules
from commands.timers import Timers, to_the_scheduler
from domain import catalog
from domain.core.messages import Topic
from domain.host.state import Host
from domain.scheduling.table import Ratios
from infra.db.postgres import PostgresWriteStore
from infra.log.kafka import KafkaLog
from infra.log.lag import Lags, export_lags, lags, total_lag
from infra.log.log import LogUnavailable
from infra.log.recent import Recent
from infra.log.topics import TOPICS
from infra.process.clock import now
from infra.process.garbage_collector import tune_garbage_collector
from infra.process.health_server import HealthState, measure_health, start_health_server
from infra.process.run import run_until_signal
from infra.process.settings import Settings
from infra.secrets.encryption import Encryption
from infra.secrets.postgres import PostgresSecrets
from infra.webhooks.postgres import PostgresDeliveries
from infra.webhooks.sender import Sender


def engine(settings: Settings) -> None:
    """Run the engine until a signal comes."""
    _work("engine", EngineRules(), (Topic.COMMANDS, Topic.RESULTS), settings)


def scheduler(settings: Settings) -> None:
    """Run the scheduler until a signal comes."""
    policy = settings.scheduling
    ratios = Ratios(vcpus=policy.vcpu_ratio, memory=policy.memory_ratio, disk=policy.disk_ratio)
    rules = SchedulerRules(ratios, TOPICS[Topic.JOBS].partitions)
    _work("scheduler", rules, (Topic.SCHEDULING,), settings)


def _work(name: str, rules: Rules, topics: tuple[Topic, ...], settings: Settings) -> None:
    from commands.worker import FaustWorker

    assert catalog.MESSAGES
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    write_store = PostgresWriteStore(settings.db.dsn, name)
    log = KafkaLog(settings.log.bootstrap, settings.log.request_timeout)
    port = getattr(settings.metrics, name)
    health = HealthState(settings.metrics.every)
    start_health_server(settings.metrics.listen, port, health, settings.http)
    worker = FaustWorker(name, Processor(rules, write_store, log, topics, now), settings, health if port else None)
    tune_garbage_collector()
    worker.run()


async def timers(settings: Settings) -> None:
    """Run the deadlines of engine and scheduler, and the liveness monitor of hosts, until a signal comes."""
    assert catalog.MESSAGES
    log = KafkaLog(settings.log.bootstrap, settings.log.request_timeout)
    engine_write_store = PostgresWriteStore(settings.db.dsn, "engine")
    scheduler_write_store = PostgresWriteStore(settings.db.dsn, "scheduler")
    beats = LivenessMonitor(log, settings.scheduling.beat_grace, now)
    keep = settings.worker.inbox_keep
    timers = [
        Timers(engine_write_store, log, now, keep, name="deadlines-engine"),
        Timers(scheduler_write_store, log, now, keep, to_the_scheduler, name="deadlines-scheduler"),
    ]
    health = HealthState(settings.metrics.every)

    async def hosts() -> Iterator[Host]:
        rules, rows = EngineRules(), await scheduler_write_store.all("host")
        # One by one: together, with all their claims, they are large.
        return (restored(rules, key, row).state for key, row in rows.items())

    async def look() -> Lags:
        for each in timers:
            if each.status.problem:
                raise LogUnavailable(each.status.problem)
        late = total_lag({str(number): each.late for number, each in enumerate(timers)})
        return export_lags("timers", {**await beats.look(), "deadlines": late})

    start_health_server(settings.metrics.listen, settings.metrics.timers, health, settings.http)
    await run_until_signal(
        *(each.run for each in timers),
        partial(measure_health, health, look, (LogUnavailable,)),
        partial(beats.run, hosts),
        closing=(engine_write_store.close, scheduler_write_store.close, log.close),
    )


async def webhooks(settings: Settings) -> None:
    """Deliver events to webhooks until a signal comes.

    Raises OSError and KeyInvalid for the key file, and what ends a courier.
    """
    assert catalog.MESSAGES
    log = KafkaLog(settings.log.bootstrap, settings.log.request_timeout)
    write_store = PostgresWriteStore(settings.db.dsn, "engine")
    deliveries = PostgresDeliveries(settings.db.dsn)
    secrets = PostgresSecrets(settings.db.dsn, Encryption.from_file(settings.secrets.key_file))
    policy = settings.webhooks
    sender = Sender(policy.timeout, allow_private=policy.allow_private, own_ports=settings.own_ports)
    recent = Recent(log, Topic.EVENTS)
    deliverer = Deliverer(
        DeliveryParts(log, write_store, deliveries, secrets, sender, policy, now, recent, str(uuid.uuid4()))
    )
    health = HealthState(settings.metrics.every)

    async def look() -> Lags:
        if deliverer.status.problem:
            raise LogUnavailable(deliverer.status.problem)
        return export_lags("webhooks", await lags(log, deliverer.furthest_behind(), now(), (Topic.EVENTS,)))

    start_health_server(settings.metrics.listen, settings.metrics.webhooks, health, settings.http)
    await run_until_signal(
        deliverer.run,
        partial(measure_health, health, look, (LogUnavailable,)),
        opening=(deliveries.open, secrets.open),
        closing=tuple(part.close for part in (sender, deliveries, secrets, write_store, log)),
    )
