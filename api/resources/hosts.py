"""Hosts: machines that run instances. They register themselves; operators enable and disable them."""

from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import Field
from starlette.responses import Response

from api import standard
from api.documents.hosts import HostDocument
from api.http.request_context import RequestContext, RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.filters import one_of
from api.reads.queries import Strict
from api.reads.scheduler_replay import own_ratios, with_capacity
from api.resource import of_kind
from api.services import Services
from api.writes import command_bus
from api.writes.command_bus import CommandRequest
from api.writes.command_responses import answer
from domain.core.choices import meant
from domain.core.errors import NotFound
from domain.core.messages import Key
from domain.host.kind import KIND
from domain.host.messages import DisableHost, EnableHost, HostCommand
from projections.views.view import Condition

router = APIRouter(tags=["hosts"])

VIEW = "hosts"
ENABLED, DISABLED = STATUSES = ("enabled", "disabled")


def add_capacity(services: Services, host: dict[str, Any]) -> dict[str, Any]:
    """Return a host with how much of its resources may be promised, which follows from the scheduler's settings."""
    return {**host, **with_capacity(host, own_ratios(services))}


RESOURCE = of_kind(KIND, HostDocument, examples.HOST, addition=add_capacity)


class Disabling(Strict):
    """The reason for disabling a host."""

    reason: str = Field("", max_length=1024)


class Enabling(Strict):
    """The optional reason for enabling a host."""

    reason: str = Field("", max_length=1024, description="reason, recorded with the command")


async def _narrowed(services: Services, parameters: Any, project: str) -> list[Condition]:
    """Return the conditions on cell and status. Raises NotFound for a cell that has no host."""
    where = []
    if parameters.cell:
        cells = await services.store.totals("hosts", "cell", [])
        if parameters.cell not in cells:
            raise NotFound(kind="cell", id=parameters.cell, hint=meant(parameters.cell, cells))
        where.append(Condition("cell", "=", parameters.cell))
    if parameters.status:
        where.append(Condition("enabled", "=", parameters.status == ENABLED))
    return where


standard.add_list(
    router,
    RESOURCE,
    more={
        "cell": (str | None, Field(None, max_length=255, description="of this cell")),
        "status": (
            Annotated[str | None, one_of(STATUSES)],
            Field(None, description=f"in this status: {', '.join(STATUSES)}"),
        ),
    },
    narrowed=_narrowed,
)
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
