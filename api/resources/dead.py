"""Dead records: what nobody could read or apply, and what a person does about it."""

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from api.documents.document import page_of
from api.documents.events import DeadDocument, DeadWhole
from api.http.permissions import needs
from api.http.request_context import Asking, Given
from api.openapi import describe, examples
from api.reads.queries import JSON, Strict, joined
from api.writes.dead_records import VIEW, DeadRecords, payload
from projections.views.dead import headers_of
from projections.views.view import Condition
from projections.views.view import Query as Wanted

router = APIRouter(prefix="/events/dead", tags=["events"])


class DeadList(Strict):
    """Which dead records."""

    status: Literal["dead", "retried", "dropped"] | None = Field(None, description="dead: nothing was done about it")
    kind: str | None = Field(None, max_length=64, description="of what it was for, such as instance")
    subject: str | None = Field(None, max_length=128, description="KIND/ID of what it was for")
    limit: int = Field(50, ge=1, le=1000)
    marker: str | None = Field(None, max_length=64, description="id of the last record of the page before")


@router.get(
    "",
    openapi_extra=needs("dead:list"),
    summary="List dead records",
    responses=describe.listed(page_of("dead", DeadDocument), "dead", examples.DEAD),
)
async def list_dead(given: Given, asked: Annotated[DeadList, Query()]) -> Response:
    """The newest first."""
    same = {"status": asked.status, "kind": asked.kind, "subject": asked.subject}
    where = tuple(Condition(column, "=", value) for column, value in same.items() if value is not None)
    found = await given.store.page(VIEW, Wanted(where=where, limit=asked.limit, marker=asked.marker or ""))
    return joined(VIEW, found.docs, found.last_id if found.more else None)


@router.get(
    "/{ident}",
    openapi_extra=needs("dead:show"),
    summary="Show a dead record",
    responses=describe.answers(200, DeadWhole, examples.DEAD_WHOLE, 404),
)
async def show_dead(request: Request, ident: str) -> Response:
    """With all its headers, and what it says, as far as it can be read."""
    dead, record = await _records(request).get(ident)
    return Response(orjson.dumps({**dead, "headers": headers_of(record), "data": payload(record)}), media_type=JSON)


@router.post(
    "/{ident}/retry",
    openapi_extra=needs("dead:retry"),
    summary="Have a dead record dealt with again",
    responses=describe.answers(200, DeadDocument, examples.DEAD, 404, 409, 422, 429, 504),
)
async def retry_dead(request: Request, asked: Asking, ident: str) -> Response:
    """What it was for is released, and it is put on its topic again, once. Asking again changes nothing."""
    return _answer(await _records(request).retry(asked, ident))


@router.post(
    "/{ident}/drop",
    openapi_extra=needs("dead:drop"),
    summary="Leave a dead record as it is",
    responses=describe.answers(200, DeadDocument, examples.DEAD, 404, 409, 429, 504),
)
async def drop_dead(request: Request, asked: Asking, ident: str) -> Response:
    """It stays in the topic and needs no more care. What it was for stays parked until it is released."""
    return _answer(await _records(request).drop(asked, ident))


def _records(request: Request) -> DeadRecords:
    found: DeadRecords = request.app.state.dead
    return found


def _answer(dead: dict[str, Any]) -> Response:
    return Response(orjson.dumps(dead), media_type=JSON)
