"""Ports: addresses of networks that are reserved for instances."""

import ipaddress
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request
from pydantic import Field, field_validator
from starlette.responses import Response

from api.documents.answers import Accepted
from api.documents.document import page_of
from api.documents.networks import PortDocument
from api.http.request_context import ProjectDep, RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import Many, One, Strict, caught_up, document, page
from api.resource import ApiResource
from api.writes import command_bus
from api.writes.boot import NAME
from api.writes.command_bus import CommandRequest
from api.writes.command_responses import CREATED, answer
from domain.core.messages import Key, derived_id
from domain.network.messages import CreatePort, DeletePort
from projections.views.view import Condition

router = APIRouter(tags=["ports"])

VIEW = "ports"
RESOURCE = ApiResource(VIEW, "port", PortDocument, examples.PORT)


class PortBody(Strict):
    """A port that is to be created."""

    network: str = Field(min_length=1, max_length=255, description="id or name")
    name: str = Field("", max_length=255, pattern=f"^$|{NAME}")
    ip: str | None = Field(
        None, max_length=15, description="address of the network; unless given, a free one is chosen"
    )

    @field_validator("ip")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ipaddress.IPv4Address(value)
            except ValueError as wrong:
                raise ValueError("an IPv4 address is needed") from wrong
        return value


class PortList(Many):
    """Parameters of a list of ports."""

    network: str | None = Field(None, max_length=255, description="id or name")
    instance: str | None = Field(None, max_length=255, description="id or name")
    name: str | None = Field(None, max_length=255)
    ip: str | None = Field(None, max_length=64)
    project_id: str | None = Field(None, max_length=255)


@router.post(
    "/ports",
    status_code=CREATED,
    summary="Create a port",
    responses=describe.done(CREATED, PortDocument, examples.PORT, 400, 404),
)
async def create_port(
    services: ServicesDep,
    context: RequestContextDep,
    body: Annotated[PortBody, Body(examples=[{"network": "lan", "name": "db", "ip": "10.0.0.2"}])],
) -> Response:
    """The port is kept when an instance that used it is deleted."""
    port_id = derived_id(context.command_id, "port")

    async def make_command() -> CommandRequest:
        network_id = await resolve.ident(services, "networks", body.network, context.project)
        return CommandRequest(Key("network", network_id), CreatePort(port_id=port_id, name=body.name, ip=body.ip or ""))

    return await answer(
        services, await command_bus.carry_out(services, context, make_command), VIEW, port_id, done=CREATED
    )


@router.get(
    "/ports",
    summary="List ports",
    responses=describe.listed(page_of(VIEW, PortDocument), VIEW, examples.PORT, *describe.NAMED),
)
async def list_ports(services: ServicesDep, project: ProjectDep, parameters: Annotated[PortList, Query()]) -> Response:
    """Ports are listed with the newest first, including those that were made for an instance."""
    same = {"name": parameters.name, "ip": parameters.ip, "project": parameters.project_id}
    if parameters.network:
        same["network_id"] = await resolve.ident(services, "networks", parameters.network, project)
    if parameters.instance:
        same["instance_id"] = await resolve.ident(services, "instances", parameters.instance, project)
    return await page(
        services, VIEW, parameters, [Condition(column, "=", value) for column, value in same.items() if value]
    )


@router.get("/ports/{ref}", summary="Show a port", responses=describe.read(PortDocument, examples.PORT))
async def show_port(
    request: Request, services: ServicesDep, project: ProjectDep, ref: str, parameters: Annotated[One, Query()]
) -> Response:
    """The port is found by its id or its name."""
    await caught_up(services, parameters.after)
    return document(request, await resolve.found(services, VIEW, ref, project), VIEW, parameters.fields)


@router.delete(
    "/ports/{ref}",
    summary="Delete a port that no instance uses",
    responses=describe.answers(
        200, Accepted, {"command_id": examples.COMMAND_ID, "id": examples.PORT_ID}, *describe.NAMED, 412, 422, 429
    )
    | describe.undecided(),
)
async def delete_port(services: ServicesDep, context: RequestContextDep, ref: str) -> Response:
    """The address of the port becomes free again."""
    port_id = ref

    async def make_command() -> CommandRequest:
        nonlocal port_id
        port = await resolve.alive(services, VIEW, ref, context.project)
        port_id = port["id"]
        return CommandRequest(Key("network", port["network_id"]), DeletePort(port_id=port_id))

    outcome = await command_bus.carry_out(services, context, make_command)
    return await answer(services, outcome, VIEW, port_id)
