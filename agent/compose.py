"""Composition root of the agent: the real log, the host's driver, its journal, and its own endpoint."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path

import aiohttp
from fastapi import FastAPI

from agent.drivers.driver import Driver, DriverError, DriverFault, Secrets
from agent.drivers.simulated.driver import SimulatedDriver
from agent.host.endpoint import endpoint
from agent.host.metadata import listen, metadata
from agent.jobs import Outside
from agent.outside.disk_stream import HttpOtherHosts
from agent.outside.image_uploads import HttpImageUploads
from agent.runner.journal import Journal
from agent.service import AgentOptions, AgentService
from domain.core.messages import named_id
from domain.guest_spec import GuestSpec
from infra.log.kafka import KafkaLog
from infra.log.log import LogUnavailable
from infra.process.clock import now
from infra.process.health_server import HealthState, measure_health, start_health_server
from infra.process.http_server import embedded_server
from infra.process.run import Part, run_until_signal
from infra.process.settings import Settings

SECRET_SECONDS = 10.0
SECRET_TRIES = 5


def host_names(settings: Settings) -> list[str]:
    """Return the names of this process's hosts: one, or many simulated ones, numbered."""
    name = settings.agent.name or socket.gethostname()
    if settings.agent.driver == "libvirt" or settings.agent.simulated == 1:
        return [name]
    return [f"{name}-{number}" for number in range(1, settings.agent.simulated + 1)]


def make_driver(settings: Settings, name: str) -> Driver:
    """Make the driver that the settings name, for the host of that name."""
    if settings.agent.driver == "simulated":
        kept = Path(settings.agent.state) / f"{name}.guests" if settings.agent.keep_guests else None
        return SimulatedDriver.of(settings, name, kept)
    from agent.drivers.libvirt.driver import LibvirtDriver

    return LibvirtDriver.of(settings, settings.secrets.agent_token())


def authorization(settings: Settings) -> dict[str, str]:
    """Make the header by which the API and the agents know one another."""
    return {"Authorization": f"Bearer {settings.secrets.agent_token()}"}


def api_session(settings: Settings) -> aiohttp.ClientSession:
    """Open an HTTP session to the API; the caller closes it."""
    timeout = aiohttp.ClientTimeout(total=SECRET_SECONDS)
    return aiohttp.ClientSession(settings.agent.control, headers=authorization(settings), timeout=timeout)


def secrets_from(session: aiohttp.ClientSession) -> Callable[[GuestSpec], Awaitable[Secrets]]:
    """Return a function that fetches a guest's password and user data from the API."""

    async def value(ref: str) -> str:
        if not ref:
            return ""
        problem: Exception | None = None
        for attempt in range(SECRET_TRIES):
            try:
                async with session.get(f"/internal/v1/secrets/{ref}") as answer:
                    if answer.status == HTTPStatus.NOT_FOUND:
                        raise DriverError(
                            DriverFault.SECRET_GONE, f"the secret {ref} was deleted before the guest was made"
                        )
                    answer.raise_for_status()
                    return str((await answer.json())["value"])
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = error
                await asyncio.sleep(0.2 * 2**attempt)
        raise DriverError("secret-unavailable", f"the API did not give the secret {ref}: {problem!r}")

    async def secrets(guest: GuestSpec) -> Secrets:
        return Secrets(password=await value(guest.password_ref), user_data=await value(guest.user_data_ref))

    return secrets


async def _serve(app: FastAPI, listener: socket.socket) -> None:
    await embedded_server(app).serve([listener])


def prepare(settings: Settings) -> None:
    """Create the agent's directory. Raises OSError."""
    Path(settings.agent.state).mkdir(parents=True, exist_ok=True)


async def agent(settings: Settings) -> None:
    """Run the agent until a signal comes.

    Raises what cannot be waited out: the supervisor then starts the process again.
    """
    state = Path(settings.agent.state)
    names = host_names(settings)
    drivers = {name: make_driver(settings, name) for name in names}
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
        partial(_serve, endpoint(by_id, settings.secrets.agent_token(), journal.epochs), listener),
    ]
    if settings.agent.driver == "libvirt" and (metadata_listener := listen()) is not None:
        parts.append(partial(_serve, metadata(state), metadata_listener))
    health = HealthState(settings.metrics.every)
    if start_health_server(settings.metrics.listen, settings.metrics.agent, health):
        parts.append(partial(measure_health, health, service.look, (LogUnavailable,)))
    await run_until_signal(
        *parts, opening=(service.start,), closing=(service.close, session.close, agents.close, log.close)
    )
