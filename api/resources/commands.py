"""Commands: what became of one whose verdict did not come in time."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Query
from starlette.responses import Response

from api.documents.answers import CommandDocument
from api.http.request_context import ServicesDep
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import JSON, After, Strict, caught_up
from api.writes.command_responses import problem_of
from api.writes.verdicts import CommandVerdict
from domain.core.errors import Invalid

router = APIRouter(tags=["commands"])


class CommandRead(Strict):
    """Parameters of a read of a command."""

    after: After = None


@router.get(
    "/commands/{ident}",
    summary="Read the verdict on a command",
    responses=describe.answers(200, CommandDocument, examples.COMMAND, 422, 504)
    | {
        202: {
            "model": CommandDocument,
            "description": "Not decided yet, or never sent",
            "content": {"application/json": {"example": {"id": examples.COMMAND_ID, "verdict": "pending"}}},
        }
    },
)
async def show_command(services: ServicesDep, ident: str, parameters: Annotated[CommandRead, Query()]) -> Response:
    """Answer 202 and `pending` if nothing is known of the command yet: if its id was returned by a request, the command
    is on the log and will be decided."""
    if not resolve.is_id(ident):
        raise Invalid(field="command", value=ident[:80], allowed="the id of a command is needed")
    await caught_up(services, parameters.after)
    row = await services.store.get("verdicts", ident.lower())
    if row is None:
        return Response(orjson.dumps({"id": ident.lower(), "verdict": "pending"}), 202, media_type=JSON)
    doc = orjson.loads(row.doc)
    told = {
        name: doc[name]
        for name in ("id", "verdict", "subject", "task_id", "message", "actor", "project_id", "correlation_id", "at")
    }
    decided = CommandVerdict.of_document(doc)
    told["problem"] = problem_of(decided) if decided.verdict == "refused" else None
    return Response(orjson.dumps(told), media_type=JSON)
