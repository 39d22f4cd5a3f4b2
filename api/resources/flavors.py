"""Flavors: the sizes of instances."""

from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Query
from pydantic import Field, model_validator
from starlette.responses import Response

from api import standard
from api.documents.document import Document
from api.http.names import Name
from api.http.permissions import needs
from api.http.request_context import RequestContext, RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import (
    MOST,
    Strict,
    Words,
    caught_up,
    joined,
    known,
    only,
)
from api.resource import of_kind
from api.services import Services
from api.writes import command_bus
from api.writes.command_bus import CommandRequest
from api.writes.command_responses import CREATED, answer
from domain.core.errors import AlreadyExists, Invalid
from domain.core.fields import BYTES
from domain.core.messages import Key
from domain.flavor import (
    KIND,
    AddFlavorExtra,
    CreateFlavor,
    DeleteFlavorExtra,
    FlavorCommand,
    Mode,
    Policy,
    UpdateFlavor,
)
from domain.guest_spec import LARGEST_DISK
from projections.views.view import Condition, Either
from projections.views.view import Query as Wanted

router = APIRouter(tags=["flavors"])

VIEW = "flavors"
MIB = 1 << 20
TIB = 1 << 40
LIVE_RESIZE = "hw:support_live_resize"
MOST_EXTRA = 64
MOST_PAGES = 20
Core = Annotated[int, Field(ge=1, le=256, description="number of virtual CPUs")]
Memory = Annotated[
    int, Field(ge=16 * MIB, le=16 * TIB, multiple_of=MIB, description="memory in bytes, a multiple of 1 MiB")
]
Disk = Annotated[
    int,
    BYTES,
    Field(
        ge=0,
        le=LARGEST_DISK,
        multiple_of=MIB,
        description="size of the root disk of instances that say no other, in bytes, whole MiB; 0: the image's",
    ),
]
Queues = Annotated[int, Field(ge=0, le=256, description="number of queues of a network interface; 0 means one")]
Word = Annotated[str, Field(min_length=1, max_length=255)]
Extra = Annotated[dict[Word, Annotated[str, Field(max_length=255)]], Field(max_length=MOST_EXTRA)]


class FlavorDocument(Document):
    """A flavor: the size of instances, in virtual CPUs and bytes of memory."""

    id: str
    name: str
    core: int
    memory: int = Field(description="memory in bytes")
    mode: str
    multi_queue: int
    policy: str
    extra: dict[str, str]
    disk: int = Field(description="size of the root disk of instances that say no other, in bytes; 0: the image's")
    created: str
    updated: str
    deleted: str | None
    version: int


EXAMPLE: dict[str, Any] = {
    "id": examples.FLAVOR_ID,
    "name": "small",
    "core": 1,
    "memory": 512 * MIB,
    "mode": "prefer",
    "multi_queue": 0,
    "policy": "Default",
    "extra": {"hw:support_live_resize": "true"},
    "disk": 0,
    "created": examples.NOW,
    "updated": examples.NOW,
    "deleted": None,
    "version": 1,
}
RESOURCE = of_kind(KIND, FlavorDocument, EXAMPLE, remembered=True)


class FlavorBody(Strict):
    """A flavor that is to be created."""

    name: Name
    core: Core
    memory: Memory
    mode: Mode = "prefer"
    multi_queue: Queues = 0
    policy: Policy = "Default"
    extra: Extra = {}
    disk: Disk = 0


class FlavorChange(Strict):
    """Fields of a flavor to change; the others keep their values."""

    name: Name | None = None
    core: Core | None = None
    memory: Memory | None = None
    mode: Mode | None = None
    multi_queue: Queues | None = None
    policy: Policy | None = None
    disk: Disk | None = None


class ExtraBody(Strict):
    """Extra specs of a flavor to add or change."""

    extra: Extra

    @model_validator(mode="after")
    def _some(self) -> "ExtraBody":
        if not self.extra:
            raise ValueError("extra: at least one entry is needed")
        return self


class ExtraKeys(Strict):
    """Keys of the extra specs to remove from a flavor."""

    keys: Words = Field(min_length=1, max_length=MOST_EXTRA)


@router.post(
    "/flavors",
    status_code=CREATED,
    summary="Create a flavor",
    responses=describe.done(CREATED, FlavorDocument, EXAMPLE, 400, 409),
)
async def create_flavor(
    services: ServicesDep,
    context: RequestContextDep,
    body: Annotated[FlavorBody, Body(examples=[{"name": "small", "core": 1, "memory": 512 * MIB}])],
) -> Response:
    """The name is unique among all flavors that are not deleted."""

    async def make_command() -> CommandRequest:
        await _free(services, body.name, "")
        flavor_id = await standard.new_id(services, KIND, context, body.name)
        return CommandRequest(Key("flavor", flavor_id), CreateFlavor(**body.model_dump()))

    return await answer(services, await command_bus.carry_out(services, context, make_command), VIEW, done=CREATED)


async def _free(services: Services, name: str, but: str) -> None:
    for found in await services.store.find(VIEW, name, {"deleted": False}):
        if found.id != but:
            raise AlreadyExists(kind="flavor", id=name)


async def _by_live_resize(services: Services, parameters: Any, where: Sequence[Condition | Either]) -> Response | None:
    """Answer with flavors by their live resize, if that was asked for."""
    if parameters.live_resize is None:
        return None
    if parameters.sort:
        raise Invalid(field="sort", value=parameters.sort, allowed="with live_resize the newest are listed first")
    return await _live_resizable(services, parameters, where)


LIVE = Field(
    None, description="true: only flavors to which an instance can be resized while it runs; false: only the others"
)
standard.add_list(router, RESOURCE, more={"live_resize": (bool | None, LIVE)}, paged=_by_live_resize)


async def _live_resizable(services: Services, parameters: Any, where: Sequence[Condition | Either]) -> Response:
    """Answer with a page of flavors by their live resize; documents are searched, since no column has it."""
    wanted = known(VIEW, parameters.fields)
    await caught_up(services, parameters.after)
    found: list[bytes] = []
    ids: list[str] = []
    marker = parameters.marker or ""
    for _ in range(MOST_PAGES):
        some = await services.store.page(VIEW, Wanted(where=tuple(where), limit=MOST, marker=marker))
        for doc in some.docs:
            flavor = orjson.loads(doc)
            if (flavor["extra"].get(LIVE_RESIZE, "").lower() == "true") == parameters.live_resize:
                found.append(only(doc, wanted))
                ids.append(flavor["id"])
        marker = some.last_id
        if not some.more or len(found) > parameters.skip + parameters.limit:
            break
    last = parameters.skip + parameters.limit
    return joined(VIEW, found[parameters.skip : last], ids[last - 1] if len(found) > last else None)


standard.add_all(router, RESOURCE, "list", "create", "update", "delete")
standard.add_delete(router, RESOURCE, "Instances of the flavor keep their size.")


@router.patch(
    "/flavors/{ref}",
    summary="Change a flavor",
    responses=describe.done(200, FlavorDocument, EXAMPLE, 400, 404),
)
async def change_flavor(
    services: ServicesDep,
    context: RequestContextDep,
    ref: str,
    body: Annotated[FlavorChange, Body(examples=[{"core": 2}])],
) -> Response:
    """Fields that are not given keep their values; instances of the flavor keep their size. If-Match is honoured."""
    return await _one(services, context, ref, UpdateFlavor(**body.model_dump()))


@router.post(
    "/flavors/{ref}/extra",
    openapi_extra=needs("flavor:update"),
    summary="Add extra specs to a flavor, or change them",
    responses=describe.done(200, FlavorDocument, EXAMPLE, 400, 404),
)
async def add_extra(
    services: ServicesDep,
    context: RequestContextDep,
    ref: str,
    body: Annotated[ExtraBody, Body(examples=[{"extra": {LIVE_RESIZE: "true"}}])],
) -> Response:
    """Extra specs that are not named keep their values."""
    return await _one(services, context, ref, AddFlavorExtra(extra=body.extra))


@router.delete(
    "/flavors/{ref}/extra",
    openapi_extra=needs("flavor:update"),
    summary="Remove extra specs from a flavor",
    responses=describe.done(200, FlavorDocument, EXAMPLE, 404),
)
async def delete_extra(
    services: ServicesDep, context: RequestContextDep, ref: str, which: Annotated[ExtraKeys, Query()]
) -> Response:
    """Keys that the flavor does not have are ignored."""
    return await _one(services, context, ref, DeleteFlavorExtra(keys=tuple(which.keys)))


async def _one(services: Services, context: RequestContext, ref: str, command: FlavorCommand) -> Response:
    async def make_command() -> CommandRequest:
        flavor_id = await resolve.ident(services, VIEW, ref, context.project)
        if isinstance(command, UpdateFlavor) and command.name is not None:
            await _free(services, command.name, flavor_id)
        return CommandRequest(Key("flavor", flavor_id), command)

    return await answer(services, await command_bus.carry_out(services, context, make_command), VIEW)
