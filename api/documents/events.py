"""Events and what became of those that could not be applied."""

from typing import Any

from pydantic import Field

from api.documents.document import Document


class Place(Document):
    """Where on the log an event is."""

    topic: str
    partition: int
    offset: int


class EventDocument(Document):
    """An event with what is said about it."""

    id: str
    type: str
    subject: str
    version: int = Field(description="of the aggregate; 0 for what stands beside its stream")
    time: str
    actor: str
    project_id: str
    task_id: str
    correlation_id: str
    causation_id: str
    verdict: str
    place: Place
    data: dict[str, Any]


class BeginDocument(Document):
    """A subject as its events made it that are too many for a file."""

    version: int
    state: dict[str, Any] = Field(description="as the release keeps it that wrote the file")


class IncidentDocument(Document):
    """What a task or a thing lived through, to be folded again elsewhere."""

    format: str = Field(description="gostack-incident")
    version: int = Field(description="of the format: a reader refuses one that it does not know")
    made: str
    about: dict[str, str] = Field(description="task or subject, with its id")
    begins: dict[str, BeginDocument] = Field(
        description="subjects with more than 2,000 events before the incident: the state that the older ones had made"
    )
    incident: list[str] = Field(description="ids of the events that were asked for, the oldest first")
    events: list[EventDocument] = Field(
        description="those, and before them the history of every subject that they have"
    )


class DeadDocument(Document):
    """A record that nobody could read or apply, and what was done about it."""

    id: str
    status: str = Field(description="dead, retried or dropped")
    place: str = Field(description="topic, partition and offset that it came from")
    why: str
    type: str
    subject: str
    time: str
    actor: str
    project_id: str
    correlation_id: str
    closed: str | None = Field(description="when it was retried or dropped")
    closed_by: str
    closed_reason: str
    offset: int = Field(description="of the record in gostack.dead")


class DeadWhole(DeadDocument):
    """The same with all there is of it."""

    headers: dict[str, str]
    data: Any = Field(description="JSON where it is some, else text")
