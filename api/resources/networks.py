"""Networks: address ranges that instances are on."""

import ipaddress
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request
from pydantic import Field, field_validator
from starlette.responses import Response

from api.documents.document import page_of
from api.documents.events import EventDocument
from api.documents.moments import Causes, Difference
from api.documents.networks import NetworkDocument
from api.http.request_context import Asking, Given, Project
from api.openapi import describe, examples
from api.reads import causality, resolve, time_travel
from api.reads.queries import Many, Strict, page
from api.writes import command_bus
from api.writes.boot import NAME
from api.writes.command_bus import Wish
from api.writes.command_responses import CREATED, answer
from domain.core.messages import Key, derived_id
from domain.network.messages import CreateNetwork, DeleteNetwork
from domain.network.state import LARGEST, SMALLEST
from projections.views.view import Condition

router = APIRouter(tags=["networks"])

VIEW = "networks"


class NetworkBody(Strict):
    """A network to be."""

    name: str = Field(min_length=1, max_length=255, pattern=NAME)
    cidr: str = Field(max_length=18, description=f"an IPv4 network of /{LARGEST} to /{SMALLEST}")
    description: str = Field("", max_length=1024)

    @field_validator("cidr")
    @classmethod
    def _is_network(cls, given: str) -> str:
        try:
            block = ipaddress.IPv4Network(given)
        except ValueError as wrong:
            raise ValueError(f"an IPv4 network such as 10.0.0.0/24 is needed ({wrong})") from wrong
        if not LARGEST <= block.prefixlen <= SMALLEST:
            raise ValueError(f"its prefix must be /{LARGEST} to /{SMALLEST}")
        return str(block)


class NetworkList(Many):
    """What networks to list."""

    name: str | None = Field(None, max_length=255)
    project_id: str | None = Field(None, max_length=255)
    deleted: bool = False


@router.post(
    "/networks",
    status_code=CREATED,
    summary="Create a network",
    responses=describe.done(CREATED, NetworkDocument, examples.NETWORK, 400),
)
async def create_network(
    given: Given,
    asked: Asking,
    body: Annotated[NetworkBody, Body(examples=[{"name": "lan", "cidr": "10.0.0.0/24"}])],
) -> Response:
    """It gets a segment of its own: networks may have the same addresses."""

    async def wish() -> Wish:
        segment = await given.segments.next()
        command = CreateNetwork(name=body.name, cidr=body.cidr, description=body.description, segment=segment)
        return Wish(Key("network", derived_id(asked.command_id, "network")), command)

    return await answer(given, await command_bus.carry_out(given, asked, wish), VIEW, done=CREATED)


@router.get(
    "/networks",
    summary="List networks",
    responses=describe.listed(page_of(VIEW, NetworkDocument), VIEW, examples.NETWORK),
)
async def list_networks(given: Given, asked: Annotated[NetworkList, Query()]) -> Response:
    """The newest first."""
    where = [Condition("deleted", "=", asked.deleted)]
    same = {"name": asked.name, "project": asked.project_id}
    where += [Condition(column, "=", value) for column, value in same.items() if value]
    return await page(given, VIEW, asked, where)


@router.get("/networks/{ref}", summary="Show a network", responses=describe.read(NetworkDocument, examples.NETWORK))
async def show_network(
    request: Request, given: Given, project: Project, ref: str, asked: Annotated[time_travel.OneAt, Query()]
) -> Response:
    """By id or name."""
    return await time_travel.show(request, given, VIEW, ref, project, asked)


@router.get(
    "/networks/{ref}/history",
    summary="Read everything that happened to a network",
    responses=describe.answers(
        200, page_of("events", EventDocument), {"events": [examples.EVENT], "next": None}, *describe.NAMED, 422, 504
    ),
)
async def network_history(
    given: Given, project: Project, ref: str, asked: Annotated[time_travel.History, Query()]
) -> Response:
    """The oldest first."""
    return await time_travel.history(given, VIEW, ref, project, asked)


@router.get(
    "/networks/{ref}/diff",
    summary="Read what differs between a network at two moments",
    responses=describe.answers(200, Difference, examples.DIFFERENCE, *describe.NAMED, 422, 504),
)
async def network_diff(
    given: Given, project: Project, ref: str, asked: Annotated[time_travel.Between, Query()]
) -> Response:
    """Field by field; parts of fields under dotted names."""
    return await time_travel.difference(given, VIEW, ref, project, asked)


@router.get(
    "/networks/{ref}/why",
    summary="Read why a network is as it is",
    responses=describe.answers(200, Causes, examples.CAUSES, *describe.NAMED, 422, 504),
)
async def network_why(given: Given, project: Project, ref: str, asked: Annotated[causality.Why, Query()]) -> Response:
    """Who asked for it, and who deleted it. The addresses that instances have are told of them."""
    return await causality.why(given, VIEW, ref, project, asked)


@router.delete(
    "/networks/{ref}",
    summary="Delete a network that has no ports",
    responses=describe.done(200, NetworkDocument, examples.NETWORK, 404),
)
async def delete_network(given: Given, asked: Asking, ref: str) -> Response:
    """Refused while anything has an address on it."""

    async def wish() -> Wish:
        return Wish(Key("network", await resolve.ident(given, VIEW, ref, asked.project)), DeleteNetwork())

    return await answer(given, await command_bus.carry_out(given, asked, wish), VIEW)
