"""Dead records: what nobody could read or apply, and what a person does about it."""

from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from api import describe, examples
from api.asked import Asking
from api.dead import Dead, DeadRecords, payload
from api.documents import DeadDocument, DeadWhole, page_of
from api.reading import JSON, Strict, joined
from projections.view import UnknownMarker

router = APIRouter(prefix="/events/dead", tags=["events"])


class DeadList(Strict):
    """Which dead records."""

    status: Literal["dead", "retried", "dropped"] | None = Field(None, description="dead: nothing was done about it")
    kind: str | None = Field(None, max_length=64, description="of what it was for, such as instance")
    subject: str | None = Field(None, max_length=128, description="KIND/ID of what it was for")
    limit: int = Field(50, ge=1, le=1000)
    marker: str | None = Field(None, max_length=64, description="id of the last record of the page before")


@router.get(
    "", summary="List dead records", responses=describe.listed(page_of("dead", DeadDocument), "dead", examples.DEAD)
)
async def list_dead(request: Request, asked: Annotated[DeadList, Query()]) -> Response:
    """The newest first; at most the last 10,000."""
    found = await _records(request).newest_first()
    if asked.marker:
        places = [each.id for each in found]
        if asked.marker not in places:
            raise UnknownMarker(asked.marker)
        found = found[places.index(asked.marker) + 1 :]
    wanted = [each for each in found if _wants(asked, each)]
    shown = wanted[: asked.limit]
    docs = [orjson.dumps(each.document()) for each in shown]
    return joined("dead", docs, shown[-1].id if len(wanted) > len(shown) else None)


@router.get(
    "/{ident}", summary="Show a dead record", responses=describe.answers(200, DeadWhole, examples.DEAD_WHOLE, 404)
)
async def show_dead(request: Request, ident: str) -> Response:
    """With all its headers, and what it says, as far as it can be read."""
    dead, record = await _records(request).get(ident)
    return Response(
        orjson.dumps({**dead.document(), "headers": dead.headers, "data": payload(record)}), media_type=JSON
    )


@router.post(
    "/{ident}/retry",
    summary="Have a dead record dealt with again",
    responses=describe.answers(200, DeadDocument, examples.DEAD, 404, 409, 422),
)
async def retry_dead(request: Request, asked: Asking, ident: str) -> Response:
    """What it was for is released, and it is put on its topic again, once. Asking again changes nothing."""
    return _answer(await _records(request).retry(asked, ident))


@router.post(
    "/{ident}/drop",
    summary="Leave a dead record as it is",
    responses=describe.answers(200, DeadDocument, examples.DEAD, 404, 409),
)
async def drop_dead(request: Request, asked: Asking, ident: str) -> Response:
    """It stays in the topic and needs no more care. What it was for stays parked until it is released."""
    return _answer(await _records(request).drop(asked, ident))


def _records(request: Request) -> DeadRecords:
    found: DeadRecords = request.app.state.dead
    return found


def _answer(dead: Dead) -> Response:
    return Response(orjson.dumps(dead.document()), media_type=JSON)


def _wants(asked: DeadList, dead: Dead) -> bool:
    subject = dead.headers.get("ce_subject", "")
    return (
        asked.status in (None, dead.status)
        and asked.subject in (None, subject)
        and asked.kind in (None, subject.partition("/")[0])
    )
