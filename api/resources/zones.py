"""Zones: named groups of hosts that fail together."""

from typing import Annotated

from fastapi import APIRouter, Body, Query, Request
from pydantic import Field
from starlette.responses import Response

from api.documents.document import page_of
from api.documents.hosts import HostDocument, ZoneDocument
from api.http.request_context import Asking, Given, Project
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import Many, One, Strict, caught_up, document, page
from api.writes import command_bus
from api.writes.boot import NAME
from api.writes.command_bus import Wish
from api.writes.command_responses import CREATED, answer
from domain.core.cells import DEFAULT_CELL
from domain.core.errors import Invalid, NotFound
from domain.core.messages import Key, named_id
from domain.host.messages import AssignZone
from domain.zone import CreateZone, DeleteZone
from projections.views.view import Condition

router = APIRouter(tags=["zones"])

VIEW = "zones"
DEFAULT = "default"
"""Where hosts are that were taken out of another zone."""


class ZoneBody(Strict):
    """A zone to be."""

    name: str = Field(min_length=1, max_length=255, pattern=NAME)
    cell: str = Field(DEFAULT_CELL, min_length=1, max_length=255, pattern=NAME, description="whose hosts it is of")
    description: str = Field("", max_length=1024)


class HostBody(Strict):
    """A host to put into a zone."""

    host: str = Field(min_length=1, max_length=255, description="id or name")


class ZoneList(Many):
    """What zones to list."""

    name: str | None = Field(None, max_length=255)
    deleted: bool = False


def _id(ref: str) -> str:
    return ref.lower() if resolve.is_id(ref) else named_id("zone", ref)


@router.post(
    "/zones",
    status_code=CREATED,
    summary="Create a zone",
    responses=describe.done(CREATED, ZoneDocument, examples.ZONE, 400, 409),
)
async def create_zone(
    given: Given,
    asked: Asking,
    body: Annotated[ZoneBody, Body(examples=[{"name": "east", "description": "the east wing"}])],
) -> Response:
    """Its name is its identity."""

    async def wish() -> Wish:
        command = CreateZone(name=body.name, cell=body.cell, description=body.description)
        return Wish(Key("zone", named_id("zone", body.name)), command)

    return await answer(given, await command_bus.carry_out(given, asked, wish), VIEW, done=CREATED)


@router.get("/zones", summary="List zones", responses=describe.listed(page_of(VIEW, ZoneDocument), VIEW, examples.ZONE))
async def list_zones(given: Given, asked: Annotated[ZoneList, Query()]) -> Response:
    """The newest first."""
    where = [Condition("deleted", "=", asked.deleted)]
    if asked.name:
        where.append(Condition("name", "=", asked.name))
    return await page(given, VIEW, asked, where)


@router.get("/zones/{ref}", summary="Show a zone", responses=describe.read(ZoneDocument, examples.ZONE))
async def show_zone(
    request: Request, given: Given, project: Project, ref: str, asked: Annotated[One, Query()]
) -> Response:
    """By id or name."""
    await caught_up(given, asked.after)
    return document(request, await resolve.found(given, VIEW, ref, project), VIEW, asked.fields)


@router.delete(
    "/zones/{ref}",
    summary="Delete a zone that has no hosts",
    responses=describe.done(200, ZoneDocument, examples.ZONE, 404),
)
async def delete_zone(given: Given, asked: Asking, ref: str) -> Response:
    """Refused while a host is in it."""

    async def wish() -> Wish:
        return Wish(Key("zone", _id(ref)), DeleteZone())

    return await answer(given, await command_bus.carry_out(given, asked, wish), VIEW)


@router.post(
    "/zones/{ref}/hosts",
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
