"""Questions of the check to hosts' agents, over their HTTP endpoints."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

from domain.host.state import Host
from domain.network.on_host import HostNetworks
from infra.process.error_text import text_of


@dataclass(frozen=True)
class HostedGuest:
    """A guest as its host's agent reports it."""

    power: str
    epoch: int = 0
    """The host's epoch in which a job last gave the guest its power; 0 where the agent does not know."""


Guests = Callable[[Host], Awaitable[Mapping[str, HostedGuest]]]
"""Returns the guests that a host's hypervisor has, by instance id. Raises AgentSilent."""
Networks = Callable[[Host], Awaitable[HostNetworks | None]]
"""Returns what a host tells of its networks; None for a host that has none, or whose agent does not know how. Raises
AgentSilent."""
PoolVolumes = Callable[[Host, str], Awaitable[Collection[str] | None]]
"""Returns the ids of the volumes whose disks there are in the pool with this id, as a host finds it; None where its
agent does not know how. Raises AgentSilent."""


class AgentSilent(Exception):
    """A host's agent does not answer, so its guests are not known."""


async def without_networks(host: Host) -> HostNetworks | None:
    """Return that a host has no networks, as simulated ones have none."""
    return None


async def without_pools(host: Host, pool_id: str) -> None:
    """Return that the host tells of no pool."""


def guests_by_http(session: aiohttp.ClientSession, token: str) -> Guests:
    """Return a function that asks the HTTP endpoint of a host's agent for its guests."""

    async def guests(host: Host) -> Mapping[str, HostedGuest]:
        found: dict[str, Any] = await _answer(session, token, host, "guests")
        # Agents of earlier releases tell no epochs.
        epochs = found.get("epochs", {})
        return {ident: HostedGuest(power, epochs.get(ident, 0)) for ident, power in found["guests"].items()}

    return guests


def networks_by_http(session: aiohttp.ClientSession, token: str) -> Networks:
    """Return a function that asks the HTTP endpoint of a host's agent for its networks."""

    async def networks(host: Host) -> HostNetworks | None:
        found = await _answer(session, token, host, "networks", missing=True)
        try:
            return None if found is None else HostNetworks.model_validate(found)
        except ValueError as error:
            raise AgentSilent(text_of(error)) from error

    return networks


def pool_volumes_by_http(session: aiohttp.ClientSession, token: str) -> PoolVolumes:
    """Return a function that asks the HTTP endpoint of a host's agent for the volumes in a pool."""

    async def pool_volumes(host: Host, pool_id: str) -> Collection[str] | None:
        found = await _answer(session, token, host, f"pools/{pool_id}/volumes", missing=True)
        try:
            return None if found is None else frozenset(found["volumes"])
        except (KeyError, TypeError) as error:
            raise AgentSilent(text_of(error)) from error

    return pool_volumes


async def _answer(session: aiohttp.ClientSession, token: str, host: Host, what: str, missing: bool = False) -> Any:
    """Return what an agent answers; with `missing`, None from one of an earlier release, which does not know the
    question. Raises AgentSilent."""
    url = f"{host.endpoint.rstrip('/')}/v1/hosts/{host.id}/{what}"
    try:
        async with session.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
            if missing and answer.status == HTTPStatus.NOT_FOUND:
                return None
            answer.raise_for_status()
            return await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise AgentSilent(text_of(error)) from error
