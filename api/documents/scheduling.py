"""How the scheduler decides, and why it decided so."""

from pydantic import Field

from api.documents.document import Document
from api.documents.events import Place


class FilterDocument(Document):
    """A filter of the scheduler."""

    name: str
    leaves_out: str = Field(description="what the hosts are that it leaves out")


class WeightDocument(Document):
    """What hosts are weighed by."""

    name: str
    weight: float


class SchedulerDocument(Document):
    """What the scheduler chooses by."""

    filters: list[FilterDocument]
    weights: list[WeightDocument]


class FilteredDocument(Document):
    """What a filter left of the hosts."""

    filter: str
    left_out: int
    left: int
    leaves_out: str


class ScoreDocument(Document):
    """A host's score."""

    host: str
    score: float


class PlacedOn(Document):
    """The host that was chosen."""

    id: str
    name: str


class PlacementDocument(Document):
    """What the scheduler found for an instance."""

    time: str
    host: PlacedOn | None = Field(description="null: no host would do")
    cell: str = Field(description="whose scheduler looked")
    hosts: int = Field(description="the cell had")
    filters: list[FilteredDocument]
    best: list[ScoreDocument] = Field(description="the best three")
    place: Place


class Placements(Document):
    """How an instance was placed."""

    id: str
    placements: list[PlacementDocument]


class HostScoreDocument(Document):
    """A host's part in a placement."""

    id: str
    name: str
    score: float | None = Field(description="null where a filter left it out")
    left_out_by: str
    leaves_out: str = Field(description="what that filter leaves out")


class Scores(Document):
    """What every host scored in a placement."""

    id: str = Field(description="the instance")
    time: str
    place: Place
    hosts: int
    differs: str = Field(description="why this is not just as it was decided then; empty where it is")
    scores: list[HostScoreDocument]
    next: str | None = Field(description="marker of the next page")
