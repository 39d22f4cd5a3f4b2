"""Documents about instances and what belongs to them."""

from pydantic import Field

from api.documents.answers import Accepted, Problem
from api.documents.document import Document
from api.documents.faults import FaultDocument
from api.documents.networks import AddressPairDocument
from domain.guest_spec import FlavorRef, ImageRef
from domain.instance.actions.network.interfaces import MOST_INTERFACES


class RunningTask(Document):
    """The task that is under way on an instance or a volume."""

    id: str
    action: str
    step: str


class HostOf(Document):
    """The host that an instance or a volume is on."""

    id: str
    name: str
    epoch: int


class NicDocument(Document):
    """A network interface of an instance, with its address."""

    index: int
    network_id: str
    network_name: str
    port_id: str
    ip: str
    prefix: int
    ip6: str
    mac: str
    gateway: str
    gateway6: str


class VolumeOf(Document):
    """A volume that is attached to an instance as a disk."""

    id: str
    name: str
    size: int = Field(description="size in bytes")
    read_only: bool = Field(description="whether the guest only reads it")


class DiskImage(Document):
    """The image of an instance's own root disk in the image store, which no other instance has."""

    checksum: str = Field(description="SHA-256 of its file")
    format: str
    size: int = Field(description="size of its file in bytes")
    virtual_size: int = Field(description="size of the disk in bytes")


class Parking(Document):
    """The reason why an aggregate takes no commands, and since when."""

    why: str
    place: str = Field(description="topic, partition and offset of the record that could not be applied")
    since: str


class InstanceDocument(Document):
    """An instance: a virtual machine with its status, its parts and its place."""

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
    disk: int = Field(description="size of the local root disk in bytes; 0 where the instance boots from a volume")
    root_volume_id: str = Field(description="id of the volume that it boots from; empty: it has a local root disk")
    zone: str
    host: HostOf | None
    key_name: str
    config_drive: bool
    nics: list[NicDocument]
    volumes: list[VolumeOf]
    addresses: list[str]
    disk_image: DiskImage | None = Field(description="set while the instance is shelved")
    offload_at: str | None = Field(description="when the host of a shelved instance is freed; null: on request")
    fault: FaultDocument | None
    created: str
    updated: str
    launched: str | None
    deleted: str | None
    purge_at: str | None
    version: int
    parked: Parking | None = Field(
        description="set if the instance takes no commands; only where a single instance is read"
    )


class ClonedDocument(Document):
    """An instance that is to be made as a clone: it exists once the disk of the other one was read."""

    id: str
    name: str


class Cloning(Accepted):
    """The task that clones an instance, and the new instances."""

    clones: list[ClonedDocument]
    admin_password: str | None = Field(
        None,
        description="password that was made because the request had none; shown only in the answer to this request",
    )


class BootedDocument(Document):
    """An instance that was requested by a boot, with its task or the problem that refused it."""

    instance_id: str
    name: str
    command_id: str
    task_id: str | None = None
    problem: Problem | None = None


class Booting(Document):
    """The instances that are being booted. Of a single instance, the ids are members of the answer as well."""

    correlation_id: str
    instances: list[BootedDocument]
    admin_password: str | None = Field(
        None,
        description="password that was made because the request had none; shown only in the answer to this request, "
        "and for a day to the same one with the same Idempotency-Key",
    )
    id: str | None = None
    instance_id: str | None = None
    name: str | None = None
    command_id: str | None = None
    task_id: str | None = None


class InterfaceDocument(NicDocument):
    """A network interface of an instance, with the settings of its port; they are null while it has no port."""

    port_name: str | None
    security_group_ids: list[str] | None
    port_security: bool | None
    allowed_pairs: list[AddressPairDocument] | None
    egress_kbit: int | None
    ingress_kbit: int | None


class Interfaces(Document):
    """Network interfaces of an instance, in the guest's order."""

    interfaces: list[InterfaceDocument] = Field(max_length=MOST_INTERFACES)


class Display(Document):
    """The address of an instance's display, with a password that is valid for a limited time."""

    host: str
    port: int
    password: str
    valid_seconds: int


class LocalDiskDocument(Document):
    """A file on a host's own disk that an instance has as a disk."""

    name: str = Field(description="root, root-before (kept while a resize waits), rescue, config-drive or volume")
    device: str = Field(description="name of the device in the guest's definition; empty if the guest does not have it")
    path: str = Field(description="absolute path on the host")
    format: str
    virtual_size: int = Field(description="size in bytes as the guest sees it")
    real_size: int = Field(description="bytes that the file takes on the host")
    backing_file: str = Field(description="path of the file below it; empty if it stands alone")


class LocalDisksDocument(Document):
    """The local disks of an instance, as its host finds them."""

    disks: list[LocalDiskDocument]


class ParkedDocument(Parking):
    """An aggregate that takes no commands until it is released."""

    id: str = Field(description="KIND/ID")
    kind: str
    parked: bool
