"""The shapes of what is read: for the OpenAPI description, and so that an unknown field can be refused.

The documents themselves are made by projections/ and pass through as they are; a test holds these shapes to them.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from domain.flow import Fault
from domain.jobs import FlavorRef, ImageRef


class Document(BaseModel):
    """A JSON object."""

    model_config = ConfigDict(extra="forbid")


class RunningTask(Document):
    """What is being done to an instance."""

    id: str
    action: str
    step: str


class HostOf(Document):
    """Where an instance is."""

    id: str
    name: str
    epoch: int


class NicDocument(Document):
    """A network interface."""

    index: int
    network_id: str
    network_name: str
    port_id: str
    ip: str
    prefix: int
    mac: str
    gateway: str


class Parking(Document):
    """Why something takes no commands."""

    why: str
    place: str = Field(description="of the record that could not be applied")
    since: str


class InstanceDocument(Document):
    """An instance."""

    id: str
    name: str
    status: str
    vm_state: str
    power: str
    task: RunningTask | None
    project_id: str
    user_id: str
    hostname: str
    description: str
    metadata: dict[str, str]
    flavor: FlavorRef
    image: ImageRef
    disk: int = Field(description="bytes")
    zone: str
    host: HostOf | None
    key_name: str
    config_drive: bool
    nics: list[NicDocument]
    addresses: list[str]
    fault: Fault | None
    created: str
    updated: str
    launched: str | None
    deleted: str | None
    purge_at: str | None
    version: int
    parked: Parking | None = Field(description="told where one is shown: it takes no commands")


class TaskDocument(Document):
    """A task."""

    id: str
    action: str
    status: str
    step: str
    steps_done: int
    steps: list[str]
    instance_id: str
    instance_name: str
    subject: str
    actor: str
    project_id: str
    correlation_id: str
    attempt: int
    deadline: str | None
    fault: Fault | None
    undo_fault: Fault | None
    cancelled_by: str
    accepted: str
    finished: str | None
    version: int


class JobDocument(Document):
    """A job: one step of a task, sent to whoever does it."""

    id: str
    name: str
    status: str
    direction: str
    target: str
    host_id: str
    host_name: str
    task_id: str
    instance_id: str
    project_id: str
    attempt: int
    args: dict[str, Any]
    fault: Fault | None
    dispatched: str
    deadline: str
    finished: str | None
    version: int


class Resource(Document):
    """How much of something a host has, and how much of it is held."""

    total: int
    used: int


class HostDocument(Document):
    """A host."""

    id: str
    name: str
    zone: str
    cell: str
    status: str
    why_disabled: str
    health: str
    epoch: int
    partition: int
    endpoint: str
    arch: str
    hypervisor: str
    instances: int
    vcpus: Resource
    memory: Resource
    disk: Resource
    created: str
    updated: str
    version: int


class FlavorDocument(Document):
    """A flavor."""

    id: str
    name: str
    core: int
    memory: int = Field(description="bytes")
    mode: str
    multi_queue: int
    policy: str
    extra: dict[str, str]
    created: str
    updated: str
    deleted: str | None
    version: int


class ImageDocument(Document):
    """An image."""

    id: str
    project_id: str
    name: str
    description: str
    checksum: str
    format: str
    size: int = Field(description="bytes")
    virtual_size: int = Field(description="bytes")
    arch: str
    created: str
    updated: str
    deleted: str | None
    version: int


class KeypairDocument(Document):
    """A keypair."""

    id: str
    project_id: str
    name: str
    public_key: str
    fingerprint: str
    created: str
    updated: str
    deleted: str | None
    version: int


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


class NetworkDocument(Document):
    """A network."""

    id: str
    name: str
    description: str
    project_id: str
    cidr: str
    segment: int
    ports: int
    created: str
    updated: str
    deleted: str | None
    version: int


class PortDocument(Document):
    """A port."""

    id: str
    name: str
    project_id: str
    network_id: str
    network_name: str
    ip: str
    prefix: int
    mac: str
    instance_id: str
    host_id: str
    keep: bool
    created: str
    version: int


class ZoneDocument(Document):
    """A zone."""

    id: str
    name: str
    cell: str
    description: str
    created: str
    updated: str
    deleted: str | None
    version: int


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
    cut: bool = Field(description="there were more: only the newest are told")


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


class Accepted(Document):
    """The command became a task; or, without `task_id`, its verdict is not known yet."""

    task_id: str | None = Field(None, description="what to wait for; absent while there is no verdict")
    command_id: str
    id: str = Field(description="the resource")


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


class Released(Document):
    """What was parked takes commands again."""

    subject: str = Field(description="KIND/ID")
    released: bool = Field(description="false where it was not parked")
    command_id: str


class Already(Document):
    """What was asked for is so already."""

    already: bool
    message: str
    command_id: str
    id: str


class ProblemField(Document):
    """What is wrong with one field."""

    field: str
    message: str
    allowed: str | None = None
    given: str | int | float | bool | None = None


class Problem(Document):
    """Why not (RFC 9457)."""

    type: str = Field(description="urn:gostack:problem:CODE")
    title: str
    status: int
    detail: str
    code: str = Field(description="permanent: what a program acts on")
    hint: str
    values: dict[str, str]
    instance: str
    errors: list[ProblemField] | None = None


class BootedDocument(Document):
    """One of the instances that a boot was asked for."""

    instance_id: str
    name: str
    command_id: str
    task_id: str | None = None
    problem: Problem | None = None


class Booting(Document):
    """Instances on their way. With one instance, its ids stand at the top as well."""

    correlation_id: str
    instances: list[BootedDocument]
    admin_password: str | None = Field(None, description="told this once, where none was given")
    id: str | None = None
    instance_id: str | None = None
    name: str | None = None
    command_id: str | None = None
    task_id: str | None = None


class PrivateKeypair(KeypairDocument):
    """A keypair that was made here."""

    private_key: str | None = Field(None, description="OpenSSH format; told this once and never kept")


class BlobDocument(Document):
    """What an upload has become."""

    checksum: str
    size: int
    format: str
    virtual_size: int


class Interfaces(Document):
    """An instance's network interfaces."""

    interfaces: list[NicDocument]


class Display(Document):
    """Where an instance's display is."""

    host: str
    port: int
    password: str
    valid_seconds: int


class CommandDocument(Document):
    """What became of a command."""

    id: str
    verdict: str = Field(description="accepted, already, refused; or pending: not decided yet, or never sent")
    subject: str | None = None
    task_id: str | None = None
    problem: Problem | None = None
    message: str | None = None
    actor: str | None = None
    project_id: str | None = None
    correlation_id: str | None = None
    at: str | None = None


class ProjectionDocument(Document):
    """A read model, and how far it is behind the log."""

    name: str
    rows: int
    lag: int = Field(description="events that it does not have yet")
    lag_seconds: float = Field(description="since the oldest of these happened")


class RunDocument(Document):
    """Something done to the read models as a whole."""

    id: str
    kind: str
    status: str = Field(description="asked, running, finished or failed")
    actor: str
    asked: str
    started: str | None
    finished: str | None
    done: int = Field(description="events it has taken")
    total: int = Field(description="events in all, 0 while that is not known")
    seconds_left: float | None = Field(description="at the speed so far")
    problems: list[str] = Field(description="differences that a comparison found, 100 at most")
    error: str


class ParkedDocument(Parking):
    """What takes no commands until it is released."""

    id: str = Field(description="KIND/ID")
    kind: str
    parked: bool


class CellDocument(Document):
    """A cell: what its hosts have together."""

    name: str
    hosts: int
    instances: int
    vcpus: Resource
    memory: Resource
    disk: Resource
    partition: int = Field(description="of gostack.scheduling: whoever has it decides for the cell")


class UsageDocument(Document):
    """What a project uses."""

    project_id: str
    instances: int = Field(description="that are not deleted for good")
    vcpus: int = Field(description="held on hosts")
    memory: int = Field(description="bytes held on hosts")
    disk: int = Field(description="bytes held on hosts")
    ports: int


DOCUMENTS: dict[str, type[Document]] = {
    "instances": InstanceDocument,
    "tasks": TaskDocument,
    "jobs": JobDocument,
    "hosts": HostDocument,
    "flavors": FlavorDocument,
    "images": ImageDocument,
    "keypairs": KeypairDocument,
    "networks": NetworkDocument,
    "ports": PortDocument,
    "zones": ZoneDocument,
    "webhooks": WebhookDocument,
}
"""View -> the shape of its documents."""


def page_of(name: str, shape: type[Document]) -> type[Document]:
    """The shape of a page of these."""
    fields: dict[str, Any] = {name: (list[shape], ...), "next": (str | None, None)}  # type: ignore[valid-type]
    title = f"{shape.__name__.removesuffix('Document')}Page"
    made: type[Document] = create_model(title, __base__=Document, __doc__=f"A page of {name}.", **fields)
    return made
