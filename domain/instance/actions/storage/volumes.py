"""attach-volume: give an instance a volume of its host as a disk; detach-volume: take it back.

Attach: ReserveVolume · AttachVolume. Undone in reverse. The volume itself says who has it, before any host is asked, so
two instances can never write to one.
Detach: DetachVolume · ReleaseVolume. It ends only when the guest has let go of the disk: until then the volume is
nobody else's to have, and after that there is no way back, since it may be another's. A paused guest cannot let go, so
it is not detached from one. A guest that was asked and did not let go can be made to: it is turned off and started
again without the disk, since nothing takes a disk from a guest that goes on.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from domain.core.errors import InUse, TooManyVolumes, VolumeNotAttached
from domain.core.fields import Refers
from domain.instance.action import InstanceAction, InstanceCommand
from domain.instance.state import Instance, VmState
from domain.jobs.volume import AttachVolume, DetachVolume, ReleaseVolume, ReserveVolume
from domain.tasks.flow import Flow, Step

MOST_VOLUMES = 16
"""Volumes that an instance can have: each needs a free port of its guest's PCI bus, also while it runs."""


class AttachInstanceVolume(InstanceCommand):
    """Give an instance a volume as a disk; its guest finds it by the first 20 hexadecimal digits of the volume's id."""

    volume_id: Annotated[str, Refers("volume"), Field(min_length=1, max_length=255)]
    """The volume to attach (name or ID), which is on the instance's host and which no instance has."""
    read_only: bool = False
    """Let the guest only read the volume."""


class DetachInstanceVolume(InstanceCommand):
    """Take a volume from an instance; unmount its file systems first, since the guest is not asked."""

    volume_id: Annotated[str, Refers("volume"), Field(min_length=1, max_length=255)]
    """The volume to detach (name or ID)."""
    force: bool = False
    """If the guest does not let go of it within 30 s, turn it off at once and start it again without the volume; what
    it has not written to its disks by then, this one or another, is lost."""


def the_volume(instance: Instance, command: AttachInstanceVolume | DetachInstanceVolume) -> Iterator[dict[str, Any]]:
    """Yield the volume that the command names."""
    yield {"volume_id": command.volume_id}


def to_reserve(instance: Instance, command: AttachInstanceVolume) -> Iterator[dict[str, Any]]:
    """Yield the volume that the command names, and whether the guest only reads it."""
    yield {"volume_id": command.volume_id, **({"read_only": True} if command.read_only else {})}


def to_detach(instance: Instance, command: DetachInstanceVolume) -> Iterator[dict[str, Any]]:
    """Yield the volume that the command names, and whether the guest has to let go of it."""
    yield {"volume_id": command.volume_id, **({"force": True} if command.force else {})}


def has(instance: Instance, volume_id: str) -> bool:
    """Say whether the instance has the volume."""
    return any(each.id == volume_id for each in instance.volumes)


def can_have_another(instance: Instance, command: AttachInstanceVolume) -> None:
    """Raise InUse where the instance has the volume already, TooManyVolumes where it has as many as it can."""
    if has(instance, command.volume_id):
        raise InUse(kind="Volume", id=command.volume_id, user="this very instance")
    if len(instance.volumes) >= MOST_VOLUMES:
        raise TooManyVolumes(id=instance.id, most=MOST_VOLUMES)


def has_it(instance: Instance, command: DetachInstanceVolume) -> None:
    """Raise VolumeNotAttached where the instance does not have the volume, InUse where it boots from it."""
    if not has(instance, command.volume_id):
        raise VolumeNotAttached(id=instance.id, volume=command.volume_id)
    if instance.root is not None and instance.root.id == command.volume_id:
        hint = "It is released when the instance is deleted for good."
        raise InUse(kind="Volume", id=command.volume_id, user="this very instance, which boots from it", hint=hint)


ATTACH_VOLUME = InstanceAction(
    name="attach-volume",
    command=AttachInstanceVolume,
    begins=frozenset({VmState.ACTIVE, VmState.PAUSED, VmState.STOPPED}),
    ends=None,
    during="attaching",
    check=can_have_another,
    flow=Flow(
        "attach-volume",
        1,
        (
            Step(ReserveVolume, undo=ReleaseVolume, each=to_reserve),
            Step(AttachVolume, undo=DetachVolume, each=the_volume),
        ),
    ),
)

DETACH_VOLUME = InstanceAction(
    name="detach-volume",
    command=DetachInstanceVolume,
    begins=frozenset({VmState.ACTIVE, VmState.STOPPED}),
    ends=None,
    during="detaching",
    check=has_it,
    flow=Flow(
        "detach-volume",
        1,
        (
            Step(DetachVolume, undo=AttachVolume, each=to_detach, pivot=True),
            Step(ReleaseVolume, no_undo="the last step", each=the_volume),
        ),
    ),
)
