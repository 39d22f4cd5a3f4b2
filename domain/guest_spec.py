"""Specification of a guest: everything a host has to know of it, sent to its agent with every dispatch.

Why values and no ids alone: an agent asks nobody, so all that a definition is made of is here, as it was when the
instance was asked for. A later change of a flavor or an image changes no instance.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from domain.core import ipv6
from domain.core.fields import PERSONAL, PLAIN
from domain.core.ipv6 import Ipv6Mode
from domain.core.messages import Model

SMALLEST_DISK, LARGEST_DISK = 1 << 20, 1 << 46
"""Limits on a disk's size in bytes: 1 MiB to 64 TiB."""


class Power(StrEnum):
    """Power state of a guest, as the hypervisor reports it."""

    NONE = "none"
    RUNNING = "running"
    PAUSED = "paused"
    SHUTDOWN = "shutdown"
    CRASHED = "crashed"
    SUSPENDED = "suspended"
    BLOCKED = "blocked"
    """The guest stands still since one of its disks takes no more, as where the file system below it is full."""


class ImageRef(Model):
    """An image as it was at the time of the request."""

    id: str
    name: Annotated[str, PERSONAL]
    checksum: str
    """SHA-256 of the file, lower-case hexadecimal."""
    format: str
    size: int
    virtual_size: int
    arch: str = "x86_64"
    min_disk: int = 0
    """Bytes that a root disk needs at least."""
    min_ram: int = 0
    """Bytes of memory that a guest needs at least."""
    properties: Annotated[dict[str, str], PERSONAL] = Field(default_factory=dict)
    """Needs of the guest, as to its devices, by name (`domain/image_properties.py`)."""


class FlavorRef(Model):
    """A flavor as it was at the time of the request."""

    id: str
    name: Annotated[str, PERSONAL]
    core: int
    memory: int
    """Memory, in bytes of RAM."""
    multi_queue: int = 0
    mode: str = "prefer"
    policy: str = "Default"
    extra: Annotated[dict[str, str], PERSONAL] = Field(default_factory=dict)
    disk: int = 0
    """Size of the root disk of instances that say no other, in bytes; 0: the image's."""


class HostRef(Model):
    """A host as an aggregate on it knows it: its identity, and how its agent is reached."""

    id: str
    name: Annotated[str, PLAIN]
    partition: int
    """Partition of the jobs topic that this host's dispatches are in."""
    epoch: int
    endpoint: str = ""
    """Base URL of the agent's own HTTP endpoint."""


class Nic(Model):
    """A guest's network interface. Its address and MAC are known once its port is bound."""

    network_id: str
    network_name: Annotated[str, PERSONAL] = ""
    port_id: str = ""
    keep_port: bool = False
    """The port was made before the instance and outlives it."""
    ip: str = ""
    prefix: int = 0
    mac: str = ""
    gateway: str = ""
    """Address of the network's gateway, where DHCP, DNS and metadata answer."""
    segment: int = 0
    """VXLAN network identifier, 24 bits."""
    cidr6: str = ""
    """The network's IPv6 range; empty where it has none."""
    ipv6_mode: Ipv6Mode = Ipv6Mode.SLAAC

    @property
    def ip6(self) -> str:
        """The interface's IPv6 address; empty where its network has no range, or its port is not bound."""
        return ipv6.address_of(self.cidr6, self.mac)

    @property
    def gateway6(self) -> str:
        """The IPv6 address of the network's gateway, where DHCPv6 and DNS answer; empty without a range."""
        return ipv6.gateway_of(self.cidr6)


def serial_of(volume_id: str) -> str:
    """The serial number of a volume's disk: the id without hyphens, cut to virtio-blk's limit."""
    return volume_id.replace("-", "")[:20]


class AttachedVolume(Model):
    """A volume that is attached to a guest as a disk."""

    id: str
    name: Annotated[str, PERSONAL] = ""
    size: int
    """Size of the disk, in bytes."""
    read_only: bool = False
    pool_id: str = ""
    """Id of the pool that it is in; empty: it is on the host's own disk."""

    @property
    def serial(self) -> str:
        """The disk's serial number, by which the guest knows it."""
        return serial_of(self.id)


class GuestSpec(Model):
    """Specification of a guest, with all that its host needs to know."""

    id: str
    name: Annotated[str, PERSONAL]
    hostname: Annotated[str, PERSONAL]
    project: str
    flavor: FlavorRef
    image: ImageRef
    disk: int
    """Size of the local root disk, in bytes."""
    nics: tuple[Nic, ...] = ()
    metadata: Annotated[dict[str, str], PERSONAL] = Field(default_factory=dict)
    key_name: Annotated[str, PERSONAL] = ""
    public_key: Annotated[str, PERSONAL] = ""
    config_drive: bool = True
    launch_index: int = 0
    """Place of the instance among those of one boot, from 0."""
    password_ref: str = ""
    user_data_ref: str = ""
    volumes: tuple[AttachedVolume, ...] = ()
    """Disks besides a local root disk, in the order in which they were attached; each has its `serial`."""
    root_volume_id: str = ""
    """Id of the volume, one of these, that the guest boots from in place of a local root disk; empty: it has one."""
    rescue_image: ImageRef | None = None
    """While the instance is rescued: the guest boots from a disk of this image, and has its own root disk second."""
