"""Zones: named groups of hosts that fail together."""

from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import Field
from starlette.responses import Response

from api import standard
from api.documents.document import Document
from api.documents.hosts import HostDocument
from api.http.permissions import needs
from api.http.request_context import Asking, Given
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import Strict
from api.resource import of_kind
from api.writes import command_bus
from api.writes.boot import NAME
from api.writes.command_bus import Wish
from api.writes.command_responses import answer
from domain.core.cells import DEFAULT_CELL
from domain.core.errors import Invalid, NotFound
from domain.core.messages import Key
from domain.host.messages import AssignZone
from domain.zone import KIND

router = APIRouter(tags=["zones"])

VIEW = "zones"
DEFAULT = "default"
"""Where hosts are that were taken out of another zone."""


class ZoneDocument(Document):
    """A zone."""

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
    """A zone to be."""

    name: str = Field(min_length=1, max_length=255, pattern=NAME)
    cell: str = Field(DEFAULT_CELL, min_length=1, max_length=255, pattern=NAME, description="whose hosts it is of")
    description: str = Field("", max_length=1024)


class HostBody(Strict):
    """A host to put into a zone."""

    host: str = Field(min_length=1, max_length=255, description="id or name")


standard.add_all(router, RESOURCE, "create", "delete")
standard.add_create(
    router, RESOURCE, ZoneBody, {"name": "east", "description": "the east wing"}, "Its name is its identity."
)
standard.add_delete(router, RESOURCE, "Refused while a host is in it.", "Delete a zone that has no hosts")


@router.post(
    "/zones/{ref}/hosts",
    openapi_extra=needs("zone:add-host"),
    summary="Put a host into a zone",
    responses=describe.done(200, HostDocument, examples.HOST, 400, 404),
)
async def add_host(
    given: Given, asked: Asking, ref: str, body: Annotated[HostBody, Body(examples=[{"host": "h1"}])]
) -> Response:
    """It leaves the zone that it was in; its instances stay."""

    async def wish() -> Wish:
        zone = await resolve.alive(given, VIEW, ref, asked.project)
        host_id = await resolve.ident(given, "hosts", body.host, asked.project)
        return Wish(Key("host", host_id), AssignZone(zone=zone["name"]))

    return await answer(given, await command_bus.carry_out(given, asked, wish), "hosts")


@router.delete(
    "/zones/{ref}/hosts/{host}",
    openapi_extra=needs("zone:remove-host"),
    summary="Take a host out of a zone",
    responses=describe.done(200, HostDocument, examples.HOST, 404),
)
async def remove_host(given: Given, asked: Asking, ref: str, host: str) -> Response:
    """It goes back to the default zone; its instances stay."""

    async def wish() -> Wish:
        zone = await resolve.alive(given, VIEW, ref, asked.project)
        if zone["name"] == DEFAULT:
            raise Invalid(field="zone", value=DEFAULT, allowed="a host always has a zone: put it into another one")
        found = await resolve.alive(given, "hosts", host, asked.project)
        if found["zone"] != zone["name"]:
            raise NotFound(kind=f"host in zone {zone['name']} called", id=host)
        return Wish(Key("host", found["id"]), AssignZone(zone=DEFAULT))

    return await answer(given, await command_bus.carry_out(given, asked, wish), "hosts")
