"""Flavors: the sizes that instances come in."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Query
from pydantic import Field, model_validator
from starlette.responses import Response

from api import standard
from api.documents.document import Document, page_of
from api.http.permissions import needs
from api.http.request_context import Asked, Asking, Given
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import (
    MOST,
    Many,
    Strict,
    Words,
    caught_up,
    joined,
    page,
)
from api.resource import of_kind
from api.services import Services
from api.writes import command_bus
from api.writes.boot import NAME
from api.writes.command_bus import Wish
from api.writes.command_responses import CREATED, answer
from domain.core.errors import AlreadyExists
from domain.core.messages import Key, derived_id, named_id
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
from projections.views.view import Condition
from projections.views.view import Query as Wanted

router = APIRouter(tags=["flavors"])

VIEW = "flavors"
MIB = 1 << 20
TIB = 1 << 40
LIVE_RESIZE = "hw:support_live_resize"
MOST_EXTRA = 64
MOST_PAGES = 20
Core = Annotated[int, Field(ge=1, le=256, description="virtual CPUs")]
Memory = Annotated[int, Field(ge=16 * MIB, le=16 * TIB, multiple_of=MIB, description="bytes, whole MiB")]
Queues = Annotated[int, Field(ge=0, le=256, description="queues of a network interface; 0: one")]
Name = Annotated[str, Field(min_length=1, max_length=255, pattern=NAME)]
Word = Annotated[str, Field(min_length=1, max_length=255)]
Extra = Annotated[dict[Word, Annotated[str, Field(max_length=255)]], Field(max_length=MOST_EXTRA)]


class FlavorDocument(Document):
    """A flavor."""

    id: str
    name: str
    core: int
    memory: int = Field(description="bytes")
    mode: str
    multi_queue: int
    policy: str
    extra: dict[str, str]
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
    "created": examples.NOW,
    "updated": examples.NOW,
    "deleted": None,
    "version": 1,
}
RESOURCE = of_kind(KIND, FlavorDocument, EXAMPLE, remembered=True)


class FlavorBody(Strict):
    """A flavor to be."""

    name: Name
    core: Core
    memory: Memory
    mode: Mode = "prefer"
    multi_queue: Queues = 0
    policy: Policy = "Default"
    extra: Extra = {}


class FlavorChange(Strict):
    """What to change; what is not given stays."""

    name: Name | None = None
    core: Core | None = None
    memory: Memory | None = None
    mode: Mode | None = None
    multi_queue: Queues | None = None
    policy: Policy | None = None


class ExtraBody(Strict):
    """Extra specs to add or change."""

    extra: Extra

    @model_validator(mode="after")
    def _some(self) -> "ExtraBody":
        if not self.extra:
            raise ValueError("extra: at least one entry is needed")
        return self


class ExtraKeys(Strict):
    """Extra specs to remove."""

    keys: Words = Field(min_length=1, max_length=MOST_EXTRA)


class FlavorList(Many):
    """What flavors to list."""

    name: str | None = Field(None, max_length=255)
    live_resize: bool | None = Field(None, description="those that an instance can be live-resized to, or the others")
    deleted: bool = False


@router.post(
    "/flavors",
    status_code=CREATED,
    summary="Create a flavor",
    responses=describe.done(CREATED, FlavorDocument, EXAMPLE, 400, 409),
)
async def create_flavor(
    given: Given,
    asked: Asking,
    body: Annotated[FlavorBody, Body(examples=[{"name": "small", "core": 1, "memory": 512 * MIB}])],
) -> Response:
    """Its name is its own for as long as it exists."""

    async def wish() -> Wish:
        await _free(given, body.name, "")
        flavor_id = named_id("flavor", body.name)
        holder = await given.store.get(VIEW, flavor_id)
        if holder is not None and not orjson.loads(holder.doc)["deleted"]:
            # The one that had this name first goes by another now, and keeps its id.
            flavor_id = derived_id(asked.command_id, "flavor")
        return Wish(Key("flavor", flavor_id), CreateFlavor(**body.model_dump()))

    return await answer(given, await command_bus.carry_out(given, asked, wish), VIEW, done=CREATED)


async def _free(services: Services, name: str, but: str) -> None:
    for found in await services.store.find(VIEW, name, {"deleted": False}):
        if found.id != but:
            raise AlreadyExists(kind="flavor", id=name)


@router.get("/flavors", summary="List flavors", responses=describe.listed(page_of(VIEW, FlavorDocument), VIEW, EXAMPLE))
async def list_flavors(given: Given, asked: Annotated[FlavorList, Query()]) -> Response:
    """The newest first."""
    where = [Condition("deleted", "=", asked.deleted)]
    if asked.name:
        where.append(Condition("name", "=", asked.name))
    if asked.live_resize is None:
        return await page(given, VIEW, asked, where)
    return await _live_resizable(given, asked, where)


async def _live_resizable(services: Services, asked: FlavorList, where: list[Condition]) -> Response:
    """Looked for in the documents: flavors are few, and no column says it."""
    await caught_up(services, asked.after)
    found: list[bytes] = []
    ids: list[str] = []
    marker = asked.marker or ""
    for _ in range(MOST_PAGES):
        some = await services.store.page(VIEW, Wanted(where=tuple(where), limit=MOST, marker=marker))
        for doc in some.docs:
            flavor = orjson.loads(doc)
            if (flavor["extra"].get(LIVE_RESIZE, "").lower() == "true") == asked.live_resize:
                found.append(orjson.dumps({name: flavor.get(name) for name in asked.fields}) if asked.fields else doc)
                ids.append(flavor["id"])
        marker = some.last_id
        if not some.more or len(found) > asked.skip + asked.limit:
            break
    last = asked.skip + asked.limit
    return joined(VIEW, found[asked.skip : last], ids[last - 1] if len(found) > last else None)


standard.add_all(router, RESOURCE, "list", "create", "update", "delete")
standard.add_delete(router, RESOURCE, "Instances that have it keep it.")


@router.patch(
    "/flavors/{ref}",
    summary="Change a flavor",
    responses=describe.done(200, FlavorDocument, EXAMPLE, 400, 404),
)
async def change_flavor(
    given: Given, asked: Asking, ref: str, body: Annotated[FlavorChange, Body(examples=[{"core": 2}])]
) -> Response:
    """Instances that have it keep what they have. Honours If-Match."""
    return await _one(given, asked, ref, UpdateFlavor(**body.model_dump()))


@router.post(
    "/flavors/{ref}/extra",
    openapi_extra=needs("flavor:update"),
    summary="Add extra specs to a flavor, or change them",
    responses=describe.done(200, FlavorDocument, EXAMPLE, 400, 404),
)
async def add_extra(
    given: Given,
    asked: Asking,
    ref: str,
    body: Annotated[ExtraBody, Body(examples=[{"extra": {LIVE_RESIZE: "true"}}])],
) -> Response:
    """Those not named stay."""
    return await _one(given, asked, ref, AddFlavorExtra(extra=body.extra))


@router.delete(
    "/flavors/{ref}/extra",
    openapi_extra=needs("flavor:update"),
    summary="Remove extra specs from a flavor",
    responses=describe.done(200, FlavorDocument, EXAMPLE, 404),
)
async def delete_extra(given: Given, asked: Asking, ref: str, which: Annotated[ExtraKeys, Query()]) -> Response:
    """Keys that it has not are gone already."""
    return await _one(given, asked, ref, DeleteFlavorExtra(keys=tuple(which.keys)))


async def _one(services: Services, asked: Asked, ref: str, command: FlavorCommand) -> Response:
    async def wish() -> Wish:
        flavor_id = await resolve.ident(services, VIEW, ref, asked.project)
        if isinstance(command, UpdateFlavor) and command.name is not None:
            await _free(services, command.name, flavor_id)
        return Wish(Key("flavor", flavor_id), command)

    return await answer(services, await command_bus.carry_out(services, asked, wish), VIEW)
