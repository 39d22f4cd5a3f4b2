"""Floating addresses: addresses of the outside that a project holds, and that lead to its guests."""

from collections.abc import Awaitable, Callable, Iterable
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from itertools import islice
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body
from pydantic import Field, model_validator
from starlette.responses import Response

from api import standard
from api.documents.document import Document
from api.http.permissions import needs
from api.http.request_context import RequestContext, RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import Strict, every_document
from api.resource import of_kind
from api.services import Services
from api.writes import command_bus
from api.writes.command_bus import CommandRequest
from api.writes.command_responses import CREATED, answer
from domain.core.errors import Invalid, some_of
from domain.core.messages import Key
from domain.floating_ip import (
    KIND,
    AssociateFloatingIp,
    CreateFloatingIp,
    DisassociateFloatingIp,
    FloatingIpCommand,
    NoFloatingAddresses,
    NoFloatingAddressLeft,
    NoWayOut,
)
from infra.process.ranges import ranges
from projections.views.view import Condition

router = APIRouter(tags=["floating addresses"])

VIEW = KIND.plural
CHOICE = 64
"""Free addresses of which one is taken: requests at one time mostly take different ones."""


class FloatingIpDocument(Document):
    """A floating address, which leads to a port or to none. A port that is deleted is answered for by nobody, until the
    address leads to another one."""

    id: str
    project_id: str
    name: str
    port_id: str
    network_id: str
    ip: str
    created: str
    updated: str
    deleted: str | None
    version: int


EXAMPLE: dict[str, Any] = {
    "id": "3c0f5a0d-e2a3-5f7b-8c5f-1a523b1e4c59",
    "project_id": "admin",
    "name": "192.0.2.10",
    "port_id": examples.PORT_ID,
    "network_id": examples.NETWORK_ID,
    "ip": "10.0.0.2",
    "created": examples.NOW,
    "updated": examples.NOW,
    "deleted": None,
    "version": 2,
}
RESOURCE = of_kind(KIND, FloatingIpDocument, EXAMPLE)

Ref = Annotated[str, Field(min_length=1, max_length=255)]


class FloatingIpBody(Strict):
    """A floating address that is to be held."""

    address: str | None = Field(None, max_length=15, description="the address; a free one unless given")


class AssociateBody(Strict):
    """The port that a floating address is to lead to."""

    port: Ref | None = Field(None, description="the port (name or id)")
    instance: Ref | None = Field(
        None, description="the instance (name or id) whose first port on a network with a way out it is"
    )

    @model_validator(mode="after")
    def _is_one(self) -> "AssociateBody":
        if (self.port is None) == (self.instance is None):
            raise ValueError("either a port or an instance is needed")
        return self


@router.post(
    f"/{VIEW}",
    status_code=CREATED,
    summary="Take a floating address",
    responses=describe.done(CREATED, FloatingIpDocument, EXAMPLE, 400, 409),
)
async def create_floating_ip(
    services: ServicesDep,
    context: RequestContextDep,
    body: Annotated[FloatingIpBody | None, Body(examples=[{"address": "192.0.2.10"}])] = None,
) -> Response:
    """The address is one of the operator's ranges, and is the name of what is made: nobody else gets it until it is
    deleted."""
    wanted = (body.address if body is not None else None) or ""

    async def make_command() -> CommandRequest:
        address = await _address(services, context, wanted)
        ident = await standard.new_id(services, KIND, context, address)
        return CommandRequest(Key(KIND.name, ident), CreateFloatingIp(name=address))

    return await answer(services, await command_bus.carry_out(services, context, make_command), VIEW, done=CREATED)


standard.add_all(router, RESOURCE, "show")
standard.add_show(router, RESOURCE, "The floating address is found by its id or by the address.")


@router.post(
    f"/{VIEW}/{{ref}}/associate",
    openapi_extra=needs("floating-ip:associate"),
    summary="Have a floating address lead to a port",
    responses=describe.done(200, FloatingIpDocument, EXAMPLE, 400, 404),
)
async def associate_floating_ip(
    services: ServicesDep,
    context: RequestContextDep,
    ref: str,
    body: Annotated[AssociateBody, Body(examples=[{"instance": "web"}])],
) -> Response:
    """The port's network needs a way out. The guest is reached at the address within seconds, where its security groups
    permit it, and is seen as the address outside."""

    async def command() -> FloatingIpCommand:
        port = await _port(services, context, body)
        return AssociateFloatingIp(port_id=port["id"], network_id=port["network_id"], ip=port["ip"])

    return await _send(services, context, ref, command)


@router.post(
    f"/{VIEW}/{{ref}}/disassociate",
    openapi_extra=needs("floating-ip:disassociate"),
    summary="Have a floating address lead to no port",
    responses=describe.done(200, FloatingIpDocument, EXAMPLE, 404),
)
async def disassociate_floating_ip(services: ServicesDep, context: RequestContextDep, ref: str) -> Response:
    """Connections by the address end within seconds. Where it leads to no port, nothing changes."""

    async def command() -> FloatingIpCommand:
        return DisassociateFloatingIp()

    return await _send(services, context, ref, command)


async def _send(
    services: Services, context: RequestContext, ref: str, command: Callable[[], Awaitable[FloatingIpCommand]]
) -> Response:
    """Send a command to the floating address with this id or name. Raises NotFound, NameNotUnique."""

    async def make_command() -> CommandRequest:
        ident = await resolve.ident(services, VIEW, ref, context.project)
        return CommandRequest(Key(KIND.name, ident), await command())

    return await answer(services, await command_bus.carry_out(services, context, make_command), VIEW)


async def _address(services: Services, context: RequestContext, wanted: str) -> str:
    """Return the address to take: this one, or where none is wanted a free one.

    Raises NoFloatingAddresses, NoFloatingAddressLeft, Invalid.
    """
    known = ranges(services.settings.networks.floating)
    if not known:
        raise NoFloatingAddresses
    told = some_of([str(each) for each in known])
    if wanted:
        if not _is_in(wanted, known):
            raise Invalid(field="address", value=wanted, allowed=f"an IPv4 address in {told} is needed")
        return wanted
    held = await _held(services)
    addresses = (str(address) for each in known for address in each)
    free = list(islice((each for each in addresses if each not in held), CHOICE))
    if not free:
        raise NoFloatingAddressLeft(ranges=told)
    # The same for a request that is sent again.
    return free[int(context.command_id.replace("-", ""), 16) % len(free)]


def _is_in(text: str, blocks: Iterable[IPv4Network]) -> bool:
    try:
        return any(IPv4Address(text) in each for each in blocks)
    except AddressValueError:
        return False


async def _held(services: Services) -> frozenset[str]:
    """Return every address that somebody holds."""
    found = every_document(services.store, VIEW, Condition("deleted", "=", False))
    return frozenset([doc["name"] async for doc in found])


async def _port(services: Services, context: RequestContext, body: AssociateBody) -> dict[str, Any]:
    """Return the document of the port that a request means. Raises NotFound, NameNotUnique, NoWayOut, Invalid."""
    if body.port is not None:
        port = await resolve.alive(services, "ports", body.port, context.project)
        if not await _leads_out(services, port):
            raise NoWayOut(network=port["network_name"])
        return port
    assert body.instance is not None
    instance = await resolve.alive(services, "instances", body.instance, context.project)
    ids = [nic["port_id"] for nic in instance["nics"] if nic["port_id"]]
    rows = [row for ident in ids if (row := await services.store.get("ports", ident)) is not None]
    ports: list[dict[str, Any]] = [orjson.loads(row.doc) for row in rows]
    for port in ports:
        if await _leads_out(services, port):
            return port
    if ports:
        raise NoWayOut(network=some_of([port["network_name"] for port in ports]))
    raise Invalid(field="instance", value=body.instance, allowed="an instance with an address in a network is needed")


async def _leads_out(services: Services, port: dict[str, Any]) -> bool:
    """Return whether the port's network has a way out."""
    row = await services.store.get("networks", port["network_id"])
    return row is not None and bool(orjson.loads(row.doc).get("external"))
