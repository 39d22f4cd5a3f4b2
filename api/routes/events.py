"""Events: the log itself, in pages or as it grows."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from pydantic import Field, field_validator
from sse_starlette.sse import EventSourceResponse
from starlette.responses import Response

from api import describe, examples
from api.asked import Given
from api.documents import EventDocument, page_of
from api.events import Filter, entry_json, of_task
from api.feed import NOW, Feed
from api.positions import LONGEST
from api.reading import JSON, Strict, caught_up, joined
from api.services import Services
from domain.errors import Invalid, NotFound
from domain.messages import Key
from projections.store import HistoryQuery

router = APIRouter(tags=["events"])

STREAM = "text/event-stream"
SEND_TIMEOUT = 60.0
STREAM_EXAMPLE = f'id: AAECAw\ndata: {{"id": "{examples.EVENT_ID}", "type": "gostack.task.finished.v1", …}}\n\n'
FOLLOWED: describe.Responses = {
    200: {
        "description": "Server-sent events, without end",
        "content": {STREAM: {"schema": {"type": "string"}, "example": STREAM_EXAMPLE}},
    }
}


class EventFilter(Strict):
    """Which events."""

    subject: str | None = Field(None, max_length=128, description="KIND/ID, such as instance/ID")
    type: str | None = Field(None, max_length=128, description="such as gostack.task.finished.v1")
    actor: str | None = Field(None, max_length=255)
    task: str | None = Field(None, max_length=64, description="all that this task led to")

    @field_validator("subject")
    @classmethod
    def _is_subject(cls, given: str | None) -> str | None:
        if given:
            Key.parse(given)
        return given


class EventList(EventFilter):
    """Which events to list."""

    since: datetime | None = Field(None, description="ISO 8601, or seconds since 1970")
    until: datetime | None = Field(None, description="ISO 8601, or seconds since 1970")
    limit: int = Field(50, ge=1, le=1000)
    marker: str | None = Field(None, max_length=64, description="id of the last event of the page before")
    after: str | None = Field(None, max_length=64)
    begin: str | None = Field(None, alias="from", max_length=LONGEST, description="of a stream: see /v1/events/stream")


class EventStream(EventFilter):
    """Which events to follow."""

    begin: str | None = Field(
        None, alias="from", max_length=LONGEST, description="id of an event of this feed, now or beginning"
    )


class Waiting(Strict):
    """How to read an event."""

    after: str | None = Field(None, max_length=64)


LastEventId = Annotated[str | None, Header(max_length=LONGEST, description="resume after this event")]


@router.get(
    "/events",
    summary="List events, or follow them",
    responses=describe.answers(
        200, page_of("events", EventDocument), {"events": [examples.EVENT], "next": None}, 422, 429, 504
    ),
)
async def list_events(
    request: Request, given: Given, asked: Annotated[EventList, Query()], last_event_id: LastEventId = None
) -> Response:
    """The oldest first. With `Accept: text/event-stream` this is /v1/events/stream."""
    if STREAM in request.headers.get("Accept", ""):
        return await _stream(request, given, asked, asked.begin, last_event_id)
    if asked.begin is not None:
        raise Invalid(field="from", value=asked.begin[:80], allowed=f"it is for a stream (Accept: {STREAM})")
    await caught_up(given, asked.after)
    correlation, subject = await of_task(given, asked.task, asked.subject or "") if asked.task else ("", asked.subject)
    entries = await given.store.history(
        HistoryQuery(
            subject=subject or "",
            type=asked.type or "",
            actor=asked.actor or "",
            task=correlation,
            since=_utc(asked.since),
            until=_utc(asked.until),
            limit=asked.limit + 1,
            marker=asked.marker or "",
        )
    )
    shown = entries[: asked.limit]
    return joined("events", [entry_json(each) for each in shown], shown[-1].id if len(entries) > len(shown) else None)


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


@router.get(
    "/events/stream",
    summary="Follow events",
    responses=FOLLOWED | describe.problem_answers(422, 429),
    response_class=EventSourceResponse,
)
async def stream_events(
    request: Request, given: Given, asked: Annotated[EventStream, Query()], last_event_id: LastEventId = None
) -> Response:
    """Straight from the log. The id of each resumes right after it: nothing is missed, nothing comes twice."""
    return await _stream(request, given, asked, asked.begin, last_event_id)


async def _stream(
    request: Request, services: Services, asked: EventFilter, begin: str | None, last: str | None
) -> Response:
    feed: Feed = request.app.state.feed
    offsets = await feed.start(last or begin or NOW)
    correlation, subject = "", asked.subject or ""
    if asked.task:
        correlation, subject = await of_task(services, asked.task, subject)
    wanted = Filter(subject=subject, type=asked.type or "", actor=asked.actor or "", correlation=correlation)
    content = feed.follow(offsets, wanted)
    return EventSourceResponse(content, ping=0, send_timeout=SEND_TIMEOUT)


@router.get(
    "/events/{ident}", summary="Show an event", responses=describe.answers(200, EventDocument, examples.EVENT, 404, 504)
)
async def show_event(given: Given, ident: str, asked: Annotated[Waiting, Query()]) -> Response:
    """With all that is said about it."""
    await caught_up(given, asked.after)
    entry = await given.store.event(ident)
    if entry is None:
        raise NotFound(kind="event", id=ident)
    return Response(entry_json(entry), media_type=JSON)
