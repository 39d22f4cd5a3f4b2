"""Documents about the scheduler's policy and its decisions."""

from pydantic import Field

from api.documents.document import Document
from api.documents.events import PlaceDocument


class FilterDocument(Document):
    """A filter of the scheduler, which leaves out hosts that do not fit."""

    name: str
    leaves_out: str = Field(description="description of the hosts that the filter leaves out")


class WeightDocument(Document):
    """A criterion by which hosts are ranked, with its weight."""

    name: str
    weight: float


class SchedulerDocument(Document):
    """The scheduler's policy: its filters in order, and its weights."""

    filters: list[FilterDocument]
    weights: list[WeightDocument]


class FilteredDocument(Document):
    """The effect of a filter: how many hosts were left, and how many were left out."""

    filter: str
    left_out: int
    left: int
    leaves_out: str


class ScoreDocument(Document):
    """A host with its score in a placement."""

    host: str
    score: float


class PlacedOn(Document):
    """The host that was chosen for an instance."""

    id: str
    name: str


class PlacementDocument(Document):
    """A decision of the scheduler about an instance."""

    time: str
    host: PlacedOn | None = Field(description="chosen host; null if no host fitted")
    cell: str = Field(description="cell whose scheduler decided")
    hosts: int = Field(description="number of hosts in the cell at that time")
    filters: list[FilteredDocument]
    best: list[ScoreDocument] = Field(description="three hosts with the highest scores")
    place: PlaceDocument


class Placements(Document):
    """The decisions of the scheduler about an instance, the oldest first."""

    id: str
    placements: list[PlacementDocument]


class HostScoreDocument(Document):
    """A host that was considered in a placement, with its score."""

    id: str
    name: str
    score: float | None = Field(description="score of the host; null if a filter left it out")
    left_out_by: str
    leaves_out: str = Field(description="description of the hosts that this filter leaves out")


class Scores(Document):
    """The scores of all hosts in a placement, in pages."""

    id: str = Field(description="id of the instance")
    time: str
    place: PlaceDocument
    hosts: int
    differs: str = Field(
        description="reason why these scores may differ from the original decision; empty if they do not"
    )
    scores: list[HostScoreDocument]
    next: str | None = Field(description="marker of the next page; null on the last page")
