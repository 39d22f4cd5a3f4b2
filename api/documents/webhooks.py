"""Webhooks."""

from pydantic import Field

from api.documents.document import Document


class WantedDocument(Document):
    """Which events a webhook is told of; what is empty asks nothing."""

    types: list[str]
    subject: str
    actor: str
    project_id: str
    task: str


class DeliveryDocument(Document):
    """How far a webhook has been told."""

    delivered: int = Field(description="events that it took since it was created")
    behind: int = Field(description="events on the log that were not looked at for it yet")
    position: str = Field(description="in the feed: what follows is not told yet")
    failures: int = Field(description="attempts in a row that failed")
    next_attempt: str | None
    last_event: str | None
    last_at: str | None
    last_status: int | None = Field(description="HTTP status of the last answer")
    last_error: str | None


class WebhookDocument(Document):
    """A webhook."""

    id: str
    project_id: str
    name: str
    description: str
    url: str
    wanted: WantedDocument
    status: str = Field(description="enabled or disabled")
    reason: str = Field(description="why it is disabled")
    secret_changed: str
    created: str
    updated: str
    deleted: str | None
    version: int
    delivery: DeliveryDocument | None = Field(None, description="once it was told first; where it is read")


class SecretWebhook(WebhookDocument):
    """A webhook with a secret that was made for it just now."""

    secret: str | None = Field(None, description="for the receiver, told only now: whsec_ and base64 of the key")


class WebhookTest(Document):
    """What came of a test."""

    delivered: bool
    status: int | None = Field(description="HTTP status of the answer")
    error: str | None
    event_id: str = Field(description="webhook-id of the message")
