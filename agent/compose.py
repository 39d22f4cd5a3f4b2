"""Composition root of the agent: the real log, the host's driver, its journal, and its own endpoint."""

import asyncio
import base64
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
from fastapi import FastAPI

from agent.drivers.driver import Driver, DriverError, DriverFault, Secrets
from agent.drivers.simulated.driver import SimulatedDriver
from agent.host.endpoint import endpoint
from agent.jobs import Outside
from agent.metadata.link import MetadataProcess
from agent.outside.disk_stream import HttpOtherHosts
from agent.outside.image_uploads import HttpImageUploads
from agent.runner.journal import Journal
from agent.service import AgentOptions, AgentService
from domain.core.messages import named_id
from domain.guest_spec import GuestSpec
from domain.jobs.pool import PoolPlace
from domain.network.on_host import RuleCount
from domain.network.port_settings import HostPorts, all_permitted
from infra.log.kafka import KafkaLog
from infra.log.log import LogUnavailable
from infra.process import metrics
from infra.process.clock import now
from infra.process.error_text import named
from infra.process.health_server import HealthState, measure_health, start_health_server
from infra.process.http_server import embedded_server
from infra.process.loops import every
from infra.process.run import Part, run_until_signal
from infra.process.settings import Http, Settings

HOSTS_SECONDS = 5.0
"""Seconds between two looks at which hosts there are."""
PORTS_SECONDS = 1.0
"""Seconds between two looks at the settings of ports: a change of a security group is in force within two."""
COUNTERS_SECONDS = 15.0
"""Seconds between two readings of what rules have permitted, for the metrics."""
CACHE_SECONDS = 600.0
"""Seconds between two looks for images that nothing asks for any more."""
MOST_ASKED = 1_000
"""Images of a cache that one request asks for."""
SECRET_SECONDS = 10.0
"""Limit of one request for a secret."""
SECRET_PATIENCE = 60.0
"""Seconds for which the API may be away: as long as its restart takes on a host with a lot to do."""
SECRET_PAUSE = 2.0
"""Seconds between two requests, at most."""


def host_names(settings: Settings) -> list[str]:
    """Return the names of this process's hosts: one, or many simulated ones, numbered."""
    name = settings.agent.name or socket.gethostname()
    if settings.agent.driver == "libvirt" or settings.agent.simulated == 1:
        return [name]
    return [f"{name}-{number}" for number in range(1, settings.agent.simulated + 1)]


def make_driver(settings: Settings, name: str, shared: dict[str, int] | None = None) -> Driver:
    """Make the driver that the settings name, for the host of that name; simulated hosts share the volumes in pools."""
    if settings.agent.driver == "simulated":
        kept = Path(settings.agent.state) / f"{name}.guests" if settings.agent.keep_guests else None
        return SimulatedDriver.of(settings, name, kept, shared)
    from agent.drivers.libvirt.driver import LibvirtDriver

    return LibvirtDriver.of(settings, settings.secrets.agent_token(), named_id("host", name))


def authorization(settings: Settings) -> dict[str, str]:
    """Make the header by which the API and the agents know one another."""
    return {"Authorization": f"Bearer {settings.secrets.agent_token()}"}


def api_session(settings: Settings) -> aiohttp.ClientSession:
    """Open an HTTP session to the API; the caller closes it."""
    timeout = aiohttp.ClientTimeout(total=SECRET_SECONDS)
    return aiohttp.ClientSession(settings.agent.control, headers=authorization(settings), timeout=timeout)


def secrets_from(session: aiohttp.ClientSession) -> Callable[[GuestSpec], Awaitable[Secrets]]:
    """Return a function that fetches a guest's password and user data from the API."""

    async def value(ref: str) -> bytes:
        if not ref:
            return b""
        until, pause = time.monotonic() + SECRET_PATIENCE, 0.2
        while True:
            try:
                async with session.get(f"/internal/v1/secrets/{ref}") as answer:
                    if answer.status == HTTPStatus.NOT_FOUND:
                        message = "the guest's secrets were deleted before the guest was made"
                        raise DriverError(DriverFault.SECRET_GONE, message, ref)
                    answer.raise_for_status()
                    told = await answer.json()
                    text = str(told["value"])
                    return base64.b64decode(text) if told.get("encoding") == "base64" else text.encode()
            except (aiohttp.ClientError, TimeoutError) as error:
                if time.monotonic() + pause > until:
                    message = "the API did not give the guest's secrets"
                    raise DriverError("secret-unavailable", message, f"{ref}: {named(error)}") from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, SECRET_PAUSE)

    async def secrets(guest: GuestSpec) -> Secrets:
        password = (await value(guest.password_ref)).decode()
        return Secrets(password=password, user_data=await value(guest.user_data_ref))

    return secrets


async def follow_hosts(session: aiohttp.ClientSession, drivers: Iterable[Driver]) -> None:
    """Have the drivers know the hosts that the API knows, again and again; while it does not answer, those before."""
    drivers = list(drivers)

    async def follow() -> None:
        async with session.get("/internal/v1/uplinks") as answer:
            answer.raise_for_status()
            told = await answer.json()
        # Agents are upgraded before the API: an earlier one tells no keys.
        keys = told.get("keys", {})
        hosts = {str(each): str(keys.get(each, "")) for each in told["uplinks"]}
        for driver in drivers:
            await driver.know_hosts(hosts)

    failures = (aiohttp.ClientError, TimeoutError, DriverError, OSError)
    await every(HOSTS_SECONDS, follow, name="known-hosts", failures=failures)


async def follow_ports(session: aiohttp.ClientSession, drivers: Iterable[Driver]) -> None:
    """Have the drivers know the settings of their guests' ports, again and again; while the API does not answer, those
    before."""
    drivers = list(drivers)

    async def follow() -> None:
        for driver in drivers:
            version, ports = await driver.ports()
            wanted = {"version": version, "ports": [(network, ip) for network, ip, _ in ports]}
            async with session.post("/internal/v1/ports", json=wanted) as answer:
                if answer.status == HTTPStatus.NOT_FOUND:
                    # Agents are upgraded before the API: until it knows security groups, nobody has any.
                    await driver.know_ports(all_permitted(ports))
                    continue
                answer.raise_for_status()
                if answer.status == HTTPStatus.NO_CONTENT:
                    continue
                settings = HostPorts.model_validate_json(await answer.read())
            await driver.know_ports(settings)

    failures = (aiohttp.ClientError, TimeoutError, DriverError, OSError)
    await every(PORTS_SECONDS, follow, name="known-ports", failures=failures)


async def count_rules(drivers: Iterable[Driver]) -> None:
    """Have the metrics say how much each rule of the hosts' security groups has permitted, again and again."""
    drivers = list(drivers)

    async def count() -> None:
        found: dict[str, RuleCount] = {}
        for driver in drivers:
            for rule, counter in (await driver.rule_counters()).items():
                found[rule] = found.get(rule, RuleCount()) + counter
        metrics.RULE_PACKETS.values = {rule: each.packets for rule, each in found.items()}
        metrics.RULE_BYTES.values = {rule: each.bytes for rule, each in found.items()}

    await every(COUNTERS_SECONDS, count, name="rule-counters", failures=(DriverError, OSError))


async def follow_pools(session: aiohttp.ClientSession, service: AgentService) -> None:
    """Have the hosts look for the pools that the API knows, again and again."""

    async def follow() -> None:
        async with session.get("/internal/v1/pools") as answer:
            if answer.status == HTTPStatus.NOT_FOUND:
                # Agents are upgraded before the API: an earlier one knows no pools.
                return
            answer.raise_for_status()
            told = await answer.json()
        await service.know_pools([PoolPlace.model_validate(each) for each in told["pools"]])

    failures = (aiohttp.ClientError, TimeoutError, DriverError, OSError)
    await every(HOSTS_SECONDS, follow, name="known-pools", failures=failures)


async def drop_unused_images(session: aiohttp.ClientSession, driver: Driver) -> list[str]:
    """Remove from a host's cache what the API says nothing will ask for again, and return the checksums of it.

    What the API says nothing of stays. Raises aiohttp.ClientError, TimeoutError, DriverError, OSError.
    """
    dropped: list[str] = []
    cached = await driver.cached_images()
    for start in range(0, len(cached), MOST_ASKED):
        asked = cached[start : start + MOST_ASKED]
        async with session.post("/internal/v1/images/gone", json={"checksums": asked}) as answer:
            if answer.status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
                # Agents are upgraded before the API, which knows of single images alone until then.
                return dropped
            answer.raise_for_status()
            told = await answer.json()
        dropped += await driver.drop_images([each for each in told["gone"] if each in asked])
    return dropped


async def keep_caches_small(session: aiohttp.ClientSession, drivers: Iterable[Driver]) -> None:
    """Remove unused images from the hosts' caches again and again."""
    drivers = list(drivers)

    async def look() -> None:
        for driver in drivers:
            await drop_unused_images(session, driver)

    failures = (aiohttp.ClientError, TimeoutError, DriverError, OSError)
    await every(CACHE_SECONDS, look, name="image-cache", failures=failures, first=CACHE_SECONDS)


def metadata_process(settings: Settings, driver: Any) -> MetadataProcess:
    """Make the process that answers the guests of a libvirt driver, which hands it its networks' sockets."""
    agent = settings.agent
    limits = settings.http.model_copy(update={"connections": agent.metadata_connections})
    made = MetadataProcess(driver.metadata_document, agent.metadata_user, agent.metadata_token, limits)
    driver.give_metadata_sockets(made)
    return made


async def _serve(app: FastAPI, listener: socket.socket, name: str, limits: Http) -> None:
    await embedded_server(app, name=name, limits=limits).serve([listener])


def prepare(settings: Settings) -> None:
    """Create the agent's directory, and keep others out of every file that is made from now on. Raises OSError."""
    Path(settings.agent.state).mkdir(parents=True, exist_ok=True)
    # Of the programs that it calls, too: a disk or the journal tells of guests what is nobody else's business.
    os.umask(0o077)


async def agent(settings: Settings) -> None:
    """Run the agent until a signal comes.

    Raises what cannot be waited out: the supervisor then starts the process again.
    """
    state = Path(settings.agent.state)
    names = host_names(settings)
    shared: dict[str, int] = {}
    drivers = {name: make_driver(settings, name, shared) for name in names}
    log = KafkaLog(settings.log.bootstrap, settings.log.request_timeout)
    listener = socket.create_server((settings.agent.address, settings.agent.port))
    port = listener.getsockname()[1]
    options = AgentOptions(
        cell=settings.scheduling.cell,
        zone=settings.agent.zone,
        endpoint=f"http://{settings.agent.address}:{port}",
        parallel=settings.agent.parallel,
        heartbeat=settings.agent.heartbeat,
        reconcile=settings.agent.reconcile,
        held=settings.agent.held,
    )
    session = api_session(settings)
    agents = aiohttp.ClientSession(headers=authorization(settings))
    outside = Outside(
        secrets=secrets_from(session), other_hosts=HttpOtherHosts(agents), uploads=HttpImageUploads(session)
    )
    journal = Journal(state / "journal.db")
    service = AgentService(log, journal, drivers, outside, now, options)
    by_id = {named_id("host", name): driver for name, driver in drivers.items()}
    parts: list[Part] = [
        service.run,
        partial(
            _serve, endpoint(by_id, settings.secrets.agent_token(), journal.epochs), listener, "agent", settings.http
        ),
    ]
    if settings.agent.driver == "libvirt":
        parts += [metadata_process(settings, driver).run for driver in drivers.values()]
        parts.append(partial(follow_hosts, session, drivers.values()))
        parts.append(partial(follow_ports, session, drivers.values()))
        parts.append(partial(keep_caches_small, session, drivers.values()))
    parts.append(partial(follow_pools, session, service))
    health = HealthState(settings.metrics.every)
    if start_health_server(settings.metrics.listen, settings.metrics.agent, health, settings.http):
        parts.append(partial(measure_health, health, service.look, (LogUnavailable,)))
        parts.append(partial(count_rules, drivers.values()))
    await run_until_signal(
        *parts, opening=(service.start,), closing=(service.close, session.close, agents.close, log.close)
    )
