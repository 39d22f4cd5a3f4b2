"""What was at another moment, what changed, and why."""

from typing import Any

from pydantic import Field

from api.documents.document import Document
from api.documents.events import Place


class MomentDocument(Document):
    """A moment, as it was asked for."""

    at: str
    version: int = Field(description="of the thing then")


class ChangedField(Document):
    """A field with two values."""

    field: str
    old: Any
    new: Any


class Difference(Document):
    """What differs between a thing at two moments."""

    id: str
    begin: MomentDocument = Field(alias="from")
    end: MomentDocument = Field(alias="to")
    changes: list[ChangedField]


class CauseStep(Document):
    """An event of a chain of causes, in words."""

    id: str
    time: str
    actor: str
    type: str
    subject: str
    place: Place
    correlation_id: str
    causation_id: str
    says: str


class CauseEdge(Document):
    """The one event led to the other."""

    begin: str = Field(alias="from")
    end: str = Field(alias="to")


class Causes(Document):
    """Why something is as it is: from the command that made it so to the present."""

    id: str
    steps: list[CauseStep]
    edges: list[CauseEdge]
    cut: bool = Field(description="there were more than these")
