"""Ports: addresses that are held for instances to come."""

import ipaddress
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request
from pydantic import Field, field_validator
from starlette.responses import Response

from api.documents.answers import Accepted
from api.documents.document import page_of
from api.documents.networks import PortDocument
from api.http.request_context import Asking, Given, Project
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import Many, One, Strict, caught_up, document, page
from api.resource import ApiResource
from api.writes import command_bus
from api.writes.boot import NAME
from api.writes.command_bus import Wish
from api.writes.command_responses import CREATED, answer
from domain.core.messages import Key, derived_id
from domain.network.messages import CreatePort, DeletePort
from projections.views.view import Condition

router = APIRouter(tags=["ports"])

VIEW = "ports"
RESOURCE = ApiResource(VIEW, "port", PortDocument, examples.PORT)


class PortBody(Strict):
    """A port to be."""

    network: str = Field(min_length=1, max_length=255, description="id or name")
    name: str = Field("", max_length=255, pattern=f"^$|{NAME}")
    ip: str | None = Field(None, max_length=15, description="an address of the network; absent: one is chosen")

    @field_validator("ip")
    @classmethod
    def _is_address(cls, given: str | None) -> str | None:
        if given is not None:
            try:
                ipaddress.IPv4Address(given)
            except ValueError as wrong:
                raise ValueError("an IPv4 address is needed") from wrong
        return given


class PortList(Many):
    """What ports to list."""

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
    given: Given,
    asked: Asking,
    body: Annotated[PortBody, Body(examples=[{"network": "lan", "name": "db", "ip": "10.0.0.2"}])],
) -> Response:
    """It stays when the instance that had it goes."""
    port_id = derived_id(asked.command_id, "port")

    async def wish() -> Wish:
        network_id = await resolve.ident(given, "networks", body.network, asked.project)
        return Wish(Key("network", network_id), CreatePort(port_id=port_id, name=body.name, ip=body.ip or ""))

    return await answer(given, await command_bus.carry_out(given, asked, wish), VIEW, port_id, done=CREATED)


@router.get(
    "/ports",
    summary="List ports",
    responses=describe.listed(page_of(VIEW, PortDocument), VIEW, examples.PORT, *describe.NAMED),
)
async def list_ports(given: Given, project: Project, asked: Annotated[PortList, Query()]) -> Response:
    """The newest first; those that instances made for themselves as well."""
    same = {"name": asked.name, "ip": asked.ip, "project": asked.project_id}
    if asked.network:
        same["network_id"] = await resolve.ident(given, "networks", asked.network, project)
    if asked.instance:
        same["instance_id"] = await resolve.ident(given, "instances", asked.instance, project)
    return await page(given, VIEW, asked, [Condition(column, "=", value) for column, value in same.items() if value])


@router.get("/ports/{ref}", summary="Show a port", responses=describe.read(PortDocument, examples.PORT))
async def show_port(
    request: Request, given: Given, project: Project, ref: str, asked: Annotated[One, Query()]
) -> Response:
    """By id or name."""
    await caught_up(given, asked.after)
    return document(request, await resolve.found(given, VIEW, ref, project), VIEW, asked.fields)


@router.delete(
    "/ports/{ref}",
    summary="Delete a port that no instance uses",
    responses=describe.answers(
        200, Accepted, {"command_id": examples.COMMAND_ID, "id": examples.PORT_ID}, *describe.NAMED, 412, 422, 429
    )
    | describe.undecided(),
)
async def delete_port(given: Given, asked: Asking, ref: str) -> Response:
    """Its address is free again."""
    port_id = ref

    async def wish() -> Wish:
        nonlocal port_id
        port = await resolve.alive(given, VIEW, ref, asked.project)
        port_id = port["id"]
        return Wish(Key("network", port["network_id"]), DeletePort(port_id=port_id))

    outcome = await command_bus.carry_out(given, asked, wish)
    return await answer(given, outcome, VIEW, port_id)
