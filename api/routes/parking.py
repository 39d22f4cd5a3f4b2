"""Parked aggregates: released by a person, so that they take commands again."""

from typing import Literal

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from api import describe, examples, gateway, resolve
from api.answers import answer
from api.asked import Asking, Given
from api.documents import Released
from api.gateway import Wish
from api.reading import JSON
from domain.messages import Key
from domain.parking import ReleaseAggregate

router = APIRouter(tags=["parking"])

Kind = Literal["instance", "network", "flavor", "image", "keypair", "host", "zone"]


@router.post(
    "/parked/{kind}/{ident}/release",
    summary="Release what is parked",
    responses=describe.done(200, Released, examples.RELEASED, 404),
)
async def release(given: Given, asked: Asking, kind: Kind, ident: str) -> Response:
    """It takes commands again. What could not be applied is not tried again by this. What is not parked stays so."""
    view = f"{kind}s"

    async def wish() -> Wish:
        return Wish(Key(kind, await resolve.ident(given, view, ident, asked.project)), ReleaseAggregate())

    outcome = await gateway.carry_out(given, asked, wish)
    judged = outcome.judgement
    if judged is None or judged.verdict == "refused":
        return await answer(given, outcome, view)
    told = {
        "subject": str(outcome.subject),
        "released": judged.verdict == "accepted",
        "command_id": outcome.command_id,
    }
    return Response(orjson.dumps(told), media_type=JSON)
