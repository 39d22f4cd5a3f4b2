"""Reads: one document with its ETag, a page of documents, and the wait for the effects of a command.

A document is stored as it is sent: a page is its documents joined, and only `fields=` has them taken apart.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import orjson
from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.responses import Response

from api.http.patterns import LIKE_AN_ID, UUID
from api.http.refusals import NotAppliedYet
from api.resource import RESOURCES
from api.services import Services
from domain.core.choices import chosen
from domain.core.errors import Invalid, NotFound, Refusal
from domain.core.messages import Topic
from domain.core.paths import pick
from infra.log.log import LogUnavailable
from projections.store.port import HistoryQuery, Store
from projections.views.table import VIEWS
from projections.views.view import Condition, Either, Found, Page, Query

MOST = 1000
MOST_SKIPPED = 10_000
FIRST_PAUSE = 0.002
LONGEST_PAUSE = 0.1
JSON = "application/json"
SHOWN_AS = {"project": "project_id", "owner": "user_id"}
"""Column -> field of the document that has its value, where that is called otherwise."""

T = TypeVar("T")


def _split(value: object) -> object:
    parts = value if isinstance(value, list) else [value]
    return [word for part in parts for word in str(part).split(",") if word] if value is not None else None


Words = Annotated[list[str], BeforeValidator(_split)]
"""Several values: separated by commas, or the parameter repeated."""


class Strict(BaseModel):
    """Parameters or a body of a request; a field that is not declared is refused, so that a typing error is found."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


After = Annotated[
    str | None,
    Field(
        max_length=64, pattern=f"^{UUID}$", description="id of a command or task; wait until its effects can be read"
    ),
]


class One(Strict):
    """Parameters of a read of one document."""

    after: After = None
    fields: Words | None = Field(
        None,
        description="fields to return, separated by commas; all unless given; parts of fields have dotted names: "
        "flavor.name, nics.0.ip",
    )


class Many(One):
    """Parameters of a list."""

    sort: str | None = Field(
        None, max_length=64, description="field to sort by; a leading - turns the order round; -created unless given"
    )

    limit: int = Field(50, ge=1, le=MOST, description="most documents in a page")
    marker: str | None = Field(
        None, max_length=64, description="id of the last document of the page before", json_schema_extra=LIKE_AN_ID
    )
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


async def found_by_now(services: Services, look: Callable[[], Awaitable[T | None]], missing: Refusal) -> T | None:
    """Return what `look` finds in the read models.

    They may not have yet what an earlier answer promised, so they are waited for, up to the present end of the log.
    Raises `missing` if it is not there then. None if that takes too long, or the log does not answer: it is not known
    then.
    """
    if (found := await look()) is not None:
        return found
    try:
        ends = {each: end for each, (_, end) in (await services.log.bounds([Topic.EVENTS])).items()}
    except LogUnavailable:
        return None

    async def is_known() -> bool:
        nonlocal found
        at = await services.store.positions(list(ends))
        found = await look()
        if found is None and all(at[each] >= end for each, end in ends.items()):
            raise missing
        return found is not None

    await came_true(is_known, services.settings.api.read_timeout)
    return found


async def must_be_task(services: Services, ident: str) -> None:
    """Check that there are events of this task or request. Raises NotFound; nothing, if it is not known."""
    query = HistoryQuery(task=ident, limit=1)

    async def look() -> bool | None:
        return bool(await services.store.history(query)) or None

    await found_by_now(services, look, NotFound(kind="task", id=ident))


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
    doc = whole(request.app.state.services, view, found.doc)
    return Response(only(doc, wanted), 200, headers, JSON)


async def every_document(store: Store, view: str, *where: Condition | Either) -> AsyncGenerator[dict[str, Any], None]:
    """Yield each document of a view under these conditions, the newest first; the store is asked page by page.

    Raises StoreUnavailable.
    """
    marker = ""
    while True:
        found = await store.page(view, Query(where=where, limit=MOST, marker=marker))
        for doc in found.docs:
            yield orjson.loads(doc)
        if not found.more:
            return
        marker = found.last_id


async def page(services: Services, view: str, parameters: Many, where: Sequence[Condition | Either]) -> Response:
    """Answer with a page of documents under the view's name, and the marker of the next page.

    Raises Invalid, UnknownMarker, NotAppliedYet.
    """
    wanted = known(view, parameters.fields)
    found = await found_page(services, view, parameters, where)
    docs = [only(whole(services, view, doc), wanted) for doc in found.docs]
    return joined(view, docs, found.last_id if found.more else None)


async def found_page(services: Services, view: str, parameters: Many, where: Sequence[Condition | Either]) -> Page:
    """Return a page of documents as they are stored. Raises Invalid, UnknownMarker, NotAppliedYet."""
    column, reverse = sorting(view, parameters.sort)
    await caught_up(services, parameters.after)
    query = Query(
        where=tuple(where),
        sort=column,
        reverse=reverse,
        limit=parameters.limit,
        marker=parameters.marker or "",
        skip=parameters.skip,
    )
    return await services.store.page(view, query)


def whole(services: Services, view: str, doc: bytes) -> bytes:
    """Return a document of the read models as it is shown, with what a read adds to it."""
    add = RESOURCES[view].addition
    return doc if add is None else orjson.dumps(add(services, orjson.loads(doc)))


def joined(name: str, docs: Sequence[bytes], marker: str | None) -> Response:
    """Return documents that are JSON already as a page."""
    body = b"".join((b'{"', name.encode(), b'":[', b",".join(docs), b'],"next":', orjson.dumps(marker), b"}"))
    return Response(body, media_type=JSON)


def sorting(view: str, sort: str | None) -> tuple[str, bool]:
    """Return the column to sort a list by, and whether its order is turned round. Raises Invalid."""
    if not sort:
        return "", False
    columns = {SHOWN_AS.get(each, each): each for each in VIEWS[view].sorted_by}
    try:
        return columns[chosen(sort.removeprefix("-"), columns)], sort.startswith("-")
    except ValueError as error:
        raise Invalid(field="sort", value=sort, allowed=str(error)) from error


def known(view: str, fields: Sequence[str] | None) -> Sequence[str]:
    """Return the requested fields. Raises Invalid for a field that the view's documents do not have."""
    return known_of(RESOURCES[view].document, fields)


def known_of(shape: type[BaseModel], fields: Sequence[str] | None) -> Sequence[str]:
    """Return the requested fields as documents of this shape write them. Raises Invalid for one that they do not
    have."""
    try:
        return [_path_in(shape, each, each) for each in fields or ()]
    except ValueError as error:
        raise Invalid(field="fields", value=error.args[0], allowed=error.args[1]) from error


def _path_in(shape: Any, path: str, whole: str) -> str:
    """Return a dotted path as documents write it. Raises ValueError with the whole path, and what there is."""
    if get_origin(shape) in (Union, UnionType):
        shape = next(each for each in get_args(shape) if each is not NoneType)
    head, dot, rest = path.partition(".")
    if get_origin(shape) is list:
        if not (head.isascii() and head.isdecimal()):
            raise ValueError(whole, f"{head[:80]!r} is no number: a list has {whole.removesuffix(path)}0 and so on")
        return f"{head}.{_path_in(get_args(shape)[0], rest, whole)}" if dot else head
    if isinstance(shape, type) and issubclass(shape, BaseModel):
        try:
            head = chosen(head, shape.model_fields)
        except ValueError as error:
            raise ValueError(whole, str(error)) from error
        return f"{head}.{_path_in(shape.model_fields[head].annotation, rest, whole)}" if dot else head
    if get_origin(shape) is dict or shape is Any:
        return path
    raise ValueError(whole, f"{whole.removesuffix(path).rstrip('.')} has no parts")


def only(doc: bytes, fields: Sequence[str]) -> bytes:
    """Return a document with only these fields, by their paths; the whole document if none are named."""
    if not fields:
        return doc
    whole: dict[str, Any] = orjson.loads(doc)
    return orjson.dumps({path: pick(whole, path) for path in fields})
