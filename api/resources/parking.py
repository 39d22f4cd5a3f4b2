"""Parked aggregates: they take no commands until a person releases them."""

from typing import TYPE_CHECKING, Annotated, Literal

import orjson
from fastapi import APIRouter
from fastapi import Query as Parameters
from pydantic import Field
from starlette.responses import Response

from api.documents.answers import ReleasedDocument
from api.documents.document import page_of
from api.documents.instances import ParkedDocument
from api.http.patterns import LIKE_AN_ID
from api.http.permissions import needs
from api.http.request_context import RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.filters import one_of
from api.reads.queries import JSON, MOST, Strict, joined
from api.writes import command_bus
from api.writes.command_bus import CommandRequest
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
    """Parameters of a list of parked aggregates."""

    limit: int = Field(50, ge=1, le=MOST, description="documents in a page")
    marker: str | None = Field(
        None, max_length=64, description="id of the last document of the page before", json_schema_extra=LIKE_AN_ID
    )
    kind: Annotated[str | None, one_of(AGGREGATES)] = None


@router.get(
    "/parked",
    openapi_extra=needs("parked:list"),
    summary="List parked aggregates",
    responses=describe.listed(page_of(VIEW, ParkedDocument), VIEW, examples.PARKED),
)
async def list_parked(services: ServicesDep, parameters: Annotated[ParkedList, Parameters()]) -> Response:
    """Parked aggregates take no commands. The records that could not be applied to them are in /v1/events/dead."""
    where = [Condition("parked", "=", True)]
    if parameters.kind:
        where.append(Condition("kind", "=", parameters.kind))
    found = await services.store.page(
        VIEW, Query(where=tuple(where), limit=parameters.limit, marker=parameters.marker or "")
    )
    return joined(VIEW, found.docs, found.last_id if found.more else None)


@router.post(
    "/parked/{kind}/{ident}/release",
    openapi_extra=needs("parked:release"),
    summary="Release a parked aggregate",
    responses=describe.done(200, ReleasedDocument, examples.RELEASED, 404),
)
async def release(services: ServicesDep, context: RequestContextDep, kind: Kind, ident: str) -> Response:
    """The aggregate takes commands again. The record that could not be applied is not retried. Nothing happens to an
    aggregate that is not parked."""
    view = AGGREGATES[kind].plural

    async def make_command() -> CommandRequest:
        return CommandRequest(
            Key(kind, await resolve.ident(services, view, ident, context.project)), ReleaseAggregate()
        )

    outcome = await command_bus.carry_out(services, context, make_command)
    decided = outcome.verdict
    if decided is None or decided.verdict == "refused":
        return await answer(services, outcome, view)
    told = {
        "subject": str(outcome.subject),
        "released": decided.verdict == "accepted",
        "command_id": outcome.command_id,
    }
    return Response(orjson.dumps(told), media_type=JSON)
