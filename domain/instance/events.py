"""Events of an instance, besides those of its tasks (domain/tasks/events.py)."""

from datetime import datetime
from typing import Annotated, ClassVar

from domain.core.fields import PERSONAL, PERSONAL_OF_ACTOR
from domain.core.messages import Event
from domain.guest_spec import FlavorRef, ImageRef, Power
from domain.instance.migration import Migration
from domain.instance.spec import InstanceSpec
from domain.instance.state import VmState


class InstanceEvent(Event):
    """A fact about an instance."""

    abstract: ClassVar[bool] = True
    kind = "instance"


class InstanceCreated(InstanceEvent, InstanceSpec):
    """The instance exists from now on; nothing runs yet."""

    revision = 6
    project: str
    owner: Annotated[str, PERSONAL_OF_ACTOR]
    created: datetime


class InstanceCloned(InstanceEvent):
    """The instance's root disk is made of this image, of another instance's disk."""

    source_id: str
    """Id of the other instance."""
    image: ImageRef
    at: datetime


class InstanceUpdated(InstanceEvent):
    """The instance's name, description or metadata changed; a field that is None stays as it was."""

    name: Annotated[str | None, PERSONAL] = None
    description: Annotated[str | None, PERSONAL] = None
    metadata: Annotated[dict[str, str] | None, PERSONAL] = None
    at: datetime


class InstanceHostnameChanged(InstanceEvent):
    """The instance's host name changed; the guest takes it at its next start."""

    hostname: Annotated[str, PERSONAL]
    at: datetime


class InstancePowerChanged(InstanceEvent):
    """The hypervisor reported another power state than the known one, and no task is the reason."""

    power: Power
    vm_state: VmState
    at: datetime


class InstanceSecondPowerChanged(InstanceEvent):
    """The hypervisor of the instance's second host reported another power state of the guest there."""

    power: Power
    at: datetime


class InstanceHostRenewed(InstanceEvent):
    """The instance's host has registered again, and has a new epoch."""

    host_id: str
    epoch: int


class InstanceCellChanged(InstanceEvent):
    """No host of the previous cell was suitable: the instance is placed in this cell."""

    cell: str
    before: str
    why: Annotated[str, PERSONAL]
    """Text of the previous cell's refusal."""


class InstanceMigrationChanged(InstanceEvent):
    """A migration of the instance began, or its status changed."""

    revision = 3

    migration: Migration


class InstanceMoved(InstanceEvent):
    """The instance's two hosts have been exchanged: the second host is its own now."""

    power: Power
    at: datetime


class InstanceResized(InstanceEvent):
    """The instance has this flavor, and a root disk of this size, on the host that it was on."""

    revision = 2

    flavor: FlavorRef
    disk: int
    """Size of the root disk, in bytes."""
    at: datetime


class InstanceRebuilt(InstanceEvent):
    """The instance has a new root disk, made from this image."""

    revision = 2
    image: ImageRef
    at: datetime


class InstanceRescued(InstanceEvent):
    """The instance boots from a disk of this image until it is unrescued."""

    revision = 2
    image: ImageRef
    at: datetime


class InstanceShelved(InstanceEvent):
    """The instance's root disk is in the image store, as this image."""

    image: ImageRef
    offload_at: datetime | None = None
    """When its host's disk and claim go; None: when somebody asks for it."""
    at: datetime


class InstanceVolumeExtended(InstanceEvent):
    """A volume of the instance has this size from now on."""

    volume_id: str
    size: int
    """Size of the volume, in bytes."""
    at: datetime


class InstancePurgeScheduled(InstanceEvent):
    """The instance is soft-deleted, and is purged at this time."""

    at: datetime
    before: VmState
