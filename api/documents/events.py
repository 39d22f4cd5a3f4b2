"""Documents about events, incidents and dead records."""

from typing import Any

from pydantic import Field

from api.documents.document import Document


class PlaceDocument(Document):
    """The position of an event on the log."""

    topic: str
    partition: int
    offset: int


class EventDocument(Document):
    """An event with its metadata and its data."""

    id: str
    type: str
    subject: str
    version: int = Field(
        description="version of the aggregate that the event made; 0 for an event that is not part of its stream"
    )
    time: str
    actor: str
    project_id: str
    task_id: str
    correlation_id: str
    causation_id: str
    verdict: str
    place: PlaceDocument
    data: dict[str, Any]


class BeginDocument(Document):
    """The state of a subject at the beginning of a file that cannot hold all of its events."""

    version: int
    state: dict[str, Any] = Field(description="state in the format of the release that wrote the file")


class IncidentDocument(Document):
    """The events of a task or of one subject, from which its state can be rebuilt elsewhere."""

    format: str = Field(description="always gostack-incident")
    version: int = Field(description="version of the format; a reader refuses a version that it does not know")
    made: str
    about: dict[str, str] = Field(description="task or subject that the file is about, with its id")
    begins: dict[str, BeginDocument] = Field(
        description="for each subject with more than 2,000 earlier events, the state that the oldest of them made"
    )
    incident: list[str] = Field(description="ids of the requested events, the oldest first")
    events: list[EventDocument] = Field(
        description="the requested events, and before them the history of each of their subjects"
    )


class DeadDocument(Document):
    """A record that could not be read or applied, and what was done about it."""

    id: str
    status: str = Field(description="dead, retried or dropped")
    place: str = Field(description="topic, partition and offset at which the record was read")
    why: str
    type: str
    subject: str
    time: str
    actor: str
    project_id: str
    correlation_id: str
    closed: str | None = Field(description="time at which the record was retried or dropped")
    closed_by: str
    closed_reason: str
    offset: int = Field(description="offset of the record in gostack.dead")


class DeadWhole(DeadDocument):
    """A dead record with its headers and its data."""

    headers: dict[str, str]
    data: Any = Field(description="data of the record: JSON if it can be read as such, otherwise text")
