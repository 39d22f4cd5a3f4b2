"""The API process: makes its services, serves requests, and ends in good order."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from api.app import create_app
from api.hosts.agent_api import create_internal_app
from api.hosts.agent_client import Agents
from api.reads.event_stream import Feed
from api.reads.queries import every_document
from api.services import Services
from api.writes.admission import READ_BY, Admission
from api.writes.image_garbage import ImageGarbage, Unused
from api.writes.image_parts import ImageParts
from api.writes.readiness import readiness
from api.writes.secret_cleanup import SecretCleanup
from api.writes.secret_sweep import sweep_for_ever
from api.writes.verdicts import Verdicts
from domain import catalog
from domain.core.errors import NotSupportedYet
from infra.db.postgres import PostgresWriteStore
from infra.db.write_store import WriteStoreUnavailable, measure_backlog
from infra.log.kafka import KafkaLog
from infra.log.lag import Lags, export_lags
from infra.process import metrics
from infra.process.clock import now
from infra.process.health_server import HealthState, measure_health, start_health_server
from infra.process.http_server import EmbeddedServer, embedded_server
from infra.process.loops import every
from infra.process.run import Part, run_until_signal
from infra.process.settings import Settings
from infra.secrets.encryption import Encryption
from infra.secrets.postgres import PostgresSecrets
from infra.secrets.segments import PostgresSegments
from infra.webhooks.postgres import PostgresDeliveries
from infra.webhooks.sender import Sender
from projections.history.replay import ProcessReplays
from projections.maintenance.runs_postgres import PostgresRuns
from projections.store.port import StoreUnavailable
from projections.store.postgres import PostgresStore

GRACE = 10
"""Seconds in which requests under way may end when the process stops."""


COLLECT_SECONDS = 600.0


class NotReady(Exception):
    """The API cannot answer all requests now."""


@asynccontextmanager
async def made(settings: Settings, token: str) -> AsyncIterator[Services]:
    """Make the real services, and close them at the end.

    Raises OSError and KeyInvalid for the key file, LogUnavailable, StoreUnavailable, SecretsUnavailable.
    """
    assert catalog.MESSAGES
    async with contextlib.AsyncExitStack() as stack:
        log = KafkaLog(settings.log.bootstrap, settings.api.log_timeout)
        stack.push_async_callback(log.close)
        store = PostgresStore(settings.db.dsn, settings.db.pool_size)
        await store.open()
        stack.push_async_callback(store.close)
        secrets = PostgresSecrets(settings.db.dsn, Encryption.from_file(settings.secrets.key_file))
        await secrets.open()
        stack.push_async_callback(secrets.close)
        agents = Agents(store, token)
        stack.push_async_callback(agents.close)
        deciding = {name: PostgresWriteStore(settings.db.dsn, name) for name in READ_BY}
        for write_store in deciding.values():
            stack.push_async_callback(write_store.close)
        deliveries = PostgresDeliveries(settings.db.dsn, pool_size=2)
        await deliveries.open()
        stack.push_async_callback(deliveries.close)
        sender = Sender(
            settings.webhooks.timeout,
            allow_private=settings.webhooks.allow_private,
            own_ports=settings.own_ports,
        )
        stack.push_async_callback(sender.close)
        images = ImageParts.of(settings, log, store, now)
        stack.push_async_callback(images.fetcher.close)
        secret_cleanup = SecretCleanup(secrets)
        admission = Admission(settings, log, store, deciding)
        services = Services(
            log=log,
            store=store,
            runs=PostgresRuns(settings.db.dsn),
            replays=ProcessReplays(settings.log.bootstrap, settings.api.replay_timeout),
            secrets=secrets,
            segments=PostgresSegments(settings.db.dsn),
            settings=settings,
            clock=now,
            verdicts=Verdicts(log, secret_cleanup.later, admission),
            secret_cleanup=secret_cleanup,
            agents=agents,
            images=images,
            admission=admission,
            deliveries=deliveries,
            sender=sender,
            deciding=deciding,
        )
        await raise_segments(services)
        await services.verdicts.open()
        yield services


async def raise_segments(services: Services) -> None:
    """Raise the sequence of segments above those of all networks. Raises StoreUnavailable.

    The sequence may be younger than the log, if its database was made anew.
    """
    segments = [network["segment"] async for network in every_document(services.store, "networks")]
    if highest := max(segments, default=0):
        await services.segments.raise_to(highest + 1)


async def collect_images(services: Services, *, dry_run: bool = False) -> list[Unused]:
    """Delete bytes of images that nothing refers to, or only tell which these are.

    Raises NotReady where the read models may not know of all that refers to them; StoreUnavailable, OSError, and
    NotSupportedYet where images are stored elsewhere.
    """
    told = await readiness(services)
    if told["problems"]:
        raise NotReady("; ".join(told["problems"]))
    garbage = ImageGarbage(services.images.store, services.store, services.settings.images)
    return await garbage.collect(services.clock(), dry_run=dry_run)


async def collect_for_ever(services: Services) -> None:
    """Delete bytes of images that nothing refers to every `COLLECT_SECONDS`, until cancelled."""
    failures = (NotReady, StoreUnavailable, NotSupportedYet, OSError)
    await every(COLLECT_SECONDS, partial(collect_images, services), name="image-garbage", failures=failures)


async def serve(settings: Settings) -> None:
    """Serve users and agents until SIGTERM or SIGINT.

    Raises SettingWrong, the errors of made(), and SystemExit if a port is in use.
    """
    token = await asyncio.to_thread(settings.secrets.agent_token)
    async with made(settings, token) as services:
        app = create_app(services)
        internal = create_internal_app(services, token)
        servers = [
            embedded_server(app, settings.api.listen, settings.api.port, GRACE, name="api", limits=settings.http),
            embedded_server(
                internal,
                settings.api.hosts_listen,
                settings.api.hosts_port,
                GRACE,
                name="api for agents",
                limits=settings.http,
            ),
        ]
        health = HealthState(settings.metrics.every)

        async def look() -> Lags:
            metrics.VERDICTS_AWAITED.set(services.verdicts.waiting)
            for name, write_store in services.deciding.items():
                await measure_backlog(name, write_store)
            told = await readiness(services)
            if told["problems"]:
                raise NotReady("; ".join(told["problems"]))
            return export_lags("api", await services.verdicts.look(services.clock()))

        # The servers end first: requests under way need the parts behind them for their answers.
        parts: list[Part] = [
            partial(_serve, servers, app.state.feed),
            services.verdicts.run,
            services.secret_cleanup.run,
            partial(sweep_for_ever, services),
            services.admission.run,
            services.images.worker.run,
            partial(collect_for_ever, services),
        ]
        if start_health_server(settings.metrics.listen, settings.metrics.api, health, settings.http):
            parts.append(partial(measure_health, health, look, (NotReady, WriteStoreUnavailable)))
        await run_until_signal(*parts)


async def _serve(servers: Sequence[EmbeddedServer], feed: Feed) -> None:
    """Serve until one of the servers ends, or until cancelled; then let all of them end their requests."""
    serving = [asyncio.create_task(server.serve()) for server in servers]
    try:
        await asyncio.wait(serving, return_when=asyncio.FIRST_COMPLETED)
    finally:
        feed.closing = True
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*serving)
