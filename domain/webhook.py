"""Webhooks: HTTP endpoints that receive events, those that match a filter, from one place on the log on.

What is decided is on the log: that it exists, its filter, that it was disabled and why. How far it has been served is
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
"""How long requests are signed with the previous secret, too, so that a receiver can change over."""


class Wanted(Model):
    """Filter on the events that a webhook receives."""

    types: tuple[str, ...] = ()
    subject: str = ""
    actor: Annotated[str, PERSONAL_OF_ACTOR] = ""
    project_id: str = ""
    task: str = ""

    @property
    def interest(self) -> Interest:
        """The same filter, as one that records can be matched with."""
        return Interest(self.subject, self.types, self.actor, self.project_id, self.task)


class Webhook(Model):
    """An HTTP endpoint that receives events."""

    id: str
    project: str
    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    url: Annotated[str, PERSONAL]
    wanted: Wanted
    begins: tuple[int, ...]
    """Offsets of gostack.events, by partition, from which events are delivered."""
    secret_ref: str
    old_secret_ref: str = ""
    secret_changed: datetime
    enabled: bool = True
    reason: Annotated[str, PERSONAL] = ""
    """Why the webhook is disabled."""
    turn: int = 1
    """Counter that grows whenever delivery is to be tried at once, whatever failed before."""
    begun: int = 0
    """Value of `turn` since which events are delivered from `begins`; 0: since the webhook was created."""
    created: datetime
    updated: datetime
    deleted: datetime | None = None

    def secret_refs(self, now: datetime) -> tuple[str, ...]:
        """Return references to the secrets that sign requests at this time."""
        if self.old_secret_ref and now - self.secret_changed < OVERLAP:
            return self.secret_ref, self.old_secret_ref
        return (self.secret_ref,)


class WebhookCommand(Command):
    """A command for a webhook."""

    abstract: ClassVar[bool] = True
    kind = "webhook"


class CreateWebhook(WebhookCommand):
    """Create a webhook: an endpoint that receives events."""

    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    url: Annotated[str, PERSONAL]
    wanted: Wanted
    begins: tuple[int, ...]
    secret_ref: str


class UpdateWebhook(WebhookCommand):
    """Change a webhook; fields that are left out stay as they are, and so does its position on the log."""

    name: Annotated[str | None, PERSONAL] = None
    description: Annotated[str | None, PERSONAL] = None
    url: Annotated[str | None, PERSONAL] = None
    wanted: Wanted | None = None
    secret_ref: str | None = None


class DisableWebhook(WebhookCommand):
    """Disable a webhook for a reason, unless it was to be tried again meanwhile."""

    relieves: ClassVar[bool] = True

    reason: Annotated[str, PERSONAL]
    turn: int


class RetryWebhook(WebhookCommand):
    """Try delivery at once, and enable a disabled webhook: it goes on from its position, or from another."""

    begins: tuple[int, ...] | None = None


class DeleteWebhook(WebhookCommand):
    """Delete a webhook: no event is delivered any more."""

    relieves: ClassVar[bool] = True


class WebhookEvent(Event):
    """A fact about a webhook."""

    abstract: ClassVar[bool] = True
    kind = "webhook"


class WebhookCreated(WebhookEvent):
    """The webhook exists, with these values."""

    project: str
    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    url: Annotated[str, PERSONAL]
    wanted: Wanted
    begins: tuple[int, ...]
    secret_ref: str
    at: datetime


class WebhookUpdated(WebhookEvent):
    """The webhook changed; a field that is None stays as it was."""

    name: Annotated[str | None, PERSONAL] = None
    description: Annotated[str | None, PERSONAL] = None
    url: Annotated[str | None, PERSONAL] = None
    wanted: Wanted | None = None
    secret_ref: str | None = None
    at: datetime


class WebhookDisabled(WebhookEvent):
    """The webhook is disabled: no events are delivered to it."""

    reason: Annotated[str, PERSONAL]
    at: datetime


class WebhookRetried(WebhookEvent):
    """The webhook is enabled and delivery is tried at once; `begins` None: from the position it had."""

    revision = 2

    begins: tuple[int, ...] | None = None
    at: datetime


class WebhookDeleted(WebhookEvent):
    """The webhook is deleted: no event is delivered any more."""

    at: datetime


RULES = Named(
    "webhook", Webhook, CreateWebhook, WebhookCreated, DeleteWebhook, WebhookDeleted, UpdateWebhook, WebhookUpdated
)


def evolve(now: Webhook | None, event: Event, subject_id: str) -> Webhook:
    """Return the webhook after this event. Raises TypeError for an event of another kind."""
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
    """Return the events of a command. Raises a Refusal where the webhook does not allow it."""
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
    help="HTTP endpoints that receive events.",
    state=Webhook,
    evolve=evolve,
    delete=DeleteWebhook,
    filters=(ListFilter("status", "in this status", values=("enabled", "disabled")),),
)
