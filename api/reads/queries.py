"""Reads: one document with its ETag, a page of documents, and the wait for the effects of a command.

A document is stored as it is sent: a page is its documents joined, and only `fields=` has them taken apart.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import orjson
from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.responses import Response

from api.http.refusals import NotAppliedYet
from api.resource import RESOURCES
from api.services import Services
from domain.core.errors import Invalid, NotFound
from domain.core.messages import Topic
from projections.store.port import HistoryQuery
from projections.views.view import Condition, Either, Found, Query

MOST = 1000
MOST_SKIPPED = 10_000
FIRST_PAUSE = 0.002
LONGEST_PAUSE = 0.1
JSON = "application/json"


def _split(value: object) -> object:
    parts = value if isinstance(value, list) else [value]
    return [word for part in parts for word in str(part).split(",") if word] if value is not None else None


Words = Annotated[list[str], BeforeValidator(_split)]
"""Several values: separated by commas, or the parameter repeated."""


class Strict(BaseModel):
    """Parameters or a body of a request; a field that is not declared is refused, so that a typing error is found."""

    model_config = ConfigDict(extra="forbid")


class One(Strict):
    """Parameters of a read of one document."""

    after: str | None = Field(
        None, max_length=64, description="id of a command or task; wait until its effects can be read"
    )
    fields: Words | None = Field(None, description="fields to return, separated by commas; all unless given")


class Many(One):
    """Parameters of a list."""

    limit: int = Field(50, ge=1, le=MOST, description="most documents in a page")
    marker: str | None = Field(None, max_length=64, description="id of the last document of the page before")
    skip: int = Field(0, ge=0, le=MOST_SKIPPED, description="number of documents to leave out after the marker")


async def caught_up(services: Services, after: str | None) -> None:
    """Wait until the read models have the verdict on this command, and so its effects. Raises NotAppliedYet."""
    if after is None:
        return
    if not await applied(services, after, services.settings.api.read_timeout):
        raise NotAppliedYet(after=after)


async def applied(services: Services, command_id: str, seconds: float) -> bool:
    """Return whether the read models have the verdict on this command within this time."""

    async def has_it() -> bool:
        return await services.store.get("verdicts", command_id) is not None

    return await came_true(has_it, seconds)


async def came_true(look: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Return whether `look` returns true within this time; it is called ever less often."""
    until = time.monotonic() + seconds
    pause = FIRST_PAUSE
    while not await look():
        if time.monotonic() + pause > until:
            return False
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
    return True


async def must_be_task(services: Services, ident: str) -> None:
    """Check that there are events of this task or request. Raises NotFound.

    The read models may not have a new one yet, so they are waited for, up to the present end of the log. If that takes
    too long, nothing is raised, since it is not known then.
    """
    query = HistoryQuery(task=ident, limit=1)
    if await services.store.history(query):
        return
    ends = {each: end for each, (_, end) in (await services.log.bounds([Topic.EVENTS])).items()}

    async def is_known() -> bool:
        at = await services.store.positions(list(ends))
        if await services.store.history(query):
            return True
        if all(at[each] >= end for each, end in ends.items()):
            raise NotFound(kind="task", id=ident)
        return False

    await came_true(is_known, services.settings.api.read_timeout)


def etag(version: int) -> str:
    """Return a version as an ETag header."""
    return f'"{version}"'


def document(request: Request, found: Found, view: str, fields: Sequence[str] | None = None) -> Response:
    """Answer with a document and its ETag, or 304 if the reader has it. Raises Invalid for an unknown field."""
    wanted = known(view, fields)
    headers = {"ETag": etag(found.version)}
    held = [each.strip().removeprefix("W/") for each in request.headers.get("If-None-Match", "").split(",")]
    if headers["ETag"] in held or held == ["*"]:
        return Response(status_code=304, headers=headers)
    return Response(only(found.doc, wanted), 200, headers, JSON)


async def page(services: Services, view: str, parameters: Many, where: Sequence[Condition | Either]) -> Response:
    """Answer with a page of documents under the view's name, and the marker of the next page.

    Raises Invalid, UnknownMarker, NotAppliedYet.
    """
    wanted = known(view, parameters.fields)
    await caught_up(services, parameters.after)
    query = Query(where=tuple(where), limit=parameters.limit, marker=parameters.marker or "", skip=parameters.skip)
    found = await services.store.page(view, query)
    docs = [only(doc, wanted) for doc in found.docs] if wanted else found.docs
    return joined(view, docs, found.last_id if found.more else None)


def joined(name: str, docs: Sequence[bytes], marker: str | None) -> Response:
    """Return documents that are JSON already as a page."""
    body = b"".join((b'{"', name.encode(), b'":[', b",".join(docs), b'],"next":', orjson.dumps(marker), b"}"))
    return Response(body, media_type=JSON)


def known(view: str, fields: Sequence[str] | None) -> Sequence[str]:
    """Return the requested fields. Raises Invalid for a field that the view's documents do not have."""
    if not fields:
        return ()
    there = RESOURCES[view].document.model_fields
    for name in fields:
        if name not in there:
            raise Invalid(field="fields", value=name, allowed=f"{view} have {', '.join(sorted(there))}")
    return fields


def only(doc: bytes, fields: Sequence[str]) -> bytes:
    """Return a document with only these fields; the whole document if none are named."""
    if not fields:
        return doc
    whole: dict[str, Any] = orjson.loads(doc)
    return orjson.dumps({name: whole.get(name) for name in fields})
