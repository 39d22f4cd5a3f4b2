"""Zones: named groups of hosts that may fail together."""

from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import Field
from starlette.responses import Response

from api import standard
from api.documents.document import Document
from api.documents.hosts import HostDocument
from api.http.names import Name
from api.http.permissions import needs
from api.http.request_context import RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import Strict
from api.resource import of_kind
from api.writes import command_bus
from api.writes.command_bus import CommandRequest
from api.writes.command_responses import answer
from domain.core.cells import DEFAULT_CELL
from domain.core.errors import Invalid, NotFound
from domain.core.messages import Key
from domain.host.messages import AssignZone
from domain.zone import KIND

router = APIRouter(tags=["zones"])

VIEW = "zones"
DEFAULT = "default"
"""The zone of hosts that were taken out of another one."""


class ZoneDocument(Document):
    """A zone: a named group of hosts of one cell."""

    id: str
    name: str
    cell: str
    description: str
    created: str
    updated: str
    deleted: str | None
    version: int


EXAMPLE: dict[str, Any] = {
    "id": examples.ZONE_ID,
    "name": "east",
    "cell": "default",
    "description": "the east wing",
    "created": examples.NOW,
    "updated": examples.NOW,
    "deleted": None,
    "version": 1,
}
RESOURCE = of_kind(KIND, ZoneDocument, EXAMPLE)


class ZoneBody(Strict):
    """A zone that is to be created."""

    name: Name
    cell: Name = Field(DEFAULT_CELL, description="cell whose hosts the zone groups")
    description: str = Field("", max_length=1024)


class HostBody(Strict):
    """The host that is to be put into a zone."""

    host: str = Field(min_length=1, max_length=255, description="id or name")


standard.add_all(router, RESOURCE, "create", "delete")
standard.add_create(
    router, RESOURCE, ZoneBody, {"name": "east", "description": "the east wing"}, "The name is unique among all zones."
)
standard.add_delete(
    router, RESOURCE, "The deletion is refused while a host is in the zone.", "Delete a zone that has no hosts"
)


@router.post(
    "/zones/{ref}/hosts",
    openapi_extra=needs("zone:add-host"),
    summary="Put a host into a zone",
    responses=describe.done(200, HostDocument, examples.HOST, 400, 404),
)
async def add_host(
    services: ServicesDep,
    context: RequestContextDep,
    ref: str,
    body: Annotated[HostBody, Body(examples=[{"host": "h1"}])],
) -> Response:
    """The host leaves the zone that it was in; its instances stay on it."""

    async def make_command() -> CommandRequest:
        zone = await resolve.alive(services, VIEW, ref, context.project)
        host_id = await resolve.ident(services, "hosts", body.host, context.project)
        return CommandRequest(Key("host", host_id), AssignZone(zone=zone["name"]))

    return await answer(services, await command_bus.carry_out(services, context, make_command), "hosts")


@router.delete(
    "/zones/{ref}/hosts/{host}",
    openapi_extra=needs("zone:remove-host"),
    summary="Take a host out of a zone",
    responses=describe.done(200, HostDocument, examples.HOST, 404),
)
async def remove_host(services: ServicesDep, context: RequestContextDep, ref: str, host: str) -> Response:
    """The host goes back to the default zone; its instances stay on it."""

    async def make_command() -> CommandRequest:
        zone = await resolve.alive(services, VIEW, ref, context.project)
        if zone["name"] == DEFAULT:
            raise Invalid(field="zone", value=DEFAULT, allowed="a host always has a zone: put it into another one")
        found = await resolve.alive(services, "hosts", host, context.project)
        if found["zone"] != zone["name"]:
            raise NotFound(kind=f"host in zone {zone['name']} called", id=host)
        return CommandRequest(Key("host", found["id"]), AssignZone(zone=DEFAULT))

    return await answer(services, await command_bus.carry_out(services, context, make_command), "hosts")
