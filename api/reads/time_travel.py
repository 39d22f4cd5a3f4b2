"""Resources as they were: moments as people write them, rows at a moment, and differences between two moments."""

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson
from fastapi import Request
from pydantic import Field
from starlette.responses import Response

from api.http.patterns import LIKE_A_MOMENT, LIKE_AN_ID
from api.reads import resolve
from api.reads.events import entry_json
from api.reads.queries import (
    JSON,
    After,
    Many,
    One,
    Strict,
    caught_up,
    document,
    joined,
    known,
    only,
)
from api.resource import RESOURCES
from api.services import Services
from domain.core import times
from domain.core.errors import Invalid, NotThereThen
from domain.core.messages import Key, Topic
from projections.history.time_travel import Folds, Moment, row_at
from projections.store.port import HistoryQuery
from projections.views.table import VIEWS
from projections.views.view import Condition, Either, Found, Query, Row

TIMES = times.FORMS
OTHER_THAN_TIMES = f"a place on the log as the history shows it ({Topic.EVENTS}/PARTITION/OFFSET)"
FORMATS = f"{TIMES}, or {OTHER_THAN_TIMES}"
PLACE = re.compile(r"([A-Za-z][\w.-]{0,248})[/:](\d{1,5})[/:](\d{1,18})", re.ASCII)
LONGEST = 300
MOST_AT = 100
"""Most rows of a page that are rebuilt from their events."""
MOST_LOOKED_AT = 1000
MOST_FOLDED = 50_000
"""Numbers of examined rows and of their events after which a request for a page ends with what it found."""


class OneAt(One):
    """Parameters of a read of a resource that has a history."""

    at: str | None = Field(
        None,
        max_length=LONGEST,
        description=f"show the resource as it was at this moment: {FORMATS}",
        json_schema_extra=LIKE_A_MOMENT,
    )


class History(Strict):
    """Parameters of a page of a history."""

    limit: int = Field(50, ge=1, le=1000)
    marker: str | None = Field(
        None, max_length=64, description="id of the last event of the page before", json_schema_extra=LIKE_AN_ID
    )
    after: After = None


class Between(Strict):
    """Parameters that name two moments to compare."""

    begin: str = Field(alias="from", max_length=LONGEST, description=FORMATS, json_schema_extra=LIKE_A_MOMENT)
    end: str | None = Field(
        None,
        alias="to",
        max_length=LONGEST,
        description="now, unless given; in the formats of from",
        json_schema_extra=LIKE_A_MOMENT,
    )
    after: After = None


def moment(services: Services, field: str, text: str) -> Moment:
    """Parse a moment as people write it. Raises Invalid, which names the field and the formats."""
    if place := PLACE.fullmatch(text):
        if place[1] != Topic.EVENTS:
            raise Invalid(field=field, value=text[:80], allowed=f"it must be {FORMATS}")
        return Moment(topic=place[1], partition=int(place[2]), offset=int(place[3]))
    return Moment(time(services, field, text, f", or {OTHER_THAN_TIMES}"))


def time(services: Services, field: str, text: str, besides: str = "") -> datetime:
    """Parse a time as people write it. Raises Invalid, which names the field, the forms, and what else is allowed."""
    try:
        return times.parsed(text, services.clock())
    except ValueError as error:
        raise Invalid(field=field, value=text[:80], allowed=f"{error}{besides}") from error


async def show(request: Request, services: Services, view: str, ref: str, project: str, parameters: OneAt) -> Response:
    """Answer with the document as it is or was.

    Raises NotFound, NameNotUnique, NotThereThen, Invalid, TooManyEvents, NotAppliedYet.
    """
    await caught_up(services, parameters.after)
    found = await resolve.found(services, view, ref, project)
    if parameters.at is not None:
        found = await then(services, view, found, "at", parameters.at)
    elif view == "instances" and (parking := await services.store.get("parked", str(subject_of(view, found)))):
        told = orjson.loads(parking.doc)
        if told["parked"]:
            # No ETag: the version says nothing of it.
            return Response(only(_parked(found, told), known(view, parameters.fields)), media_type=JSON)
    return document(request, found, view, parameters.fields)


def _parked(found: Found, told: dict[str, Any]) -> bytes:
    """Return the document with its parking, which the events of the resource do not tell."""
    doc = orjson.loads(found.doc) | {"parked": {name: told[name] for name in ("why", "place", "since")}}
    return orjson.dumps(doc)


async def then(services: Services, view: str, found: Found, field: str, text: str) -> Found:
    """Return the row as it was at a moment. Raises NotThereThen, Invalid, TooManyEvents."""
    when = moment(services, field, text)
    subject = subject_of(view, found)
    if when.topic:
        for first in await services.store.history(HistoryQuery(subject=str(subject), limit=1)):
            if first.partition != when.partition:
                own = f"{subject} has its events in {first.topic}/{first.partition}: others are not before or after"
                raise Invalid(field=field, value=text, allowed=own)
    row = await row_at(services.store, VIEWS[view], found.id, subject, when)
    if row is None:
        raise NotThereThen(kind=RESOURCES[view].noun, id=found.id, at=text)
    return Found(row.id, row.version, orjson.dumps(row.doc))


async def listed(
    services: Services, view: str, parameters: Many, at: str, where: Sequence[Condition | Either]
) -> Response:
    """Answer with a page of the resources that existed at a moment and met these conditions then. Candidates are
    rebuilt from their events one after the other, until the page is full, or until so many were examined that the next
    request has to go on.

    Raises Invalid, UnknownMarker, TooManyEvents.
    """
    when = moment(services, "at", at)
    if when.time is None:
        raise Invalid(field="at", value=at, allowed="of a list it must be a time: between partitions there is no order")
    if parameters.skip:
        raise Invalid(field="skip", value=parameters.skip, allowed="a list at a moment leaves none out; use marker")
    if parameters.sort:
        raise Invalid(field="sort", value=parameters.sort, allowed="a list at a moment has the newest first")
    if parameters.limit > MOST_AT:
        raise Invalid(field="limit", value=parameters.limit, allowed=f"it must be at most {MOST_AT} with at")
    wanted = known(view, parameters.fields)
    await caught_up(services, parameters.after)
    shape, folds = VIEWS[view], Folds(services.store)
    found: list[Row] = []
    looked_at = 0
    async for ident, more in _candidates(services, view, parameters, when.time, where):
        row = await folds.row_at(shape, ident, Key(RESOURCES[view].noun, ident), when)
        if row is not None and all(each.holds(row) for each in where):
            found.append(row)
        looked_at += 1
        if len(found) > parameters.limit:
            marker = found[parameters.limit - 1].id
            break
        if more and (looked_at >= MOST_LOOKED_AT or folds.events >= MOST_FOLDED):
            marker = ident
            break
    else:
        marker = None
    docs = [only(orjson.dumps(row.doc), wanted) for row in found[: parameters.limit]]
    return joined(view, docs, marker)


async def _candidates(
    services: Services, view: str, parameters: Many, when: datetime, holding: Sequence[Condition | Either]
) -> AsyncIterator[tuple[str, bool]]:
    """Yield the ids of rows that may have existed then and met these conditions, the newest first, each with whether
    more follow. Rows that did not change since and do not meet the conditions now are left out."""
    changed = Condition("updated", ">=", when)
    where: list[Condition | Either] = [Condition("created", "<=", when)]
    for each in holding:
        if isinstance(each, Either):
            continue
        column = VIEWS[view].column(each.column)
        if column is None or column.fixed:
            where.append(each)
        elif each.column == "deleted":
            where.append(Either((each, changed)))
    query = Query(where=tuple(where), limit=parameters.limit, marker=parameters.marker or "")
    while True:
        page = await services.store.page(view, query)
        for number, doc in enumerate(page.docs, 1):
            yield orjson.loads(doc)["id"], page.more or number < len(page.docs)
        if not page.more:
            return
        query = replace(query, marker=page.last_id)


async def history(services: Services, view: str, ref: str, project: str, parameters: History) -> Response:
    """Answer with a page of a resource's events, the oldest first; for a task, with all events that it led to.

    Raises NotFound, NameNotUnique, UnknownMarker, NotAppliedYet.
    """
    await caught_up(services, parameters.after)
    found = await resolve.found(services, view, ref, project)
    subject, task = ("", found.id) if view == "tasks" else (str(subject_of(view, found)), "")
    query = HistoryQuery(subject=subject, task=task, limit=parameters.limit + 1, marker=parameters.marker or "")
    entries = await services.store.history(query)
    shown = entries[: parameters.limit]
    return joined("events", [entry_json(each) for each in shown], shown[-1].id if len(entries) > len(shown) else None)


async def difference(services: Services, view: str, ref: str, project: str, parameters: Between) -> Response:
    """Answer with the fields that differ. Raises NotFound, NameNotUnique, NotThereThen, Invalid, TooManyEvents."""
    await caught_up(services, parameters.after)
    found = await resolve.found(services, view, ref, project)
    old = orjson.loads((await then(services, view, found, "from", parameters.begin)).doc)
    new = orjson.loads(
        (await then(services, view, found, "to", parameters.end)).doc if parameters.end is not None else found.doc
    )
    body = {
        "id": found.id,
        "from": {"at": parameters.begin, "version": old["version"]},
        "to": {"at": "now" if parameters.end is None else parameters.end, "version": new["version"]},
        "changes": [{"field": field, "old": before, "new": after} for field, before, after in _differing(old, new, "")],
    }
    return Response(orjson.dumps(body), media_type=JSON)


def _differing(old: dict[str, Any], new: dict[str, Any], above: str) -> Iterator[tuple[str, Any, Any]]:
    for name in [*old, *(name for name in new if name not in old)]:
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differing(before, after, f"{above}{name}.")
        elif before != after:
            yield f"{above}{name}", before, after


def subject_of(view: str, found: Found) -> Key:
    """Return the key of the aggregate whose events make the row."""
    if view == "tasks":
        return Key.parse(orjson.loads(found.doc)["subject"])
    return Key(RESOURCES[view].noun, found.id)
