"""Hosts: machines that run instances. They register themselves; operators enable and disable them."""

from typing import Annotated, Literal

from fastapi import APIRouter, Body, Query
from pydantic import Field
from starlette.responses import Response

from api import standard
from api.documents.document import page_of
from api.documents.hosts import HostDocument
from api.http.request_context import RequestContext, RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import Many, Strict, Words, page
from api.resource import of_kind
from api.services import Services
from api.writes import command_bus
from api.writes.command_bus import CommandRequest
from api.writes.command_responses import answer
from domain.core.messages import Key
from domain.host.kind import KIND
from domain.host.messages import DisableHost, EnableHost, HostCommand
from projections.views.view import Condition

router = APIRouter(tags=["hosts"])

VIEW = "hosts"
RESOURCE = of_kind(KIND, HostDocument, examples.HOST)


class HostList(Many):
    """Parameters of a list of hosts."""

    name: str | None = Field(None, max_length=255)
    zone: str | None = Field(None, max_length=255)
    cell: str | None = Field(None, max_length=255)
    status: Literal["enabled", "disabled"] | None = None
    health: Words | None = Field(None, description="any of these states of health, separated by commas")


class Disabling(Strict):
    """The reason for disabling a host."""

    reason: str = Field("", max_length=1024)


class Enabling(Strict):
    """The optional reason for enabling a host."""

    reason: str = Field("", max_length=1024, description="reason, recorded with the command")


@router.get("/hosts", summary="List hosts", responses=describe.listed(page_of(VIEW, HostDocument), VIEW, examples.HOST))
async def list_hosts(services: ServicesDep, parameters: Annotated[HostList, Query()]) -> Response:
    """Hosts are listed with the newest first."""
    same = {"name": parameters.name, "zone": parameters.zone, "cell": parameters.cell}
    where = [Condition(column, "=", value) for column, value in same.items() if value]
    if parameters.status:
        where.append(Condition("enabled", "=", parameters.status == "enabled"))
    if parameters.health:
        where.append(Condition("health", "in", parameters.health))
    return await page(services, VIEW, parameters, where)


standard.add_all(router, RESOURCE, "list", "why")
standard.add_why(
    router,
    RESOURCE,
    "The causes of the host's status, zone and health. Resources that instances hold on the host are explained by the "
    "instances' own causes.",
)


@router.post(
    "/hosts/{ref}/actions/enable",
    summary="Let new instances be placed on a host",
    responses=describe.done(200, HostDocument, examples.HOST, 400, 404),
)
async def enable_host(
    services: ServicesDep,
    context: RequestContextDep,
    ref: str,
    body: Annotated[Enabling | None, Body(examples=[{}])] = None,
) -> Response:
    """The scheduler places new instances on the host again, provided that it is healthy."""
    return await standard.send_command(services, context, RESOURCE, ref, EnableHost())


@router.post(
    "/hosts/{ref}/actions/disable",
    summary="Place no new instances on a host",
    responses=describe.done(200, HostDocument, examples.HOST, 400, 404),
)
async def disable_host(
    services: ServicesDep,
    context: RequestContextDep,
    ref: str,
    body: Annotated[Disabling | None, Body(examples=[{"reason": "its fan is loud"}])] = None,
) -> Response:
    """Instances that are on the host already stay there and keep running."""
    return await standard.send_command(services, context, RESOURCE, ref, DisableHost(why=body.reason if body else ""))


async def _one(services: Services, context: RequestContext, ref: str, command: HostCommand) -> Response:
    async def make_command() -> CommandRequest:
        return CommandRequest(Key("host", await resolve.ident(services, VIEW, ref, context.project)), command)

    return await answer(services, await command_bus.carry_out(services, context, make_command), VIEW)
