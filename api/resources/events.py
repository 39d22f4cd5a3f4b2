"""Events: read from the log in pages, or as a stream."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from pydantic import Field, field_validator
from sse_starlette.sse import EventSourceResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.documents.document import page_of
from api.documents.events import EventDocument, IncidentDocument
from api.http.patterns import LIKE_A_CURSOR, LIKE_A_KEY, LIKE_A_SUBJECT, LIKE_A_TIME
from api.http.permissions import needs
from api.http.request_context import ProjectDep, ServicesDep
from api.openapi import describe, examples
from api.reads import export, resolve, time_travel
from api.reads.event_filters import event_subject, event_types
from api.reads.event_stream import Feed
from api.reads.events import entry_json
from api.reads.queries import JSON, After, Strict, Words, caught_up, joined, known_of, must_be_task, only
from api.reads.stream_cursor import LONGEST
from api.services import Services
from domain.core.errors import Invalid, NotFound
from domain.core.event_filter import SUBJECT_ALLOWED, TYPES_ALLOWED, Interest
from domain.core.messages import Key
from projections.store.port import HistoryQuery

router = APIRouter(tags=["events"])

STREAM = "text/event-stream"
FIELDS = "fields of each event to return, separated by commas; all unless given; parts have dotted names: place.offset"
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

    subject: str | None = Field(None, max_length=128, description=SUBJECT_ALLOWED, json_schema_extra=LIKE_A_SUBJECT)
    type: Words | None = Field(None, description=f"types of events, separated by commas; each {TYPES_ALLOWED}")
    actor: str | None = Field(None, max_length=255)
    project_id: str | None = Field(None, max_length=255)
    task: str | None = Field(None, max_length=64, description="id of a task: only events that it led to")
    since: str | None = Field(
        None, max_length=time_travel.LONGEST, description=time_travel.TIMES, json_schema_extra=LIKE_A_TIME
    )
    until: str | None = Field(
        None,
        max_length=time_travel.LONGEST,
        description=f"the last moment: {time_travel.TIMES}",
        json_schema_extra=LIKE_A_TIME,
    )
    fields: Words | None = Field(None, description=FIELDS)

    @field_validator("subject")
    @classmethod
    def _is_subject(cls, value: str | None) -> str | None:
        return event_subject(value) if value else value

    @field_validator("type")
    @classmethod
    def _are_types(cls, value: list[str] | None) -> list[str] | None:
        return event_types(value) if value else value


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
    after: After = None
    begin: str | None = Field(
        None,
        alias="from",
        max_length=LONGEST,
        description="where a stream begins: see /v1/events/stream",
        json_schema_extra=LIKE_A_CURSOR,
    )


class EventStream(EventFilter):
    """Parameters of a stream of events."""

    begin: str | None = Field(
        None,
        alias="from",
        max_length=LONGEST,
        description="id of an event of this stream, now or beginning; unless given, since, otherwise now",
        json_schema_extra=LIKE_A_CURSOR,
    )


class EventRead(Strict):
    """Parameters of a read of one event."""

    fields: Words | None = Field(None, description=FIELDS)
    after: After = None


LastEventId = Annotated[
    str | None,
    Header(
        max_length=LONGEST,
        description="id of the last event that was received; the stream resumes after it",
        json_schema_extra=LIKE_A_CURSOR,
    ),
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
    shown = known_of(EventDocument, parameters.fields)
    await caught_up(services, parameters.after)
    if parameters.task:
        await must_be_task(services, parameters.task)
    query = HistoryQuery(**vars(wanted), limit=parameters.limit, marker=parameters.marker or "")
    found = await services.store.search(query, MOST_LOOKED_AT)
    return joined("events", [only(entry_json(each), shown) for each in found.entries], found.next or None)


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
    shown = known_of(EventDocument, parameters.fields)
    with ExitStack() as held:
        held.enter_context(feed.place())
        begins = await feed.start(last or begin or "", wanted.since)
        if parameters.task:
            await must_be_task(services, parameters.task)
        return FollowerResponse(feed.follow(begins, wanted, shown), held.pop_all())


class FollowerResponse(EventSourceResponse):
    """A stream of events to one follower, whose place is given back when it has ended, in whatever way."""

    def __init__(self, events: AsyncIterator[bytes], held: ExitStack) -> None:
        super().__init__(events, ping=0, send_timeout=SEND_TIMEOUT)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until the stream ends or the client is gone."""
        with self._held:
            await super().__call__(scope, receive, send)


class Export(Strict):
    """Parameters of an export: exactly one of task, instance and subject."""

    task: str | None = Field(None, max_length=64, description="id of a task: only events that it led to")
    instance: str | None = Field(None, max_length=255, description="id or name")
    subject: str | None = Field(None, max_length=128, description="KIND/ID", json_schema_extra=LIKE_A_KEY)
    until: str | None = Field(
        None,
        max_length=time_travel.LONGEST,
        description=f"leave out later events: {time_travel.TIMES}",
        json_schema_extra=LIKE_A_TIME,
    )
    after: After = None

    @field_validator("subject")
    @classmethod
    def _is_subject(cls, value: str | None) -> str | None:
        if value is not None:
            Key.parse(value)
            return event_subject(value)
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
    "/events/{ident}",
    summary="Show an event",
    responses=describe.answers(200, EventDocument, examples.EVENT, 404, 422, 504),
)
async def show_event(services: ServicesDep, ident: str, parameters: Annotated[EventRead, Query()]) -> Response:
    """The event is shown with its metadata and its data."""
    shown = known_of(EventDocument, parameters.fields)
    await caught_up(services, parameters.after)
    entry = await services.store.event(ident)
    if entry is None:
        raise NotFound(kind="event", id=ident)
    return Response(only(entry_json(entry), shown), media_type=JSON)
