"""What another policy would have decided."""

from pydantic import Field

from api.documents.document import Document, Resource
from api.documents.events import Place
from api.documents.scheduling import PlacedOn


class PolicyDocument(Document):
    """What a simulation chose by."""

    filters: list[str]
    weights: dict[str, float]
    ratios: dict[str, float]


class LoadDocument(Document):
    """How full the hosts are at the end."""

    hosts: int
    hosts_used: int
    vcpus: Resource
    memory: Resource
    disk: Resource
    placed: int
    refused: int
    refusals: dict[str, int] = Field(description="requests by the filter that left no host")
    largest_flavor: str | None = Field(description="the largest that some host would still take; null for none")


class HeldDocument(Document):
    """What is held on a host."""

    instances: int
    vcpus: int
    memory: int
    disk: int


class SimulatedHostDocument(Document):
    """A host at the end."""

    id: str
    name: str
    vcpus: int = Field(description="that it has, as memory and disk")
    memory: int
    disk: int
    was: HeldDocument
    would: HeldDocument


class MoveDocument(Document):
    """From where to where, and how often."""

    was: str | None = Field(description="name of a host; null: refused")
    would: str | None
    count: int


class SimulatedPlacementDocument(Document):
    """A request, where it went and where it would have gone."""

    time: str
    instance_id: str
    vcpus: int
    memory: int
    disk: int
    was: PlacedOn | None = Field(description="null: refused")
    would: PlacedOn | None
    why: str = Field(description="why they differ; empty where they do not")
    place: Place


class UnlikeDocument(Document):
    """Why requests are not decided as they were when their own policy decides them once more."""

    why: str
    count: int


class ReproducedDocument(Document):
    """Whether the past is understood: what happened, decided once more by the scheduler's own policy."""

    same: int
    differ: int
    unknown: int = Field(description="refusals of an earlier release, which do not tell what was asked for")
    why: list[UnlikeDocument]


class Simulation(Document):
    """What would have gone where under another policy, against what did."""

    policy: PolicyDocument
    begin: str = Field(alias="from")
    end: str = Field(alias="to", description="up to where requests were decided")
    next: str | None = Field(description="from where to go on, where there were more; null: all were decided")
    requests: int
    moved: int = Field(description="to another host, or from or to none")
    was: LoadDocument
    would: LoadDocument
    reproduced: ReproducedDocument
    moves: list[MoveDocument] = Field(description="the most frequent first")
    more_moves: int = Field(description="that are not told")
    hosts: list[SimulatedHostDocument] = Field(description="those that differ most first")
    more_hosts: int = Field(description="that are not told")
    placements: list[SimulatedPlacementDocument]
