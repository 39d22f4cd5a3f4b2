"""Ports: addresses of networks that are reserved for instances."""

import ipaddress
from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request
from pydantic import Field, field_validator
from starlette.responses import Response

from api import standard
from api.documents.answers import Accepted
from api.documents.networks import PortDocument
from api.http.names import NameOrNone
from api.http.request_context import ProjectDep, RequestContext, RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads import filters, resolve, security_groups
from api.reads.queries import One, Strict, caught_up, document
from api.resource import ApiResource
from api.services import Services
from api.writes import command_bus
from api.writes.command_bus import CommandRequest
from api.writes.command_responses import CREATED, answer
from domain.core.ipv6 import LONGEST
from domain.core.messages import Key, derived_id
from domain.kind import ListFilter
from domain.network.messages import CreatePort, DeletePort, NetworkCommand, UpdatePort
from domain.network.state import AddressPair
from domain.security_group import MOST_GROUPS

router = APIRouter(tags=["ports"])

VIEW = "ports"
RESOURCE = ApiResource(VIEW, "port", PortDocument, examples.PORT)


LONGEST_PAIRS = 32
"""Ranges of addresses that a port can have besides its own."""
FASTEST_KBIT = 100_000_000

Groups = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=255)]],
    Field(max_length=MOST_GROUPS, description="ids or names of the security groups; none: the project's default"),
]
Pairs = Annotated[
    list["PairBody"],
    Field(max_length=LONGEST_PAIRS, description="addresses that the guest may send from besides its own"),
]
Secure = Annotated[
    bool, Field(description="whether the guest may send from its own addresses alone, and its security groups hold")
]
Egress = Annotated[
    int, Field(ge=0, le=FASTEST_KBIT, description="most that the guest may send, in kbit/s; 0: no limit")
]
Ingress = Annotated[
    int, Field(ge=0, le=FASTEST_KBIT, description="most that the guest may receive, in kbit/s; 0: no limit")
]


class PairBody(Strict):
    """Addresses that a port may send from besides its own."""

    cidr: str = Field(
        min_length=1,
        max_length=LONGEST,
        description="an address or a range, of IPv6 where the network has an IPv6 range",
    )
    mac: str = Field(
        "", max_length=17, description="the MAC address that they are sent from; the port's own unless given"
    )


class PortBody(Strict):
    """A port that is to be created."""

    network: str = Field(min_length=1, max_length=255, description="id or name")
    name: NameOrNone = ""
    mac: str | None = Field(None, max_length=17, description="MAC address; it follows from the address unless given")
    security_group_ids: Groups = []
    port_security: Secure = True
    allowed_pairs: Pairs = []
    egress_kbit: Egress = 0
    ingress_kbit: Ingress = 0
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


class PortChange(Strict):
    """The fields of a port to change; what is not given stays as it is."""

    name: NameOrNone | None = Field(None, description="new name of the port; an empty one takes it away")
    security_group_ids: Groups | None = None
    port_security: Secure | None = None
    allowed_pairs: Pairs | None = None
    egress_kbit: Egress | None = None
    ingress_kbit: Ingress | None = None


FILTERS = (
    filters.NAME,
    ListFilter("network", "of this network (name or id)", column="network_id", refers="network"),
    ListFilter("instance", "of this instance (name or id)", column="instance_id", refers="instance"),
    ListFilter("ip", "with this address", form="address"),
    ListFilter(
        "security_group",
        "in this security group (name or id)",
        type="text[]",
        column="security_groups",
        refers="security-group",
    ),
    filters.PROJECT,
)


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
        command = CreatePort(
            port_id=port_id,
            name=body.name,
            ip=body.ip or "",
            mac=body.mac or "",
            security_groups=await security_groups.idents(services, body.security_group_ids, context.project),
            port_security=body.port_security,
            allowed_pairs=_pairs(body.allowed_pairs),
            egress_kbit=body.egress_kbit,
            ingress_kbit=body.ingress_kbit,
        )
        return CommandRequest(Key("network", network_id), command)

    return await answer(
        services, await command_bus.carry_out(services, context, make_command), VIEW, port_id, done=CREATED
    )


standard.add_list(
    router,
    RESOURCE,
    "Ports are listed with the newest first, unless sorted otherwise, including those that were made for an instance.",
    by=FILTERS,
)


@router.get("/ports/{ref}", summary="Show a port", responses=describe.read(PortDocument, examples.PORT))
async def show_port(
    request: Request, services: ServicesDep, project: ProjectDep, ref: str, parameters: Annotated[One, Query()]
) -> Response:
    """The port is found by its id or its name."""
    await caught_up(services, parameters.after)
    return document(request, await resolve.found(services, VIEW, ref, project), VIEW, parameters.fields)


@router.patch(
    "/ports/{ref}",
    summary="Change a port",
    responses=describe.done(200, PortDocument, examples.PORT, 400, 404),
)
async def change_port(
    services: ServicesDep,
    context: RequestContextDep,
    ref: str,
    body: Annotated[PortChange, Body(examples=[{"name": "db"}])],
) -> Response:
    """Network, address and MAC address of a port stay for ever. A running guest follows within seconds."""
    groups = body.security_group_ids
    found = None if groups is None else await security_groups.idents(services, groups, context.project)
    return await _send(
        services,
        context,
        ref,
        lambda port_id: UpdatePort(
            port_id=port_id,
            name=body.name,
            security_groups=found,
            port_security=body.port_security,
            allowed_pairs=None if body.allowed_pairs is None else _pairs(body.allowed_pairs),
            egress_kbit=body.egress_kbit,
            ingress_kbit=body.ingress_kbit,
        ),
    )


def _pairs(pairs: Sequence[PairBody]) -> tuple[AddressPair, ...]:
    return tuple(AddressPair(cidr=each.cidr, mac=each.mac) for each in pairs)


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
    return await _send(services, context, ref, lambda port_id: DeletePort(port_id=port_id))


async def _send(
    services: Services, context: RequestContext, ref: str, command: Callable[[str], NetworkCommand]
) -> Response:
    """Send a command to the network of the port with this id or name. Raises NotFound, NameNotUnique."""
    port_id = ref

    async def make_command() -> CommandRequest:
        nonlocal port_id
        port = await resolve.alive(services, VIEW, ref, context.project)
        port_id = port["id"]
        return CommandRequest(Key("network", port["network_id"]), command(port_id))

    outcome = await command_bus.carry_out(services, context, make_command)
    return await answer(services, outcome, VIEW, port_id)
