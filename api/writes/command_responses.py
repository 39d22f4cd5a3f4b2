"""Answers to commands, made from their verdicts."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from api.http.problems import problem, response
from api.reads.queries import JSON, applied, etag, whole
from api.services import Services
from api.writes.command_bus import CommandOutcome
from api.writes.verdicts import CommandVerdict

CREATED = 201
DONE = 200
ACCEPTED = 202


async def answer(
    services: Services,
    outcome: CommandOutcome,
    view: str,
    ident: str = "",
    *,
    done: int = DONE,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """Return the answer to a command.

    `view` and `ident` name the document that shows its effect; by default, `ident` is that of the command's subject.
    Accepted with a task, or not decided yet: 202. Accepted without a task: `done` and the document, once the read
    models have it. Fulfilled already: 200. Refused: a problem. `more` has members that only this answer has.
    """
    extra = dict(more or {})
    known = {"command_id": outcome.command_id}
    decided = outcome.verdict
    ident = ident or outcome.subject.id
    if decided is None:
        return _json({**known, "id": ident, **extra}, ACCEPTED, {"Location": f"/v1/commands/{outcome.command_id}"})
    if decided.verdict == "refused":
        return response(problem_of(decided))
    if decided.verdict == "already":
        return _json({"already": True, "message": decided.message, **known, "id": ident, **extra}, DONE)
    if decided.task_id:
        body = {"task_id": decided.task_id, **known, "id": ident, **extra}
        return _json(body, ACCEPTED, {"Location": f"/v1/tasks/{decided.task_id}"})
    headers = {"Location": f"/v1/{view}/{ident}"} if done == CREATED else {}
    found = None
    if await applied(services, outcome.command_id, services.settings.api.read_timeout):
        services.known.clear()
        found = await services.store.get(view, ident)
    if found is None:
        return _json({**known, "id": ident, **extra}, done, headers)
    headers["ETag"] = etag(found.version)
    doc = whole(services, view, found.doc)
    if not extra:
        return Response(doc, done, headers, JSON)
    return _json({**orjson.loads(doc), **extra}, done, headers)


def problem_of(decided: CommandVerdict) -> dict[str, Any]:
    """Return the problem document of a refusal that came over the log."""
    return problem(
        decided.code, decided.message, decided.hint, decided.values, f"urn:gostack:command:{decided.command_id}"
    )


def _json(body: Mapping[str, Any], status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, dict(headers or {}), JSON)
