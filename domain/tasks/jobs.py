"""The jobs: every single thing a plan can ask a host, the scheduler or a network to do.

Why a table of classes: a plan stores a step by the *name* of its job, so a job keeps its name and its meaning, and
each says how long it may take, how often it is tried, and whom it is for. What a host's agent needs to know of the
guest travels once a dispatch, as a GuestSpec; a job holds only what is its own.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from domain.core.messages import Message, Model


class Target(StrEnum):
    """Who does a job."""

    HOST = "host"
    SCHEDULER = "scheduler"
    NETWORK = "network"


class Power(StrEnum):
    """What a hypervisor says of a guest."""

    NONE = "none"
    RUNNING = "running"
    PAUSED = "paused"
    SHUTDOWN = "shutdown"
    CRASHED = "crashed"
    SUSPENDED = "suspended"


class Job(Model):
    """One thing to do. Fields are the job's own arguments."""

    target: ClassVar[Target] = Target.HOST
    deadline: ClassVar[float] = 60.0
    """Seconds until an unanswered attempt counts as lost."""
    attempts: ClassVar[int] = 2


class Place(Job):
    """Choose a host and hold what the instance needs there."""

    target = Target.SCHEDULER
    deadline = 30.0
    attempts = 3


class Release(Job):
    """Give back what is held for the instance."""

    target = Target.SCHEDULER
    deadline = 30.0
    attempts = 5


class BindPort(Job):
    """Give the instance's NIC an address on its network, or bind the port that holds one."""

    target = Target.NETWORK
    deadline = 30.0
    attempts = 3
    nic: int


class UnbindPort(Job):
    """Give the NIC's address back, or free the port that outlives the instance."""

    target = Target.NETWORK
    deadline = 30.0
    attempts = 5
    nic: int


class PrepareImage(Job):
    """Have the image in the host's cache, its checksum verified."""

    deadline = 600.0


class CreateDisk(Job):
    """Make the root disk: an overlay on the cached image."""


class DeleteDisk(Job):
    """Remove the instance's directory: disks, config drive, console log."""

    attempts = 5


class WriteConfigDrive(Job):
    """Write the ISO image that tells the guest who it is."""


class PlugPorts(Job):
    """Make the instance's networks on this host, and the entries its addresses need."""


class UnplugPorts(Job):
    """Take the instance's entries off this host's networks, and a network nobody uses."""

    attempts = 5


class DefineGuest(Job):
    """Tell the hypervisor about the guest."""


class UndefineGuest(Job):
    """Stop the guest at once if it runs, and make the hypervisor forget it."""

    attempts = 5


class StartGuest(Job):
    """Run the guest; one that runs is success."""

    deadline = 120.0


class StopGuest(Job):
    """Ask the guest to power off, and turn it off when `grace` seconds have passed; one that is off is success."""

    deadline = 180.0
    grace: float = 60.0


class RebootGuest(Job):
    """Ask the guest to reboot, and reset it when it does not within `grace` seconds."""

    deadline = 180.0
    grace: float = 30.0


JOBS: dict[str, type[Job]] = {
    job.__name__: job
    for job in (
        Place,
        Release,
        BindPort,
        UnbindPort,
        PrepareImage,
        CreateDisk,
        DeleteDisk,
        WriteConfigDrive,
        PlugPorts,
        UnplugPorts,
        DefineGuest,
        UndefineGuest,
        StartGuest,
        StopGuest,
        RebootGuest,
    )
}


class ImageRef(Model):
    """An image as it was when it was asked for."""

    id: str
    name: str
    checksum: str
    """SHA-256 of the file, lower-case hexadecimal."""
    format: str
    size: int
    virtual_size: int
    arch: str = "x86_64"


class FlavorRef(Model):
    """A flavor as it was when it was asked for."""

    id: str
    name: str
    core: int
    memory: int
    """Bytes."""
    multi_queue: int = 0
    mode: str = "prefer"
    policy: str = "Default"
    extra: dict[str, str] = Field(default_factory=dict)


class HostRef(Model):
    """Where an instance is: the host, and what reaching its agent takes."""

    id: str
    name: str
    partition: int
    epoch: int
    endpoint: str = ""
    """Base URL of the agent's own HTTP endpoint."""


class Nic(Model):
    """A guest's network interface. Address and MAC are known once its port is bound."""

    network_id: str
    network_name: str = ""
    port_id: str = ""
    keep_port: bool = False
    """The port was made before the instance and outlives it."""
    ip: str = ""
    prefix: int = 0
    mac: str = ""
    gateway: str = ""
    """Address of this host in the network: it gives DHCP and routes."""
    segment: int = 0
    """VXLAN network identifier, 24 bits."""


class GuestSpec(Model):
    """All that a host needs to know of a guest."""

    id: str
    name: str
    hostname: str
    project: str
    flavor: FlavorRef
    image: ImageRef
    disk: int
    """Bytes of the root disk."""
    nics: tuple[Nic, ...] = ()
    metadata: dict[str, str] = Field(default_factory=dict)
    key_name: str = ""
    public_key: str = ""
    config_drive: bool = True
    password_ref: str = ""
    user_data_ref: str = ""


class Placed(Model):
    """The scheduler chose this host and holds the resources."""

    fact: Literal["placed"]
    host: HostRef


class PortBound(Model):
    """The network gave this NIC its address."""

    fact: Literal["port-bound"]
    nic: int
    port: Nic


class PortUnbound(Model):
    """The NIC has no address any more."""

    fact: Literal["port-unbound"]
    nic: int


class Released(Model):
    """Nothing is held on a host any more."""

    fact: Literal["released"]


class PowerSeen(Model):
    """The hypervisor says this of the guest."""

    fact: Literal["power"]
    power: Power


Fact = Annotated[Placed | PortBound | PortUnbound | Released | PowerSeen, Field(discriminator="fact")]


class JobCall(Model):
    """A job as it is sent: its id stays the same however often it is sent."""

    job_id: str
    name: str
    args: dict[str, Any] = Field(default_factory=dict)


class JobError(Model):
    """Why a job failed."""

    code: str
    message: str
    ran: bool = True
    """False: it was refused before anything was done, so there is nothing of it to undo."""
    details: dict[str, Any] = Field(default_factory=dict)


class JobResult(Model):
    """What became of one job."""

    job_id: str
    name: str
    error: JobError | None = None
    facts: tuple[Fact, ...] = ()


class Reply(Model):
    """Where the answer to a job goes."""

    instance_id: str
    task_id: str
    dispatch_id: str
    job_id: str


class DispatchHostJobs(Message):
    """Consecutive jobs of one plan for one host; the agent stops at the first that fails."""

    kind = "job"

    dispatch_id: str
    task_id: str
    instance_id: str
    host_id: str
    epoch: int
    deadline: datetime
    guest: GuestSpec
    jobs: tuple[JobCall, ...]


class JobsAnswered(Message):
    """An agent's, the scheduler's or a network's answer to a dispatch: results in the order of its jobs."""

    kind = "job"

    task_id: str
    dispatch_id: str
    host_id: str = ""
    epoch: int = 0
    results: tuple[JobResult, ...]


class JobStarted(Message):
    """A host has begun a job that takes a while."""

    kind = "job"

    task_id: str
    dispatch_id: str
    job_id: str
    name: str


class GuestObserved(Message):
    """A host's hypervisor was seen to say this of a guest, outside of any job."""

    kind = "guest"

    host_id: str
    epoch: int
    power: Power


class Heartbeat(Message):
    """A host is there, and how busy."""

    kind = "report"

    host_id: str
    epoch: int
    guests: int
    load: float = 0.0
    memory_free: int = 0
