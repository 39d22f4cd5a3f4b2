"""Commands: what became of one whose verdict did not come in time."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from api.documents.answers import CommandDocument
from api.http.request_context import Given
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import JSON, Strict, caught_up
from api.writes.command_responses import problem_of
from api.writes.verdicts import Judgement
from domain.core.errors import Invalid

router = APIRouter(tags=["commands"])


class Waiting(Strict):
    """How to ask for a command."""

    after: str | None = Field(None, max_length=64)


@router.get(
    "/commands/{ident}",
    summary="Ask what became of a command",
    responses=describe.answers(200, CommandDocument, examples.COMMAND, 422, 504)
    | {
        202: {
            "model": CommandDocument,
            "description": "Not decided yet, or never sent",
            "content": {"application/json": {"example": {"id": examples.COMMAND_ID, "verdict": "pending"}}},
        }
    },
)
async def show_command(given: Given, ident: str, asked: Annotated[Waiting, Query()]) -> Response:
    """202 and `pending` where nothing is known of it: an id that was given out is on the log, and will be decided."""
    if not resolve.is_id(ident):
        raise Invalid(field="command", value=ident[:80], allowed="the id of a command is needed")
    await caught_up(given, asked.after)
    row = await given.store.get("verdicts", ident.lower())
    if row is None:
        return Response(orjson.dumps({"id": ident.lower(), "verdict": "pending"}), 202, media_type=JSON)
    doc = orjson.loads(row.doc)
    told = {
        name: doc[name]
        for name in ("id", "verdict", "subject", "task_id", "message", "actor", "project_id", "correlation_id", "at")
    }
    judged = Judgement.of_document(doc)
    told["problem"] = problem_of(judged) if judged.verdict == "refused" else None
    return Response(orjson.dumps(told), media_type=JSON)
