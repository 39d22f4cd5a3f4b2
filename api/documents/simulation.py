"""Documents about simulations of a scheduling policy on the past."""

from pydantic import Field

from api.documents.document import Document, ResourceUsage
from api.documents.events import PlaceDocument
from api.documents.scheduling import PlacedOn


class PolicyDocument(Document):
    """The policy that a simulation used."""

    filters: list[str]
    weights: dict[str, float]
    ratios: dict[str, float]


class LoadDocument(Document):
    """The load of all hosts at the end of a simulation."""

    hosts: int
    hosts_used: int
    vcpus: ResourceUsage
    memory: ResourceUsage
    disk: ResourceUsage
    placed: int
    refused: int
    refusals: dict[str, int] = Field(description="number of refused requests by the filter that left no host")
    largest_flavor: str | None = Field(description="largest flavor that a host could still take; null if there is none")


class HeldDocument(Document):
    """The resources that instances hold on a host."""

    instances: int
    vcpus: int
    memory: int
    disk: int


class SimulatedHostDocument(Document):
    """A host at the end of a simulation, with its actual and its simulated load."""

    id: str
    name: str
    vcpus: int = Field(description="virtual CPUs that the host has")
    memory: int
    disk: int
    was: HeldDocument
    would: HeldDocument


class MoveDocument(Document):
    """A change of host that the simulation made, and how often it occurred."""

    was: str | None = Field(description="name of the actual host; null if the request was refused")
    would: str | None = Field(description="name of the simulated host; null if the request would be refused")
    count: int


class SimulatedPlacementDocument(Document):
    """A request with its actual host and its simulated host."""

    time: str
    instance_id: str
    vcpus: int
    memory: int
    disk: int
    was: PlacedOn | None = Field(description="actual host; null if the request was refused")
    would: PlacedOn | None = Field(description="simulated host; null if the request would be refused")
    why: str = Field(description="reason why the hosts differ; empty if they do not")
    place: PlaceDocument


class UnlikeDocument(Document):
    """A reason why repeated decisions differ from the original ones, and how often it applies."""

    why: str
    count: int


class ReproducedDocument(Document):
    """A check of the simulation: the past, decided again by the scheduler's own policy, against what happened."""

    same: int
    differ: int
    unknown: int = Field(description="number of refusals of an earlier release, which do not record the request")
    why: list[UnlikeDocument]


class Simulation(Document):
    """The result of a simulation: placements under another policy, compared with the actual ones."""

    policy: PolicyDocument
    begin: str = Field(alias="from")
    end: str = Field(alias="to", description="time up to which requests were simulated")
    next: str | None = Field(description="time at which to continue; null if all requests were simulated")
    requests: int
    moved: int = Field(description="number of requests whose host differs, or that only one policy refused")
    was: LoadDocument
    would: LoadDocument
    reproduced: ReproducedDocument
    moves: list[MoveDocument] = Field(description="changes of host, the most frequent first")
    more_moves: int = Field(description="number of changes that are not listed")
    hosts: list[SimulatedHostDocument] = Field(description="hosts, those with the largest difference first")
    more_hosts: int = Field(description="number of hosts that are not listed")
    placements: list[SimulatedPlacementDocument]
