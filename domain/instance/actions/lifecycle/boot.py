"""boot: a new instance on a host of the scheduler's choice.

Place · BindPort (a NIC each) · PrepareImage · CreateDisk · WriteConfigDrive · PlugPorts · DefineGuest · StartGuest.
Undone in reverse; an instance that could not be built stays, in error, and says why.
From a volume: MakeVolume or ReserveVolume right behind Place, and neither PrepareImage nor CreateDisk. Where the volume
is made, its own task makes it, and the boot waits for its end.
"""

from collections.abc import Iterator
from typing import Any

from domain.instance.action import InstanceAction, InstanceCommand, each_nic, if_local_root, if_volume_root
from domain.instance.spec import InstanceSpec
from domain.instance.state import Instance, VmState
from domain.jobs.disk import CreateDisk, DeleteDisk, PrepareImage, WriteConfigDrive
from domain.jobs.guest import DefineGuest, StartGuest, UndefineGuest
from domain.jobs.network import BindPort, PlugPorts, UnbindPort, UnplugPorts
from domain.jobs.scheduling import Place, Release
from domain.jobs.volume import DiscardVolume, MakeVolume, ReleaseVolume, ReserveVolume
from domain.tasks.flow import Flow, Step


class BootInstance(InstanceCommand, InstanceSpec):
    """Boot a new instance."""

    security_groups: tuple[str, ...] = ()
    """Ids of the groups of ports that are made for it; none: the default group of its project."""


def with_groups(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield each interface, with the security groups of a port that is made for it."""
    groups = {"security_groups": list(command.security_groups)} if command.security_groups else {}
    for nic in each_nic(instance, command):
        yield {**nic, **groups}


def unless_only_defined(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step to start the guest, unless the request only defines it."""
    if not instance.only_define:
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


BOOT = InstanceAction(
    name="boot",
    command=BootInstance,
    begins=frozenset(),
    ends=None,
    ends_as=lambda instance, command: VmState.STOPPED if instance.only_define else VmState.ACTIVE,
    fails=VmState.ERROR,
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
            Step(CreateDisk, undo=DeleteDisk, each=if_local_root),
            Step(WriteConfigDrive, no_undo="it goes with the disk", each=with_config_drive),
            Step(WriteConfigDrive, undo=DeleteDisk, each=if_volume_root),
            Step(PlugPorts, undo=UnplugPorts),
            Step(DefineGuest, undo=UndefineGuest),
            Step(StartGuest, no_undo="undefining stops it", each=unless_only_defined),
        ),
    ),
)
