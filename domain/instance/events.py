"""What can happen to an instance, besides what happens to its tasks (domain/tasks/events.py)."""

from datetime import datetime
from typing import Annotated, ClassVar

from domain.core.fields import PERSONAL, PERSONAL_OF_ACTOR
from domain.core.messages import Event
from domain.guest_spec import ImageRef, Power
from domain.instance.migration import Migration
from domain.instance.spec import InstanceSpec
from domain.instance.state import VmState


class InstanceEvent(Event):
    """A fact about an instance."""

    abstract: ClassVar[bool] = True
    kind = "instance"


class InstanceCreated(InstanceEvent, InstanceSpec):
    """It exists from now on; nothing runs yet."""

    revision = 2

    project: str
    owner: Annotated[str, PERSONAL_OF_ACTOR]
    created: datetime


class InstanceUpdated(InstanceEvent):
    """Its description changed; None means as before."""

    name: Annotated[str | None, PERSONAL] = None
    description: Annotated[str | None, PERSONAL] = None
    metadata: Annotated[dict[str, str] | None, PERSONAL] = None
    at: datetime


class InstancePowerChanged(InstanceEvent):
    """The hypervisor says otherwise than we knew, and no task is the reason."""

    power: Power
    vm_state: VmState
    at: datetime


class InstanceHostRenewed(InstanceEvent):
    """The instance's host has registered anew: its epoch is another."""

    host_id: str
    epoch: int


class InstanceCellChanged(InstanceEvent):
    """No host of the cell before would do: it is asked for in this one."""

    cell: str
    before: str
    why: Annotated[str, PERSONAL]
    """What the cell before said."""


class InstanceMigrationChanged(InstanceEvent):
    """A migration of the instance began, or is so far now."""

    migration: Migration


class InstanceMoved(InstanceEvent):
    """The instance's two hosts have changed places: what was its other host is its own now."""

    power: Power
    at: datetime


class InstanceRescued(InstanceEvent):
    """The instance boots from a disk of this image until it is unrescued."""

    image: ImageRef
    at: datetime


class InstancePurgeScheduled(InstanceEvent):
    """It is soft-deleted, and goes for good at this time."""

    at: datetime
    before: VmState
