"""Documents about differences between two moments, and about causes."""

from typing import Any

from pydantic import Field

from api.documents.document import Document
from api.documents.events import PlaceDocument


class MomentDocument(Document):
    """A moment in the past, as the request named it."""

    at: str
    version: int = Field(description="version of the resource at that moment")


class ChangedField(Document):
    """A field whose value differs, with both values."""

    field: str
    old: Any
    new: Any


class Difference(Document):
    """The differences between a resource at two moments."""

    id: str
    begin: MomentDocument = Field(alias="from")
    end: MomentDocument = Field(alias="to")
    changes: list[ChangedField]


class CauseStep(Document):
    """An event in a chain of causes, with a sentence that describes it."""

    id: str
    time: str
    actor: str
    type: str
    subject: str
    place: PlaceDocument
    correlation_id: str
    causation_id: str
    says: str


class CauseEdge(Document):
    """A link between two events, of which the first led to the second."""

    begin: str = Field(alias="from")
    end: str = Field(alias="to")


class Causes(Document):
    """The chain of causes of a resource's state, from the command that began it to the present."""

    id: str
    steps: list[CauseStep]
    edges: list[CauseEdge]
    cut: bool = Field(description="whether steps were left out because there are too many")
