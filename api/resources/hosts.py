"""Hosts: what instances run on. They register themselves; people say which may be used."""

from typing import Annotated, Literal

from fastapi import APIRouter, Body, Query
from pydantic import Field
from starlette.responses import Response

from api import standard
from api.documents.document import page_of
from api.documents.hosts import HostDocument
from api.http.request_context import Asked, Asking, Given
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import Many, Strict, Words, page
from api.resource import of_kind
from api.services import Services
from api.writes import command_bus
from api.writes.command_bus import Wish
from api.writes.command_responses import answer
from domain.core.messages import Key
from domain.host.kind import KIND
from domain.host.messages import DisableHost, EnableHost, HostCommand
from projections.views.view import Condition

router = APIRouter(tags=["hosts"])

VIEW = "hosts"
RESOURCE = of_kind(KIND, HostDocument, examples.HOST)


class HostList(Many):
    """What hosts to list."""

    name: str | None = Field(None, max_length=255)
    zone: str | None = Field(None, max_length=255)
    cell: str | None = Field(None, max_length=255)
    status: Literal["enabled", "disabled"] | None = None
    health: Words | None = Field(None, description="any of these")


class Disabling(Strict):
    """Why the host is disabled."""

    reason: str = Field("", max_length=1024)


class Enabling(Strict):
    """Nothing has to be said."""

    reason: str = Field("", max_length=1024, description="kept with the command")


@router.get("/hosts", summary="List hosts", responses=describe.listed(page_of(VIEW, HostDocument), VIEW, examples.HOST))
async def list_hosts(given: Given, asked: Annotated[HostList, Query()]) -> Response:
    """The newest first."""
    same = {"name": asked.name, "zone": asked.zone, "cell": asked.cell}
    where = [Condition(column, "=", value) for column, value in same.items() if value]
    if asked.status:
        where.append(Condition("enabled", "=", asked.status == "enabled"))
    if asked.health:
        where.append(Condition("health", "in", asked.health))
    return await page(given, VIEW, asked, where)


standard.add_all(router, RESOURCE, "list", "why")
standard.add_why(
    router,
    RESOURCE,
    "Who enabled or disabled it, which zone it is in and by whom, and whether it is heard of. What instances hold "
    "there is told of them.",
)


@router.post(
    "/hosts/{ref}/actions/enable",
    summary="Let new instances be placed on a host",
    responses=describe.done(200, HostDocument, examples.HOST, 400, 404),
)
async def enable_host(
    given: Given, asked: Asking, ref: str, body: Annotated[Enabling | None, Body(examples=[{}])] = None
) -> Response:
    """It is a candidate again when it is well, too."""
    return await _one(given, asked, ref, EnableHost())


@router.post(
    "/hosts/{ref}/actions/disable",
    summary="Place no new instances on a host",
    responses=describe.done(200, HostDocument, examples.HOST, 400, 404),
)
async def disable_host(
    given: Given,
    asked: Asking,
    ref: str,
    body: Annotated[Disabling | None, Body(examples=[{"reason": "its fan is loud"}])] = None,
) -> Response:
    """Those it has stay."""
    return await _one(given, asked, ref, DisableHost(why=body.reason if body else ""))


async def _one(services: Services, asked: Asked, ref: str, command: HostCommand) -> Response:
    async def wish() -> Wish:
        return Wish(Key("host", await resolve.ident(services, VIEW, ref, asked.project)), command)

    return await answer(services, await command_bus.carry_out(services, asked, wish), VIEW)
