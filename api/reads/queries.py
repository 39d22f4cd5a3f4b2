"""Reads: one document with its ETag, a page of them, and the wait for what a command led to.

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


def _split(given: object) -> object:
    parts = given if isinstance(given, list) else [given]
    return [word for part in parts for word in str(part).split(",") if word] if given is not None else None


Words = Annotated[list[str], BeforeValidator(_split)]
"""Several values: separated by commas, or the parameter repeated."""


class Strict(BaseModel):
    """Parameters or a body; what is not declared is refused, so that a typing error is found."""

    model_config = ConfigDict(extra="forbid")


class One(Strict):
    """Parameters of a read."""

    after: str | None = Field(
        None, max_length=64, description="wait until what this command or task id was decided can be read"
    )
    fields: Words | None = Field(None, description="only these fields, separated by commas")


class Many(One):
    """Parameters of a list."""

    limit: int = Field(50, ge=1, le=MOST, description="documents in a page")
    marker: str | None = Field(None, max_length=64, description="id of the last document of the page before")
    skip: int = Field(0, ge=0, le=MOST_SKIPPED, description="documents to leave out after the marker")


async def caught_up(services: Services, after: str | None) -> None:
    """Wait until the projection has the verdict on this command, and so what it led to. Raises NotAppliedYet."""
    if after is None:
        return
    if not await applied(services, after, services.settings.api.read_timeout):
        raise NotAppliedYet(after=after)


async def applied(services: Services, command_id: str, seconds: float) -> bool:
    """Whether the projection has the verdict on this command within this time."""

    async def has_it() -> bool:
        return await services.store.get("verdicts", command_id) is not None

    return await came_true(has_it, seconds)


async def came_true(look: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Whether this is so within this time; it is looked at ever less often."""
    until = time.monotonic() + seconds
    pause = FIRST_PAUSE
    while not await look():
        if time.monotonic() + pause > until:
            return False
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
    return True


async def must_be_task(services: Services, ident: str) -> None:
    """That something came of this task or request. The read models may not know one that is new: they are waited for,
    up to what is on the log now. Raises NotFound; not where they take too long, since nobody knows then."""
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
    """A version as a header."""
    return f'"{version}"'


def document(request: Request, found: Found, view: str, fields: Sequence[str] | None = None) -> Response:
    """One document with its ETag, or 304 where the reader has it. Raises Invalid for an unknown field."""
    wanted = known(view, fields)
    headers = {"ETag": etag(found.version)}
    held = [each.strip().removeprefix("W/") for each in request.headers.get("If-None-Match", "").split(",")]
    if headers["ETag"] in held or held == ["*"]:
        return Response(status_code=304, headers=headers)
    return Response(only(found.doc, wanted), 200, headers, JSON)


async def page(services: Services, view: str, asked: Many, where: Sequence[Condition | Either]) -> Response:
    """A page of documents under the view's name, and the marker of the next. Raises Invalid, UnknownMarker."""
    wanted = known(view, asked.fields)
    await caught_up(services, asked.after)
    query = Query(where=tuple(where), limit=asked.limit, marker=asked.marker or "", skip=asked.skip)
    found = await services.store.page(view, query)
    docs = [only(doc, wanted) for doc in found.docs] if wanted else found.docs
    return joined(view, docs, found.last_id if found.more else None)


def joined(name: str, docs: Sequence[bytes], marker: str | None) -> Response:
    """Documents that are JSON already, as a page."""
    body = b"".join((b'{"', name.encode(), b'":[', b",".join(docs), b'],"next":', orjson.dumps(marker), b"}"))
    return Response(body, media_type=JSON)


def known(view: str, fields: Sequence[str] | None) -> Sequence[str]:
    """The fields asked for. Raises Invalid for one that the view's documents do not have."""
    if not fields:
        return ()
    there = RESOURCES[view].document.model_fields
    for name in fields:
        if name not in there:
            raise Invalid(field="fields", value=name, allowed=f"{view} have {', '.join(sorted(there))}")
    return fields


def only(doc: bytes, fields: Sequence[str]) -> bytes:
    """A document with these fields; all of it where none are named."""
    if not fields:
        return doc
    whole: dict[str, Any] = orjson.loads(doc)
    return orjson.dumps({name: whole.get(name) for name in fields})
