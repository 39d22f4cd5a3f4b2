"""Documents about webhooks and their deliveries."""

from pydantic import Field

from api.documents.document import Document


class WantedDocument(Document):
    """The conditions that an event must meet to be sent to a webhook; an empty one always holds."""

    types: list[str]
    subject: str
    actor: str
    project_id: str
    task: str


class DeliveryDocument(Document):
    """The progress of the deliveries to a webhook."""

    delivered: int = Field(description="number of events that were delivered since the webhook was created")
    behind: int = Field(description="number of events on the log that were not examined for the webhook yet")
    position: str = Field(description="position in the event stream up to which events were delivered")
    failures: int = Field(description="number of failed attempts since the last delivery")
    next_attempt: str | None
    last_event: str | None
    last_at: str | None
    last_status: int | None = Field(description="HTTP status of the last answer")
    last_error: str | None


class WebhookDocument(Document):
    """A webhook: an endpoint of a user to which events are sent."""

    id: str
    project_id: str
    name: str
    description: str
    url: str
    wanted: WantedDocument
    status: str = Field(description="enabled or disabled")
    reason: str = Field(description="reason why the webhook is disabled")
    secret_changed: str
    created: str
    updated: str
    deleted: str | None
    version: int
    delivery: DeliveryDocument | None = Field(
        None, description="progress of the deliveries; null before the first one, and in answers to writes"
    )


class SecretWebhook(WebhookDocument):
    """A webhook with the secret that this request made for it."""

    secret: str | None = Field(
        None, description="secret for the receiver, if this request made it: whsec_ and the key in base64"
    )


class WebhookTest(Document):
    """The result of a test of a webhook."""

    delivered: bool
    status: int | None = Field(description="HTTP status of the answer")
    error: str | None
    event_id: str = Field(description="id of the event that was sent, which is the webhook-id of the message")
