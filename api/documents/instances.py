"""Instances."""

from pydantic import Field

from api.documents.answers import Problem
from api.documents.document import Document
from domain.guest_spec import FlavorRef, ImageRef
from domain.tasks.task import Fault


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


class VolumeOf(Document):
    """A volume that an instance has as a disk."""

    id: str
    name: str
    size: int = Field(description="bytes")


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
    volumes: list[VolumeOf]
    addresses: list[str]
    fault: Fault | None
    created: str
    updated: str
    launched: str | None
    deleted: str | None
    purge_at: str | None
    version: int
    parked: Parking | None = Field(description="told where one is shown: it takes no commands")


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


class Interfaces(Document):
    """An instance's network interfaces."""

    interfaces: list[NicDocument]


class Display(Document):
    """Where an instance's display is."""

    host: str
    port: int
    password: str
    valid_seconds: int


class ParkedDocument(Parking):
    """What takes no commands until it is released."""

    id: str = Field(description="KIND/ID")
    kind: str
    parked: bool
