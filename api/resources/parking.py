"""Parked aggregates: released by a person, so that they take commands again."""

from typing import TYPE_CHECKING, Annotated, Literal

import orjson
from fastapi import APIRouter
from fastapi import Query as Parameters
from pydantic import Field
from starlette.responses import Response

from api.documents.answers import Released
from api.documents.document import page_of
from api.documents.instances import ParkedDocument
from api.http.permissions import needs
from api.http.request_context import Asking, Given
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import JSON, MOST, Strict, joined
from api.writes import command_bus
from api.writes.command_bus import Wish
from api.writes.command_responses import answer
from domain.aggregates import AGGREGATES
from domain.core.messages import Key
from domain.parking import ReleaseAggregate
from projections.views.view import Condition, Query

router = APIRouter(tags=["parking"])

if TYPE_CHECKING:
    Kind = str
else:
    Kind = Literal[tuple(AGGREGATES)]

VIEW = "parked"


class ParkedList(Strict):
    """What parked aggregates to list."""

    limit: int = Field(50, ge=1, le=MOST, description="documents in a page")
    marker: str | None = Field(None, max_length=64, description="id of the last document of the page before")
    kind: Kind | None = None


@router.get(
    "/parked",
    openapi_extra=needs("parked:list"),
    summary="List what is parked",
    responses=describe.listed(page_of(VIEW, ParkedDocument), VIEW, examples.PARKED),
)
async def list_parked(given: Given, asked: Annotated[ParkedList, Parameters()]) -> Response:
    """What could not be applied to it is in /v1/events/dead."""
    where = [Condition("parked", "=", True)]
    if asked.kind:
        where.append(Condition("kind", "=", asked.kind))
    found = await given.store.page(VIEW, Query(where=tuple(where), limit=asked.limit, marker=asked.marker or ""))
    return joined(VIEW, found.docs, found.last_id if found.more else None)


@router.post(
    "/parked/{kind}/{ident}/release",
    openapi_extra=needs("parked:release"),
    summary="Release what is parked",
    responses=describe.done(200, Released, examples.RELEASED, 404),
)
async def release(given: Given, asked: Asking, kind: Kind, ident: str) -> Response:
    """It takes commands again. What could not be applied is not tried again by this. What is not parked stays so."""
    view = AGGREGATES[kind].plural

    async def wish() -> Wish:
        return Wish(Key(kind, await resolve.ident(given, view, ident, asked.project)), ReleaseAggregate())

    outcome = await command_bus.carry_out(given, asked, wish)
    judged = outcome.judgement
    if judged is None or judged.verdict == "refused":
        return await answer(given, outcome, view)
    told = {
        "subject": str(outcome.subject),
        "released": judged.verdict == "accepted",
        "command_id": outcome.command_id,
    }
    return Response(orjson.dumps(told), media_type=JSON)
