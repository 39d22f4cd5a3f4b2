"""Webhooks: somebody's HTTP endpoint that is told of events, those that it asked for, from one place on the log on.

What is decided is on the log: that it exists, what it wants, that it was disabled and why. How far it has been told is
not: that moves with every event, and who tells keeps it. Its secret is neither: the log holds a reference.
"""

from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar

from domain.core.event_filter import Interest
from domain.core.fields import PERSONAL, PERSONAL_OF_ACTOR
from domain.core.messages import Command, Decision, Envelope, Event, Model
from domain.kind import Kind, ListFilter
from domain.named import Named

OVERLAP = timedelta(hours=24)
"""So long what is sent is signed with the secret before, too, so that a receiver can change over."""


class Wanted(Model):
    """Which events."""

    types: tuple[str, ...] = ()
    subject: str = ""
    actor: Annotated[str, PERSONAL_OF_ACTOR] = ""
    project_id: str = ""
    task: str = ""

    @property
    def interest(self) -> Interest:
        """As a filter."""
        return Interest(self.subject, self.types, self.actor, self.project_id, self.task)


class Webhook(Model):
    """A webhook."""

    id: str
    project: str
    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    url: Annotated[str, PERSONAL]
    wanted: Wanted
    begins: tuple[int, ...]
    """Offsets of gostack.events, by partition, that it is told from."""
    secret_ref: str
    old_secret_ref: str = ""
    secret_changed: datetime
    enabled: bool = True
    reason: Annotated[str, PERSONAL] = ""
    """Why it is disabled."""
    turn: int = 1
    """Grows whenever it is to be tried at once, whatever failed before."""
    begun: int = 0
    """The turn since which it is told from `begins`; 0: since it was made."""
    created: datetime
    updated: datetime
    deleted: datetime | None = None

    def secret_refs(self, now: datetime) -> tuple[str, ...]:
        """Of the secrets to sign with at this time."""
        if self.old_secret_ref and now - self.secret_changed < OVERLAP:
            return self.secret_ref, self.old_secret_ref
        return (self.secret_ref,)


class WebhookCommand(Command):
    """A wish about a webhook."""

    abstract: ClassVar[bool] = True
    kind = "webhook"


class CreateWebhook(WebhookCommand):
    """Tell an endpoint of events."""

    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    url: Annotated[str, PERSONAL]
    wanted: Wanted
    begins: tuple[int, ...]
    secret_ref: str


class UpdateWebhook(WebhookCommand):
    """Change a webhook; what is not given stays. Where it has got to stays, too."""

    name: Annotated[str | None, PERSONAL] = None
    description: Annotated[str | None, PERSONAL] = None
    url: Annotated[str | None, PERSONAL] = None
    wanted: Wanted | None = None
    secret_ref: str | None = None


class DisableWebhook(WebhookCommand):
    """Tell it no more, for a reason, unless it was to be tried again meanwhile."""

    relieves: ClassVar[bool] = True

    reason: Annotated[str, PERSONAL]
    turn: int


class RetryWebhook(WebhookCommand):
    """Try at once, and enable it where it is disabled: it goes on where it had got to, or from elsewhere."""

    begins: tuple[int, ...] | None = None


class DeleteWebhook(WebhookCommand):
    """Delete a webhook."""

    relieves: ClassVar[bool] = True


class WebhookEvent(Event):
    """A fact about a webhook."""

    abstract: ClassVar[bool] = True
    kind = "webhook"


class WebhookCreated(WebhookEvent):
    """It exists."""

    project: str
    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    url: Annotated[str, PERSONAL]
    wanted: Wanted
    begins: tuple[int, ...]
    secret_ref: str
    at: datetime


class WebhookUpdated(WebhookEvent):
    """It changed; None means as before."""

    name: Annotated[str | None, PERSONAL] = None
    description: Annotated[str | None, PERSONAL] = None
    url: Annotated[str | None, PERSONAL] = None
    wanted: Wanted | None = None
    secret_ref: str | None = None
    at: datetime


class WebhookDisabled(WebhookEvent):
    """It is told no more."""

    reason: Annotated[str, PERSONAL]
    at: datetime


class WebhookRetried(WebhookEvent):
    """It is told again, at once; None means from where it had got to."""

    revision = 2

    begins: tuple[int, ...] | None = None
    at: datetime


class WebhookDeleted(WebhookEvent):
    """It is gone."""

    at: datetime


RULES = Named(
    "webhook", Webhook, CreateWebhook, WebhookCreated, DeleteWebhook, WebhookDeleted, UpdateWebhook, WebhookUpdated
)


def evolve(now: Webhook | None, event: Event, subject_id: str) -> Webhook:
    """The webhook after this event. Raises TypeError for an event that is none of a webhook's."""
    match event:
        case WebhookCreated():
            return RULES.made(event, subject_id, secret_changed=event.at)
        case WebhookDisabled() if now:
            return now.but(enabled=False, reason=event.reason, updated=event.at)
        case WebhookRetried() if now:
            turn = now.turn + 1
            place = {} if event.begins is None else {"begins": event.begins, "begun": turn}
            return now.but(enabled=True, reason="", turn=turn, updated=event.at, **place)
        case WebhookUpdated() if now:
            changes: dict[str, Any] = {} if event.url is None else {"turn": now.turn + 1}
            if event.secret_ref is not None:
                changes |= {"old_secret_ref": now.secret_ref, "secret_changed": event.at}
            return RULES.evolve(now, event, subject_id).but(**changes)
        case _:
            return RULES.evolve(now, event, subject_id)


def decide(now: Webhook | None, envelope: Envelope) -> Decision:
    """Facts. Raises a Refusal where the webhook cannot do it."""
    match envelope.data:
        case DisableWebhook(reason=reason, turn=turn):
            webhook = RULES.alive(now, envelope)
            stands = webhook.enabled and turn == webhook.turn
            return Decision([WebhookDisabled(reason=reason, at=envelope.time)] if stands else [])
        case RetryWebhook(begins=begins):
            RULES.alive(now, envelope)
            return Decision([WebhookRetried(begins=begins, at=envelope.time)])
        case _:
            return RULES.decide(now, envelope)


KIND = Kind(
    name="webhook",
    help="Endpoints that are told of events.",
    state=Webhook,
    evolve=evolve,
    delete=DeleteWebhook,
    filters=(ListFilter("status", "enabled or disabled"),),
)
