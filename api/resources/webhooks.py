"""Webhooks: endpoints of users that are told of events."""

from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Query
from pydantic import Field, field_validator
from starlette.responses import Response

from api import standard
from api.documents.document import page_of
from api.documents.webhooks import SecretWebhook, WebhookDocument, WebhookTest
from api.http.refusals import TooManyWebhooks
from api.http.request_context import Asked, Asking, Given, Project
from api.openapi import describe, examples
from api.reads import resolve, stream_cursor, time_travel
from api.reads.event_stream import begins_at
from api.reads.queries import (
    JSON,
    Many,
    One,
    Strict,
    caught_up,
    etag,
    joined,
    known,
    must_be_task,
    only,
)
from api.reads.stream_cursor import LONGEST
from api.resource import of_kind
from api.services import Services
from api.writes import command_bus
from api.writes.boot import NAME
from api.writes.command_bus import Wish
from api.writes.command_responses import CREATED, answer
from commands.engine import EngineRules
from commands.rules import restored
from domain.core.errors import AlreadyExists, Invalid, NotFound
from domain.core.event_filter import (
    SUBJECT_ALLOWED,
    TYPES_ALLOWED,
    checked_subject,
    whole_types,
)
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
from projections.views.view import Condition
from projections.views.view import Query as Page

router = APIRouter(tags=["webhooks"])

VIEW = "webhooks"
RESOURCE = of_kind(KIND, WebhookDocument, examples.WEBHOOK)
TESTED = "gostack.webhook.tested.v1"
OWNER = "webhook/"
"""Before its id, as whose a webhook's secrets are kept."""
Name = Annotated[str, Field(min_length=1, max_length=255, pattern=NAME)]
Text = Annotated[str, Field(max_length=1024)]
Url = Annotated[
    str, Field(max_length=LONGEST_URL, description="http or https; it stands on the log, so no secret in it")
]


class WantedBody(Strict):
    """Which events; all that is given holds together, and what is empty asks nothing."""

    types: list[str] | None = Field(None, description=f"any of these; each {TYPES_ALLOWED}")
    subject: str | None = Field(None, max_length=128, description=SUBJECT_ALLOWED)
    actor: str | None = Field(None, max_length=255)
    project_id: str | None = Field(None, max_length=255)
    task: str | None = Field(None, max_length=64, description="all that this task led to")

    @field_validator("subject")
    @classmethod
    def _is_subject(cls, given: str | None) -> str | None:
        return checked_subject(given) if given else given

    @field_validator("types")
    @classmethod
    def _are_types(cls, given: list[str] | None) -> list[str] | None:
        return list(whole_types(given)) if given else given


class Beginning(Strict):
    """From where on events are told."""

    begin: str | None = Field(
        None, alias="from", max_length=LONGEST, description="id of an event of the feed, now or beginning"
    )
    since: str | None = Field(
        None,
        max_length=time_travel.LONGEST,
        description=f"instead of from, with a minute before it: {time_travel.TIMES}",
    )


class WebhookBody(Beginning):
    """A webhook to be; it begins now where nothing else is said."""

    name: Name
    url: Url
    description: Text = ""
    wanted: WantedBody = Field(default_factory=WantedBody)


class WebhookChange(Strict):
    """What to change; what is not given stays."""

    name: Name | None = None
    url: Url | None = None
    description: Text | None = None
    wanted: WantedBody | None = Field(None, description="of this, too, what is not given stays")
    new_secret: bool = Field(False, description="make a new one; the one before goes on signing for a day")


class WebhookList(Many):
    """What webhooks to list."""

    name: str | None = Field(None, max_length=255)
    project_id: str | None = Field(None, max_length=255)
    status: str | None = Field(None, pattern="^(enabled|disabled)$")
    deleted: bool = False


@router.post(
    "/webhooks",
    status_code=CREATED,
    summary="Tell an endpoint of events",
    responses=describe.done(
        CREATED, SecretWebhook, {**examples.WEBHOOK, "secret": examples.WEBHOOK_SECRET}, 400, 404, 409
    ),
)
async def create_webhook(
    given: Given, asked: Asking, body: Annotated[WebhookBody, Body(examples=[examples.WEBHOOK_BODY])]
) -> Response:
    """Each event that it wants is sent as a CloudEvent (structured mode), signed as Standard Webhooks says. The secret
    is told in this one answer."""
    _checked(given, body.url)
    _one_of_both(body)
    secret = ""
    webhook_id = derived_id(asked.command_id, "webhook")

    async def wish() -> Wish:
        nonlocal secret
        await _free(given, body.name, asked.project, "")
        most = given.settings.webhooks.most
        there = await given.store.page(VIEW, Page(where=(Condition("deleted", "=", False),), limit=max(most, 1)))
        if len(there.docs) >= most:
            raise TooManyWebhooks(most=most)
        begins = await _begins(given, body)
        wanted = await _wanted(given, body.wanted, Wanted())
        ref, secret = await _secret(given, asked, webhook_id)
        command = CreateWebhook(
            name=body.name,
            description=body.description,
            url=body.url,
            wanted=wanted,
            begins=begins,
            secret_ref=ref,
        )
        return Wish(Key("webhook", webhook_id), command)

    outcome = await command_bus.carry_out(given, asked, wish)
    return await answer(given, outcome, VIEW, done=CREATED, more={"secret": secret} if secret else None)


@router.get(
    "/webhooks",
    summary="List webhooks",
    responses=describe.listed(page_of(VIEW, WebhookDocument), VIEW, examples.WEBHOOK),
)
async def list_webhooks(given: Given, asked: Annotated[WebhookList, Query()]) -> Response:
    """The newest first, each with how far it has been told."""
    where = [Condition("deleted", "=", asked.deleted)]
    same = {"name": asked.name, "project": asked.project_id, "status": asked.status}
    where += [Condition(column, "=", value) for column, value in same.items() if value]
    wanted = known(VIEW, asked.fields)
    await caught_up(given, asked.after)
    page = await given.store.page(VIEW, Page(tuple(where), asked.limit, asked.marker or "", asked.skip))
    docs = [only(doc, wanted) for doc in await _told(given, page.docs)]
    return joined(VIEW, docs, page.last_id if page.more else None)


@router.get(
    "/webhooks/{ref}",
    summary="Show a webhook",
    responses=describe.answers(200, WebhookDocument, examples.WEBHOOK, *describe.NAMED, 422, 504),
)
async def show_webhook(given: Given, project: Project, ref: str, asked: Annotated[One, Query()]) -> Response:
    """By id or name, with how far it has been told and what came of the last attempt."""
    await caught_up(given, asked.after)
    found = await resolve.found(given, VIEW, ref, project)
    (doc,) = await _told(given, [found.doc])
    # The version says nothing of the delivery, so this is never answered with 304.
    return Response(only(doc, known(VIEW, asked.fields)), 200, {"ETag": etag(found.version)}, JSON)


async def _told(services: Services, docs: Sequence[bytes]) -> list[bytes]:
    """Documents with how far each webhook has been told."""
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
    given: Given,
    asked: Asking,
    ref: str,
    body: Annotated[WebhookChange, Body(examples=[{"wanted": {"types": ["task.*"]}}])],
) -> Response:
    """Where it has got to stays. A new URL is tried at once. Honours If-Match."""
    if body.url is not None:
        _checked(given, body.url)
    secret = superseded = ""

    async def wish() -> Wish:
        nonlocal secret, superseded
        now = await resolve.alive(given, VIEW, ref, asked.project)
        if body.name is not None:
            await _free(given, body.name, asked.project, now["id"])
        wanted = None
        if body.wanted is not None:
            wanted = await _wanted(given, body.wanted, Wanted.model_validate(now["wanted"]))
        secret_ref = None
        if body.new_secret:
            superseded = (await _decided(given, now["id"])).old_secret_ref
            secret_ref, secret = await _secret(given, asked, now["id"])
        command = UpdateWebhook(
            name=body.name, description=body.description, url=body.url, wanted=wanted, secret_ref=secret_ref
        )
        return Wish(Key("webhook", now["id"]), command)

    outcome = await command_bus.carry_out(given, asked, wish)
    if superseded and outcome.judgement is not None and outcome.judgement.verdict == "accepted":
        await given.secrets.drop(superseded)
    return await answer(given, outcome, VIEW, more={"secret": secret} if secret else None)


standard.add_all(router, RESOURCE, "list", "show", "delete")
standard.add_delete(router, RESOURCE, "It is told no more; what is being sent just now may still arrive.")


@router.post(
    "/webhooks/{ref}/retry",
    summary="Try a webhook at once, and enable it where it is disabled",
    responses=describe.done(200, WebhookDocument, examples.WEBHOOK, 400, 404),
)
async def retry_webhook(
    given: Given,
    asked: Asking,
    ref: str,
    body: Annotated[Beginning | None, Body(examples=[{}])] = None,
) -> Response:
    """It goes on with the event that it had not taken, or from where it is asked to."""
    body = body or Beginning()
    _one_of_both(body)

    async def wish() -> Wish:
        ident = await resolve.ident(given, VIEW, ref, asked.project)
        begins = await _begins(given, body) if body.begin or body.since else None
        return Wish(Key("webhook", ident), RetryWebhook(begins=begins))

    return await answer(given, await command_bus.carry_out(given, asked, wish), VIEW)


@router.post(
    "/webhooks/{ref}/test",
    summary="Send an event that is on no log to a webhook",
    responses=describe.answers(200, WebhookTest, examples.WEBHOOK_TEST, *describe.NAMED, 422),
)
async def test_webhook(given: Given, asked: Asking, ref: str) -> Response:
    """Once, at once, also where it is disabled: signed like any other, of type gostack.webhook.tested.v1. The answer
    says what the endpoint said."""
    ident = (await resolve.alive(given, VIEW, ref, asked.project))["id"]
    webhook = await _decided(given, ident)
    now = given.clock()
    keys = [key for each in webhook.secret_refs(now) if (key := await given.secrets.get(each)) is not None]
    said = {
        "ce_specversion": "1.0",
        "ce_id": derived_id(asked.command_id, "test"),
        "ce_source": command_bus.SOURCE,
        "ce_type": TESTED,
        "ce_subject": f"webhook/{ident}",
        "ce_time": now.isoformat(),
        "ce_actor": asked.actor,
        "ce_project": asked.project,
    }
    headers = tuple((name, value.encode()) for name, value in said.items())
    event_id, event = cloud_event(Record(Topic.EVENTS, b"", orjson.dumps({"name": webhook.name}), headers))
    outcome = await given.sender.send(webhook.url, event_id, event, keys, now)
    told = {
        "delivered": not outcome.error,
        "status": outcome.status or None,
        "error": outcome.error or None,
        "event_id": event_id,
    }
    return Response(orjson.dumps(told), media_type=JSON)


async def _decided(services: Services, ident: str) -> Webhook:
    """The webhook as the engine has it, with what no document tells. Raises NotFound, WriteStoreUnavailable."""
    key = Key("webhook", ident)
    row = (await services.deciding["engine"].all("webhook")).get(key)
    if row is None:
        raise NotFound(kind="webhook", id=ident)
    webhook: Webhook = restored(EngineRules(), key, row).state
    return webhook


def _checked(services: Services, url: str) -> None:
    try:
        checked_url(url, allow_private=services.settings.webhooks.allow_private)
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
    given = {name: value for name, value in body.model_dump().items() if value is not None}
    if body.task:
        await must_be_task(services, body.task)
    return Wanted.model_validate({**before.model_dump(), **given})


async def _secret(services: Services, asked: Asked, webhook_id: str) -> tuple[str, str]:
    """Reference and secret; the same request again has the one that was kept first."""
    ref = derived_id(asked.command_id, "secret")
    return ref, await services.secrets.put(ref, OWNER + webhook_id, new_secret()) or ""
