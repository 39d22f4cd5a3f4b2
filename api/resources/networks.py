"""Networks: ranges of addresses for instances."""

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import Field, field_validator
from starlette.responses import Response

from api import standard
from api.documents.networks import NetworkDocument
from api.http.names import Name
from api.http.request_context import RequestContext, RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads.queries import Strict
from api.resource import of_kind
from api.services import Services
from api.writes import command_bus
from api.writes.command_bus import CommandRequest
from api.writes.command_responses import CREATED, answer
from api.writes.default_group import ensure_default_group
from domain.core.errors import Invalid
from domain.core.ipv6 import LONGEST, PREFIX, Ipv6Mode, any_range, network_range
from domain.core.messages import Key, derived_id
from domain.network.kind import KIND
from domain.network.messages import CreateNetwork
from domain.network.state import LARGEST, SMALLEST

router = APIRouter(tags=["networks"])

VIEW = "networks"
RESOURCE = of_kind(KIND, NetworkDocument, examples.NETWORK, remembered=True)


class NetworkBody(Strict):
    """A network that is to be created."""

    name: Name
    cidr: str = Field(max_length=18, description=f"IPv4 address range with a prefix of /{LARGEST} to /{SMALLEST}")
    description: str = Field("", max_length=1024)
    external: bool = Field(False, description="whether guests reach what is outside of the network, through their host")
    cidr6: str = Field("", max_length=LONGEST, description=f"IPv6 address range, a /{PREFIX}; none unless given")
    ipv6_mode: Ipv6Mode = Field(Ipv6Mode.SLAAC, description="how guests learn their IPv6 addresses")

    @field_validator("cidr")
    @classmethod
    def _is_network(cls, value: str) -> str:
        try:
            block = ipaddress.IPv4Network(value)
        except ValueError as wrong:
            raise ValueError(f"an IPv4 network such as 10.0.0.0/24 is needed ({wrong})") from wrong
        if not LARGEST <= block.prefixlen <= SMALLEST:
            raise ValueError(f"its prefix must be /{LARGEST} to /{SMALLEST}")
        return str(block)

    @field_validator("cidr6")
    @classmethod
    def _is_network6(cls, value: str) -> str:
        return str(network_range(value)) if value else ""


@router.post(
    "/networks",
    status_code=CREATED,
    summary="Create a network",
    responses=describe.done(CREATED, NetworkDocument, examples.NETWORK, 400),
)
async def create_network(
    services: ServicesDep,
    context: RequestContextDep,
    body: Annotated[NetworkBody, Body(examples=[{"name": "lan", "cidr": "10.0.0.0/24"}])],
) -> Response:
    """The network gets a segment of its own, so several networks may have the same addresses."""

    _must_be_free(services, "cidr", body.cidr)
    _must_be_free(services, "cidr6", body.cidr6)

    async def make_command() -> CommandRequest:
        await ensure_default_group(services, context)
        segment = await services.segments.next()
        command = CreateNetwork(
            name=body.name,
            cidr=body.cidr,
            description=body.description,
            segment=segment,
            external=body.external,
            cidr6=body.cidr6,
            ipv6_mode=body.ipv6_mode,
        )
        return CommandRequest(Key("network", derived_id(context.command_id, "network")), command)

    return await answer(services, await command_bus.carry_out(services, context, make_command), VIEW, done=CREATED)


def _must_be_free(services: Services, field: str, cidr: str) -> None:
    """Refuse a range that the operator reserves. Raises Invalid."""
    if cidr and (taken := services.settings.networks.reserved_range(any_range(cidr))):
        allowed = f"it must be outside of {taken}, which the operator reserves"
        raise Invalid(field=field, value=cidr, allowed=allowed)


async def _checked(services: Services, context: RequestContext, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuse an IPv6 range that no network may have, or that the operator reserves. Raises Invalid."""
    if cidr6 := given.get("cidr6"):
        try:
            _must_be_free(services, "cidr6", str(network_range(cidr6)))
        except ValueError as wrong:
            raise Invalid(field="cidr6", value=cidr6, allowed=str(wrong)) from wrong
    return {}


standard.add_all(router, RESOURCE, "why", "delete", "update")
standard.add_update(router, RESOURCE, complete=_checked)
standard.add_why(
    router,
    RESOURCE,
    "The causes of the network's state. Addresses of instances are explained by the instances' own causes.",
)
standard.add_delete(
    router, RESOURCE, "The deletion is refused while the network has ports.", "Delete a network that has no ports"
)
