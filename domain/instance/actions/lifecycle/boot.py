"""boot: a new instance on a host of the scheduler's choice.

Place · BindPort (a NIC each) · PrepareImage · CreateDisk · WriteConfigDrive · PlugPorts · DefineGuest · StartGuest.
Undone in reverse; an instance that could not be built stays, in error, and says why.
From a volume: MakeVolume or ReserveVolume right behind Place, and neither PrepareImage nor CreateDisk. Where the volume
is made, its own task makes it, and the boot waits for its end.
Of a clone UnpackDisk in place of CreateDisk, and DiscardUpload at the end, when its guest runs: the image of the other
instance's disk goes with the last clone that has its own.
"""

from collections.abc import Iterator
from typing import Any

from domain.instance.action import InstanceAction, InstanceCommand, each_nic, if_local_root, if_volume_root
from domain.instance.spec import InstanceSpec
from domain.instance.state import Instance, VmState
from domain.jobs.disk import CreateDisk, DeleteDisk, PrepareImage, UnpackDisk, WriteConfigDrive
from domain.jobs.guest import DefineGuest, StartGuest, UndefineGuest
from domain.jobs.image import DiscardUpload
from domain.jobs.network import BindPort, PlugPorts, UnbindPort, UnplugPorts
from domain.jobs.scheduling import Place, Release
from domain.jobs.volume import DiscardVolume, MakeVolume, ReleaseVolume, ReserveVolume
from domain.tasks.flow import Flow, Step, when


class BootInstance(InstanceCommand, InstanceSpec):
    """Boot a new instance."""

    security_groups: tuple[str, ...] = ()
    """Ids of the groups of ports that are made for it; none: the default group of its project."""


def with_groups(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield each interface, with the security groups of a port that is made for it."""
    groups = {"security_groups": list(command.security_groups)} if command.security_groups else {}
    for nic in each_nic(instance, command):
        yield {**nic, **groups}


def is_clone(instance: Instance, command: Any) -> bool:
    """Return whether the root disk is made of another instance's: what follows the start cannot be undone then."""
    return instance.disk_image is not None


def unless_only_defined(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step to start the guest, unless the request only defines it, or it is a clone."""
    if not instance.only_define and not is_clone(instance, command):
        yield {}


def with_config_drive(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step where the instance has a config drive, beside a local root disk."""
    if instance.config_drive:
        yield from if_local_root(instance, command)


def root_to_make(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with the volume to boot from, where it is to be made."""
    if instance.root is not None and instance.root.new is not None:
        yield {"volume_id": instance.root.id}


def root_to_reserve(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with the volume to boot from, where it is there."""
    if instance.root is not None and instance.root.new is None:
        yield {"volume_id": instance.root.id}


def unless_cloned(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step where the instance has a local root disk, made of its own image."""
    if instance.disk_image is None:
        yield from if_local_root(instance, command)


def if_cloned(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with the image of another instance's disk, where the root disk is made of that."""
    if instance.disk_image is not None:
        yield {"image": instance.disk_image}


def upload_if_cloned(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with the task that put another instance's disk into the image store, for a clone of it."""
    if instance.disk_image is not None:
        yield {"task_id": instance.disk_image.id}


BOOT = InstanceAction(
    name="boot",
    command=BootInstance,
    begins=frozenset(),
    ends=None,
    ends_as=lambda instance, command: VmState.STOPPED if instance.only_define else VmState.ACTIVE,
    fails=VmState.ERROR,
    stuck=VmState.ACTIVE,
    during="building",
    needs_host=False,
    creates=True,
    flow=Flow(
        "boot",
        2,
        (
            Step(Place, undo=Release),
            Step(MakeVolume, undo=DiscardVolume, each=root_to_make),
            Step(ReserveVolume, undo=ReleaseVolume, each=root_to_reserve),
            Step(BindPort, undo=UnbindPort, each=with_groups),
            Step(PrepareImage, no_undo="the host's image cache is shared, and cleans itself", each=if_local_root),
            Step(CreateDisk, undo=DeleteDisk, each=unless_cloned),
            Step(UnpackDisk, undo=DeleteDisk, each=if_cloned),
            Step(WriteConfigDrive, no_undo="it goes with the disk", each=with_config_drive),
            Step(WriteConfigDrive, undo=DeleteDisk, each=if_volume_root),
            Step(PlugPorts, undo=UnplugPorts),
            Step(DefineGuest, undo=UndefineGuest),
            Step(StartGuest, no_undo="undefining stops it", each=unless_only_defined),
            Step(StartGuest, no_undo="undefining stops it", each=when(is_clone), pivot=True),
            Step(DiscardUpload, no_undo="the disk is on its host", each=upload_if_cloned),
        ),
    ),
)
