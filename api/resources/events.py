"""Events: the log itself, in pages or as it grows."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from pydantic import Field, field_validator
from sse_starlette.sse import EventSourceResponse
from starlette.responses import Response

from api.documents.document import page_of
from api.documents.events import EventDocument, IncidentDocument
from api.http.permissions import needs
from api.http.request_context import Given, Project
from api.openapi import describe, examples
from api.reads import export, resolve, time_travel
from api.reads.event_stream import Feed
from api.reads.events import entry_json
from api.reads.queries import JSON, Strict, Words, caught_up, joined, must_be_task
from api.reads.stream_cursor import LONGEST
from api.services import Services
from domain.core.errors import Invalid, NotFound
from domain.core.event_filter import (
    SUBJECT_ALLOWED,
    TYPES_ALLOWED,
    Interest,
    checked_subject,
    whole_types,
)
from domain.core.messages import Key
from projections.store.port import HistoryQuery

router = APIRouter(tags=["events"])

STREAM = "text/event-stream"
SEND_TIMEOUT = 60.0
MOST_LOOKED_AT = 50_000
"""Events that are looked at for one page."""
STREAM_EXAMPLE = f'id: AAECAw\ndata: {{"id": "{examples.EVENT_ID}", "type": "gostack.task.finished.v2", …}}\n\n'
FOLLOWED: describe.Responses = {
    200: {
        "description": "Server-sent events, without end",
        "content": {STREAM: {"schema": {"type": "string"}, "example": STREAM_EXAMPLE}},
    }
}


class EventFilter(Strict):
    """Which events; all that is given holds together."""

    subject: str | None = Field(None, max_length=128, description=SUBJECT_ALLOWED)
    type: Words | None = Field(None, description=f"any of these, separated by commas; each {TYPES_ALLOWED}")
    actor: str | None = Field(None, max_length=255)
    project_id: str | None = Field(None, max_length=255)
    task: str | None = Field(None, max_length=64, description="all that this task led to")
    since: str | None = Field(None, max_length=time_travel.LONGEST, description=time_travel.TIMES)
    until: str | None = Field(None, max_length=time_travel.LONGEST, description=f"the last moment: {time_travel.TIMES}")

    @field_validator("subject")
    @classmethod
    def _is_subject(cls, given: str | None) -> str | None:
        return checked_subject(given) if given else given

    @field_validator("type")
    @classmethod
    def _are_types(cls, given: list[str] | None) -> list[str] | None:
        return list(whole_types(given)) if given else given


def interest(services: Services, asked: EventFilter) -> Interest:
    """What is asked for. Raises Invalid."""
    since = time_travel.time(services, "since", asked.since) if asked.since else None
    until = time_travel.time(services, "until", asked.until) if asked.until else None
    if since is not None and until is not None and until < since:
        raise Invalid(field="until", value=asked.until, allowed=f"it must not be before since ({asked.since})")
    return Interest(
        subject=asked.subject or "",
        types=tuple(asked.type or ()),
        actor=asked.actor or "",
        project=asked.project_id or "",
        task=asked.task or "",
        since=since,
        until=until,
    )


class EventList(EventFilter):
    """Which events to list."""

    limit: int = Field(50, ge=1, le=1000)
    marker: str | None = Field(None, max_length=64, description="next of the page before")
    after: str | None = Field(None, max_length=64)
    begin: str | None = Field(None, alias="from", max_length=LONGEST, description="of a stream: see /v1/events/stream")


class EventStream(EventFilter):
    """Which events to follow."""

    begin: str | None = Field(
        None,
        alias="from",
        max_length=LONGEST,
        description="id of an event of this feed, now or beginning; without it, since, else now",
    )


class Waiting(Strict):
    """How to read an event."""

    after: str | None = Field(None, max_length=64)


LastEventId = Annotated[str | None, Header(max_length=LONGEST, description="resume after this event")]


@router.get(
    "/events",
    openapi_extra=needs("event:list"),
    summary="List events, or follow them",
    responses=describe.answers(
        200,
        page_of("events", EventDocument),
        {"events": [examples.EVENT], "next": None},
        *describe.NAMED,
        422,
        429,
        504,
    ),
)
async def list_events(
    request: Request, given: Given, asked: Annotated[EventList, Query()], last_event_id: LastEventId = None
) -> Response:
    """The oldest first. A page looks at a bounded number of events, so it may be short, or empty, and say how to go
    on nevertheless: only where `next` is null was that all. With `Accept: text/event-stream` this is
    /v1/events/stream."""
    if STREAM in request.headers.get("Accept", ""):
        return await _stream(request, given, asked, asked.begin, last_event_id)
    if asked.begin is not None:
        raise Invalid(field="from", value=asked.begin[:80], allowed=f"it is for a stream (Accept: {STREAM})")
    wanted = interest(given, asked)
    await caught_up(given, asked.after)
    if asked.task:
        await must_be_task(given, asked.task)
    query = HistoryQuery(**vars(wanted), limit=asked.limit, marker=asked.marker or "")
    found = await given.store.search(query, MOST_LOOKED_AT)
    return joined("events", [entry_json(each) for each in found.entries], found.next or None)


@router.get(
    "/events/stream",
    openapi_extra=needs("event:list"),
    summary="Follow events",
    responses=FOLLOWED | describe.problem_answers(404, 422, 429),
    response_class=EventSourceResponse,
)
async def stream_events(
    request: Request, given: Given, asked: Annotated[EventStream, Query()], last_event_id: LastEventId = None
) -> Response:
    """Straight from the log. The id of each resumes right after it, as `Last-Event-ID` or as `from`: nothing is
    missed, nothing comes twice. With `until`, an event of kind `end` says that nothing more will come."""
    return await _stream(request, given, asked, asked.begin, last_event_id)


async def _stream(
    request: Request, services: Services, asked: EventFilter, begin: str | None, last: str | None
) -> Response:
    feed: Feed = request.app.state.feed
    wanted = interest(services, asked)
    begins = await feed.start(last or begin or "", wanted.since)
    if asked.task:
        await must_be_task(services, asked.task)
    content = feed.follow(begins, wanted)
    return EventSourceResponse(content, ping=0, send_timeout=SEND_TIMEOUT)


class Export(Strict):
    """What to write down: exactly one of task, instance and subject."""

    task: str | None = Field(None, max_length=64, description="all that this task led to")
    instance: str | None = Field(None, max_length=255, description="id or name")
    subject: str | None = Field(None, max_length=128, description="KIND/ID")
    until: str | None = Field(None, max_length=time_travel.LONGEST, description=f"nothing later: {time_travel.TIMES}")
    after: str | None = Field(None, max_length=64)

    @field_validator("subject")
    @classmethod
    def _is_subject(cls, given: str | None) -> str | None:
        if given is not None:
            Key.parse(given)
        return given


@router.get(
    "/events/export",
    openapi_extra=needs("event:export"),
    summary="Write an incident down as one file",
    responses=describe.answers(200, IncidentDocument, examples.INCIDENT, *describe.NAMED, 422, 504),
)
async def export_events(given: Given, project: Project, asked: Annotated[Export, Query()]) -> Response:
    """The events of a task, or of one thing, and before them the whole history of all that they touched, so that they
    can be folded again elsewhere. Bounded: at most 20,000 events and 32 MiB; of a subject's past the last 2,000 events,
    and the state that those before had made."""
    named = [name for name in ("task", "instance", "subject") if getattr(asked, name)]
    if len(named) != 1:
        given_now = " and ".join(named) or "missing"
        raise Invalid(field="task", value=given_now, allowed="exactly one of task, instance and subject is needed")
    await caught_up(given, asked.after)
    until = time_travel.time(given, "until", asked.until) if asked.until else None
    if asked.task:
        task = await resolve.found(given, "tasks", asked.task, project)
        body = await export.of_task(given, task.id, until)
    elif asked.instance:
        instance = await resolve.found(given, "instances", asked.instance, project)
        body = await export.of_subject(given, Key("instance", instance.id), until)
    else:
        subject = Key.parse(asked.subject or "")
        if not await given.store.history(HistoryQuery(str(subject), limit=1)):
            raise NotFound(kind=subject.kind, id=subject.id)
        body = await export.of_subject(given, subject, until)
    return Response(body, media_type=JSON)


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
