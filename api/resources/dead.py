"""Dead records: records that could not be read or applied, and how a person retries or drops them."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from api.documents.document import page_of
from api.documents.events import DeadDocument, DeadWhole
from api.http.patterns import LIKE_AN_ID
from api.http.permissions import needs
from api.http.request_context import RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads.filters import one_of
from api.reads.queries import JSON, Strict, joined
from api.writes.dead_records import VIEW, DeadRecords, payload
from domain.aggregates import AGGREGATES
from projections.views.dead import headers_of
from projections.views.view import Condition
from projections.views.view import Query as Wanted

STATUSES = ("dead", "retried", "dropped")

router = APIRouter(prefix="/events/dead", tags=["events"])


class DeadList(Strict):
    """Parameters of a list of dead records."""

    status: Annotated[str | None, one_of(STATUSES)] = Field(
        None, description="dead (neither retried nor dropped), retried or dropped"
    )
    kind: Annotated[str | None, one_of(AGGREGATES)] = Field(
        None, description="kind of the subject that the record was for, such as instance"
    )
    subject: str | None = Field(None, max_length=128, description="subject that the record was for: KIND/ID")
    limit: int = Field(50, ge=1, le=1000)
    marker: str | None = Field(
        None, max_length=64, description="id of the last record of the page before", json_schema_extra=LIKE_AN_ID
    )


@router.get(
    "",
    openapi_extra=needs("dead:list"),
    summary="List dead records",
    responses=describe.listed(page_of("dead", DeadDocument), "dead", examples.DEAD),
)
async def list_dead(services: ServicesDep, parameters: Annotated[DeadList, Query()]) -> Response:
    """Dead records are listed with the newest first."""
    same = {"status": parameters.status, "kind": parameters.kind, "subject": parameters.subject}
    where = tuple(Condition(column, "=", value) for column, value in same.items() if value is not None)
    found = await services.store.page(VIEW, Wanted(where=where, limit=parameters.limit, marker=parameters.marker or ""))
    return joined(VIEW, found.docs, found.last_id if found.more else None)


@router.get(
    "/{ident}",
    openapi_extra=needs("dead:show"),
    summary="Show a dead record",
    responses=describe.answers(200, DeadWhole, examples.DEAD_WHOLE, 404),
)
async def show_dead(request: Request, ident: str) -> Response:
    """The record is shown with all its headers, and with its data as far as it can be read."""
    dead, record = await _records(request).get(ident)
    return Response(orjson.dumps({**dead, "headers": headers_of(record), "data": payload(record)}), media_type=JSON)


@router.post(
    "/{ident}/retry",
    openapi_extra=needs("dead:retry"),
    summary="Retry a dead record",
    responses=describe.answers(200, DeadDocument, examples.DEAD, 404, 409, 422, 429, 504),
)
async def retry_dead(request: Request, context: RequestContextDep, ident: str) -> Response:
    """The subject of the record is released, and the record is put on its topic again, once. A second retry changes
    nothing."""
    return _answer(await _records(request).retry(context, ident))


@router.post(
    "/{ident}/drop",
    openapi_extra=needs("dead:drop"),
    summary="Drop a dead record",
    responses=describe.answers(200, DeadDocument, examples.DEAD, 404, 409, 429, 504),
)
async def drop_dead(request: Request, context: RequestContextDep, ident: str) -> Response:
    """The record is marked as dropped and stays in its topic. Its subject stays parked until it is released."""
    return _answer(await _records(request).drop(context, ident))


def _records(request: Request) -> DeadRecords:
    found: DeadRecords = request.app.state.dead
    return found


def _answer(dead: dict[str, Any]) -> Response:
    return Response(orjson.dumps(dead), media_type=JSON)
