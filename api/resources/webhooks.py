"""Webhooks: endpoints of users to which events are sent."""

from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Query, Request
from pydantic import Field, field_validator
from starlette.responses import Response

from api import standard
from api.documents.webhooks import SecretWebhook, WebhookDocument, WebhookTest
from api.http.bounded import Bounded
from api.http.names import Name
from api.http.patterns import LIKE_A_CURSOR, LIKE_A_SUBJECT, LIKE_A_TIME
from api.http.refusals import TooManyWebhooks
from api.http.request_context import ProjectDep, RequestContext, RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads import resolve, stream_cursor, time_travel
from api.reads.event_filters import event_subject, event_types
from api.reads.event_stream import begins_at
from api.reads.queries import (
    JSON,
    One,
    Strict,
    caught_up,
    etag,
    found_page,
    joined,
    known,
    must_be_task,
    only,
)
from api.reads.stream_cursor import LONGEST
from api.resource import of_kind
from api.services import Services
from api.writes import command_bus
from api.writes.command_bus import CommandRequest
from api.writes.command_responses import CREATED, answer
from api.writes.told_once import tell, told
from commands.engine import EngineRules
from commands.rules import restored
from domain.core.errors import AlreadyExists, Invalid, NotFound
from domain.core.event_filter import SUBJECT_ALLOWED, TYPES_ALLOWED
from domain.core.messages import Key, Record, Topic, derived_id
from domain.webhook import (
    KIND,
    CreateWebhook,
    RetryWebhook,
    UpdateWebhook,
    Wanted,
    Webhook,
)
from infra.webhooks.deliveries import Delivery
from infra.webhooks.sender import cloud_event, new_secret
from infra.webhooks.ssrf_guard import LONGEST_URL, checked_url
from projections.views.view import Condition, Either
from projections.views.view import Query as Page

router = APIRouter(tags=["webhooks"])

VIEW = "webhooks"
RESOURCE = of_kind(KIND, WebhookDocument, examples.WEBHOOK)
TESTED = "gostack.webhook.tested.v1"
OWNER = "webhook/"
"""Prefix of a webhook's id in the owner of its secrets."""
Text = Annotated[str, Field(max_length=1024)]
Url = Annotated[
    str,
    Field(
        max_length=LONGEST_URL, description="http or https URL; it is recorded on the log, so it must have no secret"
    ),
]


class WantedBody(Strict):
    """Conditions on events; an event has to meet all that are given, and an empty one always holds."""

    types: list[str] | None = Field(None, description=f"types of events; each {TYPES_ALLOWED}")
    subject: str | None = Field(None, max_length=128, description=SUBJECT_ALLOWED, json_schema_extra=LIKE_A_SUBJECT)
    actor: str | None = Field(None, max_length=255)
    project_id: str | None = Field(None, max_length=255)
    task: str | None = Field(None, max_length=64, description="id of a task: only events that it led to")

    @field_validator("subject")
    @classmethod
    def _is_subject(cls, value: str | None) -> str | None:
        return event_subject(value) if value else value

    @field_validator("types")
    @classmethod
    def _are_types(cls, value: list[str] | None) -> list[str] | None:
        return event_types(value) if value else value


class Beginning(Strict):
    """The position from which on events are sent."""

    begin: str | None = Field(
        None,
        alias="from",
        max_length=LONGEST,
        description="id of an event of the stream, now or beginning",
        json_schema_extra=LIKE_A_CURSOR,
    )
    since: str | None = Field(
        None,
        max_length=time_travel.LONGEST,
        description=f"instead of from: a time, and one minute before it: {time_travel.TIMES}",
        json_schema_extra=LIKE_A_TIME,
    )


class WebhookBody(Beginning):
    """A webhook that is to be created; it begins with the present unless another position is given."""

    name: Name
    url: Url
    description: Text = ""
    wanted: WantedBody = Field(default_factory=WantedBody)


class WebhookChange(Strict):
    """Fields of a webhook to change; the others keep their values."""

    name: Name | None = None
    url: Url | None = None
    description: Text | None = None
    wanted: WantedBody | None = Field(None, description="conditions to change; the others keep their values")
    new_secret: bool = Field(
        False, description="make a new secret; messages are signed with the old one, too, for a day"
    )


@router.post(
    "/webhooks",
    status_code=CREATED,
    summary="Create a webhook, which sends events to an endpoint",
    responses=describe.done(
        CREATED, SecretWebhook, {**examples.WEBHOOK, "secret": examples.WEBHOOK_SECRET}, 400, 404, 409
    ),
)
async def create_webhook(
    services: ServicesDep,
    context: RequestContextDep,
    body: Annotated[WebhookBody, Body(examples=[examples.WEBHOOK_BODY])],
) -> Response:
    """Each event that meets the conditions is sent as a CloudEvent (structured mode), signed as Standard Webhooks
    specifies. The secret is in this one answer, and for a day in the answer to the same request with the same
    Idempotency-Key."""
    _checked(services, body.url)
    _one_of_both(body)
    secret = ""
    webhook_id = derived_id(context.command_id, "webhook")

    async def make_command() -> CommandRequest:
        nonlocal secret
        await _free(services, body.name, context.project, "")
        most = services.settings.webhooks.most
        there = await services.store.page(VIEW, Page(where=(Condition("deleted", "=", False),), limit=max(most, 1)))
        if len(there.docs) >= most:
            raise TooManyWebhooks(most=most)
        begins = await _begins(services, body)
        wanted = await _wanted(services, body.wanted, Wanted())
        ref, secret = await _secret(services, context, webhook_id)
        command = CreateWebhook(
            name=body.name,
            description=body.description,
            url=body.url,
            wanted=wanted,
            begins=begins,
            secret_ref=ref,
        )
        return CommandRequest(Key("webhook", webhook_id), command)

    outcome = await command_bus.carry_out(services, context, make_command)
    secret = secret or await told(services, context)
    return await answer(services, outcome, VIEW, done=CREATED, more={"secret": secret} if secret else None)


async def _with_progress(services: Services, parameters: Any, where: Sequence[Condition | Either]) -> Response:
    """Answer with webhooks and the progress of their deliveries."""
    wanted = known(VIEW, parameters.fields)
    found = await found_page(services, VIEW, parameters, where)
    docs = [only(doc, wanted) for doc in await _told(services, found.docs)]
    return joined(VIEW, docs, found.last_id if found.more else None)


standard.add_list(
    router,
    RESOURCE,
    "Webhooks are listed with the newest first, unless sorted otherwise, each with the progress of its deliveries.",
    paged=_with_progress,
)


@router.get(
    "/webhooks/{ref}",
    summary="Show a webhook",
    responses=describe.answers(200, WebhookDocument, examples.WEBHOOK, *describe.NAMED, 422, 504),
)
async def show_webhook(
    services: ServicesDep, project: ProjectDep, ref: str, parameters: Annotated[One, Query()]
) -> Response:
    """The webhook is found by its id or its name, and shown with the progress of its deliveries."""
    await caught_up(services, parameters.after)
    found = await resolve.found(services, VIEW, ref, project)
    (doc,) = await _told(services, [found.doc])
    # The version does not cover the delivery, so this is never answered with 304.
    return Response(only(doc, known(VIEW, parameters.fields)), 200, {"ETag": etag(found.version)}, JSON)


async def _told(services: Services, docs: Sequence[bytes]) -> list[bytes]:
    """Return the documents with the progress of each webhook's deliveries."""
    webhooks = [orjson.loads(doc) for doc in docs]
    kept = await services.deliveries.get([each["id"] for each in webhooks])
    bounds = await services.log.bounds([Topic.EVENTS]) if kept else {}
    ends = [bounds[each][1] for each in sorted(bounds)]
    return [
        orjson.dumps({**each, "delivery": _delivery(kept[each["id"]], ends) if each["id"] in kept else None})
        for each in webhooks
    ]


def _delivery(kept: Delivery, ends: Sequence[int]) -> dict[str, Any]:
    return {
        "delivered": kept.delivered,
        "behind": sum(max(0, end - at) for end, at in zip(ends, kept.offsets, strict=True)),
        "position": stream_cursor.encode(kept.offsets),
        "failures": kept.failures,
        "next_attempt": kept.next_at,
        "last_event": kept.last_event or None,
        "last_at": kept.last_at,
        "last_status": kept.last_status or None,
        "last_error": kept.last_error or None,
    }


@router.patch(
    "/webhooks/{ref}",
    summary="Change a webhook",
    responses=describe.done(200, SecretWebhook, examples.WEBHOOK, 400, 404),
)
async def change_webhook(
    services: ServicesDep,
    context: RequestContextDep,
    ref: str,
    body: Annotated[WebhookChange, Body(examples=[{"wanted": {"types": ["task.*"]}}])],
) -> Response:
    """Deliveries go on where they were, and at once if the URL changes. Fields that are not given keep their values.
    If-Match is honoured."""
    if body.url is not None:
        _checked(services, body.url)
    secret = superseded = ""

    async def make_command() -> CommandRequest:
        nonlocal secret, superseded
        now = await resolve.alive(services, VIEW, ref, context.project)
        if body.name is not None:
            await _free(services, body.name, context.project, now["id"])
        wanted = None
        if body.wanted is not None:
            wanted = await _wanted(services, body.wanted, Wanted.model_validate(now["wanted"]))
        secret_ref = None
        if body.new_secret:
            superseded = (await _decided(services, now["id"])).old_secret_ref
            secret_ref, secret = await _secret(services, context, now["id"])
        command = UpdateWebhook(
            name=body.name, description=body.description, url=body.url, wanted=wanted, secret_ref=secret_ref
        )
        return CommandRequest(Key("webhook", now["id"]), command)

    outcome = await command_bus.carry_out(services, context, make_command)
    if superseded and outcome.verdict is not None and outcome.verdict.verdict == "accepted":
        await services.secrets.drop(superseded)
    if body.new_secret and not secret:
        secret = await told(services, context)
    return await answer(services, outcome, VIEW, more={"secret": secret} if secret else None)


standard.add_all(router, RESOURCE, "list", "show", "delete")
standard.add_delete(router, RESOURCE, "No more events are sent; a message that is on its way may still arrive.")


@router.post(
    "/webhooks/{ref}/retry",
    summary="Retry a webhook at once, and enable it if it is disabled",
    responses=describe.done(200, WebhookDocument, examples.WEBHOOK, 400, 404),
)
async def retry_webhook(
    services: ServicesDep,
    context: RequestContextDep,
    ref: str,
    body: Annotated[Beginning | None, Body(examples=[{}])] = None,
) -> Response:
    """Deliveries continue with the first event that was not delivered, or at the given position."""
    body = body or Beginning()
    _one_of_both(body)

    async def make_command() -> CommandRequest:
        ident = await resolve.ident(services, VIEW, ref, context.project)
        begins = await _begins(services, body) if body.begin or body.since else None
        return CommandRequest(Key("webhook", ident), RetryWebhook(begins=begins))

    return await answer(services, await command_bus.carry_out(services, context, make_command), VIEW)


@router.post(
    "/webhooks/{ref}/test",
    summary="Send a test event to a webhook",
    responses=describe.answers(200, WebhookTest, examples.WEBHOOK_TEST, *describe.NAMED, 422, 429),
)
async def test_webhook(request: Request, services: ServicesDep, context: RequestContextDep, ref: str) -> Response:
    """An event of type gostack.webhook.tested.v1 is sent at once, also if the webhook is disabled. It is signed like
    any other, and is not on the log. The answer has the endpoint's status."""
    ident = (await resolve.alive(services, VIEW, ref, context.project))["id"]
    webhook = await _decided(services, ident)
    now = services.clock()
    keys = [key for each in webhook.secret_refs(now) if (key := await services.secrets.get(each)) is not None]
    said = {
        "ce_specversion": "1.0",
        "ce_id": derived_id(context.command_id, "test"),
        "ce_source": command_bus.SOURCE,
        "ce_type": TESTED,
        "ce_subject": f"webhook/{ident}",
        "ce_time": now.isoformat(),
        "ce_actor": context.actor,
        "ce_project": context.project,
    }
    headers = tuple((name, value.encode()) for name, value in said.items())
    event_id, event = cloud_event(Record(Topic.EVENTS, b"", orjson.dumps({"name": webhook.name}), headers))
    tests: Bounded = request.app.state.webhook_tests
    with tests.place():
        outcome = await services.sender.send(webhook.url, event_id, event, keys, now)
    told = {
        "delivered": not outcome.error,
        "status": outcome.status or None,
        "error": outcome.error or None,
        "event_id": event_id,
    }
    return Response(orjson.dumps(told), media_type=JSON)


async def _decided(services: Services, ident: str) -> Webhook:
    """Return the webhook as the engine has it, with the references of its secrets.

    Raises NotFound, WriteStoreUnavailable.
    """
    key = Key("webhook", ident)
    row = (await services.deciding["engine"].all("webhook")).get(key)
    if row is None:
        raise NotFound(kind="webhook", id=ident)
    webhook: Webhook = restored(EngineRules(), key, row).state
    return webhook


def _checked(services: Services, url: str) -> None:
    try:
        settings = services.settings
        checked_url(url, allow_private=settings.webhooks.allow_private, own_ports=settings.own_ports)
    except ValueError as wrong:
        raise Invalid(field="url", value=url[:80], allowed=str(wrong)) from wrong


def _one_of_both(body: Beginning) -> None:
    if body.begin and body.since:
        raise Invalid(field="since", value=body.since, allowed="it goes without from")


async def _begins(services: Services, body: Beginning) -> tuple[int, ...]:
    since = time_travel.time(services, "since", body.since) if body.since else None
    return tuple(await begins_at(services.log, body.begin or "", since))


async def _free(services: Services, name: str, project: str, but: str) -> None:
    for found in await services.store.find(VIEW, name, {"deleted": False, "project": project}):
        if found.id != but:
            raise AlreadyExists(kind="webhook", id=name)


async def _wanted(services: Services, body: WantedBody, before: Wanted) -> Wanted:
    changes = {name: value for name, value in body.model_dump().items() if value is not None}
    if body.task:
        await must_be_task(services, body.task)
    return Wanted.model_validate({**before.model_dump(), **changes})


async def _secret(services: Services, context: RequestContext, webhook_id: str) -> tuple[str, str]:
    """Reference and secret; the same request again has the one that was kept first."""
    ref, secret = derived_id(context.command_id, "secret"), await tell(services, context, new_secret())
    return ref, await services.secrets.put(ref, OWNER + webhook_id, secret) or secret
