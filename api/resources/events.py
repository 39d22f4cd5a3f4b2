"""Events: read from the log in pages, or as a stream."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from pydantic import Field, field_validator
from sse_starlette.sse import EventSourceResponse
from starlette.responses import Response

from api.documents.document import page_of
from api.documents.events import EventDocument, IncidentDocument
from api.http.permissions import needs
from api.http.request_context import ProjectDep, ServicesDep
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
"""Most events that are examined for one page."""
STREAM_EXAMPLE = f'id: AAECAw\ndata: {{"id": "{examples.EVENT_ID}", "type": "gostack.task.finished.v2", …}}\n\n'
FOLLOWED: describe.Responses = {
    200: {
        "description": "Server-sent events, without end",
        "content": {STREAM: {"schema": {"type": "string"}, "example": STREAM_EXAMPLE}},
    }
}


class EventFilter(Strict):
    """Conditions on events; an event has to meet all that are given."""

    subject: str | None = Field(None, max_length=128, description=SUBJECT_ALLOWED)
    type: Words | None = Field(None, description=f"types of events, separated by commas; each {TYPES_ALLOWED}")
    actor: str | None = Field(None, max_length=255)
    project_id: str | None = Field(None, max_length=255)
    task: str | None = Field(None, max_length=64, description="id of a task: only events that it led to")
    since: str | None = Field(None, max_length=time_travel.LONGEST, description=time_travel.TIMES)
    until: str | None = Field(None, max_length=time_travel.LONGEST, description=f"the last moment: {time_travel.TIMES}")

    @field_validator("subject")
    @classmethod
    def _is_subject(cls, value: str | None) -> str | None:
        return checked_subject(value) if value else value

    @field_validator("type")
    @classmethod
    def _are_types(cls, value: list[str] | None) -> list[str] | None:
        return list(whole_types(value)) if value else value


def interest(services: Services, parameters: EventFilter) -> Interest:
    """Return the filter of events that the parameters describe. Raises Invalid."""
    since = time_travel.time(services, "since", parameters.since) if parameters.since else None
    until = time_travel.time(services, "until", parameters.until) if parameters.until else None
    if since is not None and until is not None and until < since:
        raise Invalid(
            field="until", value=parameters.until, allowed=f"it must not be before since ({parameters.since})"
        )
    return Interest(
        subject=parameters.subject or "",
        types=tuple(parameters.type or ()),
        actor=parameters.actor or "",
        project=parameters.project_id or "",
        task=parameters.task or "",
        since=since,
        until=until,
    )


class EventList(EventFilter):
    """Parameters of a list of events."""

    limit: int = Field(50, ge=1, le=1000)
    marker: str | None = Field(None, max_length=64, description="value of next in the page before")
    after: str | None = Field(None, max_length=64)
    begin: str | None = Field(
        None, alias="from", max_length=LONGEST, description="where a stream begins: see /v1/events/stream"
    )


class EventStream(EventFilter):
    """Parameters of a stream of events."""

    begin: str | None = Field(
        None,
        alias="from",
        max_length=LONGEST,
        description="id of an event of this stream, now or beginning; unless given, since, otherwise now",
    )


class EventRead(Strict):
    """Parameters of a read of one event."""

    after: str | None = Field(None, max_length=64)


LastEventId = Annotated[
    str | None,
    Header(max_length=LONGEST, description="id of the last event that was received; the stream resumes after it"),
]


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
    request: Request,
    services: ServicesDep,
    parameters: Annotated[EventList, Query()],
    last_event_id: LastEventId = None,
) -> Response:
    """Events are listed with the oldest first. A page examines a limited number of events, so it may be short or empty
    although more follow: only if `next` is null was it the last. With `Accept: text/event-stream` this is
    /v1/events/stream."""
    if STREAM in request.headers.get("Accept", ""):
        return await _stream(request, services, parameters, parameters.begin, last_event_id)
    if parameters.begin is not None:
        raise Invalid(field="from", value=parameters.begin[:80], allowed=f"it is for a stream (Accept: {STREAM})")
    wanted = interest(services, parameters)
    await caught_up(services, parameters.after)
    if parameters.task:
        await must_be_task(services, parameters.task)
    query = HistoryQuery(**vars(wanted), limit=parameters.limit, marker=parameters.marker or "")
    found = await services.store.search(query, MOST_LOOKED_AT)
    return joined("events", [entry_json(each) for each in found.entries], found.next or None)


@router.get(
    "/events/stream",
    openapi_extra=needs("event:list"),
    summary="Follow events",
    responses=FOLLOWED | describe.problem_answers(404, 422, 429),
    response_class=EventSourceResponse,
)
async def stream_events(
    request: Request,
    services: ServicesDep,
    parameters: Annotated[EventStream, Query()],
    last_event_id: LastEventId = None,
) -> Response:
    """Events are sent straight from the log, as server-sent events. With the id of an event as `Last-Event-ID` or as
    `from`, the stream resumes right after it: no event is missed or sent twice. With `until`, an event of kind `end`
    is the last."""
    return await _stream(request, services, parameters, parameters.begin, last_event_id)


async def _stream(
    request: Request, services: Services, parameters: EventFilter, begin: str | None, last: str | None
) -> Response:
    feed: Feed = request.app.state.feed
    wanted = interest(services, parameters)
    begins = await feed.start(last or begin or "", wanted.since)
    if parameters.task:
        await must_be_task(services, parameters.task)
    content = feed.follow(begins, wanted)
    return EventSourceResponse(content, ping=0, send_timeout=SEND_TIMEOUT)


class Export(Strict):
    """Parameters of an export: exactly one of task, instance and subject."""

    task: str | None = Field(None, max_length=64, description="id of a task: only events that it led to")
    instance: str | None = Field(None, max_length=255, description="id or name")
    subject: str | None = Field(None, max_length=128, description="KIND/ID")
    until: str | None = Field(
        None, max_length=time_travel.LONGEST, description=f"leave out later events: {time_travel.TIMES}"
    )
    after: str | None = Field(None, max_length=64)

    @field_validator("subject")
    @classmethod
    def _is_subject(cls, value: str | None) -> str | None:
        if value is not None:
            Key.parse(value)
        return value


@router.get(
    "/events/export",
    openapi_extra=needs("event:export"),
    summary="Export an incident as one file",
    responses=describe.answers(200, IncidentDocument, examples.INCIDENT, *describe.NAMED, 422, 504),
)
async def export_events(services: ServicesDep, project: ProjectDep, parameters: Annotated[Export, Query()]) -> Response:
    """The file has the events of a task or of one subject, and before them the history of everything they touched, so
    that the state can be rebuilt elsewhere. It has at most 20,000 events and 32 MiB; of a subject's past, the last
    2,000 events, and the state that the older ones made."""
    named = [name for name in ("task", "instance", "subject") if getattr(parameters, name)]
    if len(named) != 1:
        given_now = " and ".join(named) or "missing"
        raise Invalid(field="task", value=given_now, allowed="exactly one of task, instance and subject is needed")
    await caught_up(services, parameters.after)
    until = time_travel.time(services, "until", parameters.until) if parameters.until else None
    if parameters.task:
        task = await resolve.found(services, "tasks", parameters.task, project)
        body = await export.of_task(services, task.id, until)
    elif parameters.instance:
        instance = await resolve.found(services, "instances", parameters.instance, project)
        body = await export.of_subject(services, Key("instance", instance.id), until)
    else:
        subject = Key.parse(parameters.subject or "")
        if not await services.store.history(HistoryQuery(str(subject), limit=1)):
            raise NotFound(kind=subject.kind, id=subject.id)
        body = await export.of_subject(services, subject, until)
    return Response(body, media_type=JSON)


@router.get(
    "/events/{ident}", summary="Show an event", responses=describe.answers(200, EventDocument, examples.EVENT, 404, 504)
)
async def show_event(services: ServicesDep, ident: str, parameters: Annotated[EventRead, Query()]) -> Response:
    """The event is shown with its metadata and its data."""
    await caught_up(services, parameters.after)
    entry = await services.store.event(ident)
    if entry is None:
        raise NotFound(kind="event", id=ident)
    return Response(entry_json(entry), media_type=JSON)
