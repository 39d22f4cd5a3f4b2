"""Pools: places for volumes that several hosts reach."""

from typing import Annotated, Any

from fastapi import APIRouter, Body
from starlette.responses import Response

from api import standard
from api.documents.document import Document
from api.http.permissions import needs
from api.http.request_context import RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import Strict
from api.resource import of_kind
from api.writes import command_bus
from api.writes.command_bus import CommandRequest
from api.writes.command_responses import answer
from domain.core.messages import Key
from domain.jobs.pool import PoolSight
from domain.pool import KIND, DrainPool

router = APIRouter(tags=["pools"])

VIEW = KIND.plural


class PoolSpaceDocument(Document):
    """Space of a pool, as a host finds it."""

    sight: PoolSight
    capacity: int
    available: int


class PoolDocument(Document):
    """A pool: a directory that several hosts share, or a pool of a Ceph cluster, with volumes. Sizes are in bytes."""

    id: str
    name: str
    type: str
    path: str
    ceph_pool: str
    ceph_conf: str
    ceph_user: str
    description: str
    reserved: int
    ratio: float
    draining: bool
    founder: str
    hosts: dict[str, PoolSpaceDocument]
    claimed: int
    capacity: int
    room: int
    created: str
    updated: str
    deleted: str | None
    version: int


EXAMPLE: dict[str, Any] = {
    "id": "5d0a1e52-3b1e-5c58-9d0f-5a0de2a3f7b2",
    "name": "nfs",
    "type": "file",
    "path": "/srv/gostack",
    "ceph_pool": "",
    "ceph_conf": "",
    "ceph_user": "",
    "description": "the filer in the cellar",
    "reserved": 0,
    "ratio": 1.0,
    "draining": False,
    "founder": examples.HOST_ID,
    "hosts": {examples.HOST_ID: {"sight": "reached", "capacity": 4 << 40, "available": 3 << 40}},
    "claimed": 10 << 30,
    "capacity": 4 << 40,
    "room": (4 << 40) - (10 << 30),
    "created": examples.NOW,
    "updated": examples.NOW,
    "deleted": None,
    "version": 5,
}
RESOURCE = of_kind(KIND, PoolDocument, EXAMPLE)


class DrainBody(Strict):
    """Whether a pool takes nothing new."""

    off: bool = False


standard.add_all(router, RESOURCE, "create")
standard.add_create(router, RESOURCE, example={name: EXAMPLE[name] for name in ("name", "path")})


@router.post(
    f"/{VIEW}/{{ref}}/drain",
    openapi_extra=needs("pool:drain"),
    summary="Have a pool take nothing new",
    responses=describe.done(200, PoolDocument, EXAMPLE, 404),
)
async def drain_pool(
    services: ServicesDep,
    context: RequestContextDep,
    ref: str,
    body: Annotated[DrainBody | None, Body(examples=[{"off": False}])] = None,
) -> Response:
    """Volumes in the pool stay, and can be used and deleted. `off` has the pool take new volumes again."""

    async def make_command() -> CommandRequest:
        ident = await resolve.ident(services, VIEW, ref, context.project)
        return CommandRequest(Key(KIND.name, ident), DrainPool(off=body is not None and body.off))

    return await answer(services, await command_bus.carry_out(services, context, make_command), VIEW)
