"""What can happen to an instance, besides what happens to its tasks (domain/task.py)."""

from datetime import datetime
from typing import ClassVar

from pydantic import Field

from domain.instance.state import VmState
from domain.jobs import FlavorRef, ImageRef, Nic, Power
from domain.messages import Event
from domain.task import TaskEvent


class InstanceEvent(Event):
    """A fact about an instance."""

    abstract: ClassVar[bool] = True
    kind = "instance"


class InstanceCreated(InstanceEvent):
    """It exists from now on; nothing runs yet."""

    project: str
    owner: str
    name: str
    hostname: str
    description: str = ""
    metadata: dict[str, str] = Field(default_factory=dict)
    flavor: FlavorRef
    image: ImageRef
    disk: int
    zone: str = ""
    wanted_host: str = ""
    key_name: str = ""
    public_key: str = ""
    config_drive: bool = True
    only_define: bool = False
    password_ref: str = ""
    user_data_ref: str = ""
    nics: tuple[Nic, ...] = ()
    created: datetime


class InstanceUpdated(InstanceEvent):
    """Its description changed; None means as before."""

    name: str | None = None
    description: str | None = None
    metadata: dict[str, str] | None = None
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


class InstancePurgeScheduled(InstanceEvent):
    """It is soft-deleted, and goes for good at this time."""

    at: datetime
    before: VmState


AnyInstanceEvent = (
    InstanceCreated | InstanceUpdated | InstancePowerChanged | InstanceHostRenewed | InstancePurgeScheduled | TaskEvent
)
