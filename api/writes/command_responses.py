"""From a verdict to an answer."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from api.http.problems import problem, response
from api.reads.queries import JSON, applied, etag
from api.services import Services
from api.writes.command_bus import Outcome
from api.writes.verdicts import Judgement

CREATED = 201
DONE = 200
ACCEPTED = 202


async def answer(
    services: Services,
    outcome: Outcome,
    view: str,
    ident: str = "",
    *,
    done: int = DONE,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """The answer to a command.

    `view` and `ident` name the document that shows what it did; unless told, `ident` is the command's subject.
    Accepted with a task, or not decided yet: 202. Accepted without one: `done` and the document, once the projection
    has it. So already: 200. Refused: a problem. `more` are members that only this answer has.
    """
    extra = dict(more or {})
    known = {"command_id": outcome.command_id}
    judged = outcome.judgement
    ident = ident or outcome.subject.id
    if judged is None:
        return _json({**known, "id": ident, **extra}, ACCEPTED, {"Location": f"/v1/commands/{outcome.command_id}"})
    if judged.verdict == "refused":
        return response(problem_of(judged))
    if judged.verdict == "already":
        return _json({"already": True, "message": judged.message, **known, "id": ident, **extra}, DONE)
    if judged.task_id:
        body = {"task_id": judged.task_id, **known, "id": ident, **extra}
        return _json(body, ACCEPTED, {"Location": f"/v1/tasks/{judged.task_id}"})
    headers = {"Location": f"/v1/{view}/{ident}"} if done == CREATED else {}
    found = None
    if await applied(services, outcome.command_id, services.settings.api.read_timeout):
        services.known.clear()
        found = await services.store.get(view, ident)
    if found is None:
        return _json({**known, "id": ident, **extra}, done, headers)
    headers["ETag"] = etag(found.version)
    if not extra:
        return Response(found.doc, done, headers, JSON)
    return _json({**orjson.loads(found.doc), **extra}, done, headers)


def problem_of(judged: Judgement) -> dict[str, Any]:
    """A refusal that came over the log, as a problem document."""
    return problem(judged.code, judged.message, judged.hint, judged.values, f"urn:gostack:command:{judged.command_id}")


def _json(body: Mapping[str, Any], status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, dict(headers or {}), JSON)
