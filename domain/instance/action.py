"""Shared parts of an instance's verbs: their commands' base class, and steps that depend on the instance."""

from collections.abc import Iterator
from typing import Any, ClassVar

from domain.core.errors import RootIsVolume
from domain.core.messages import Command
from domain.guest_spec import Power
from domain.instance.state import Instance, VmState
from domain.tasks.action import Action

HARMLESS = "networks without a running guest do no harm"
"""Reason for which plugging a guest's ports is not undone."""
ANY_BUT_DELETED = frozenset(VmState) - {VmState.DELETED}

ON = frozenset({Power.RUNNING, Power.PAUSED, Power.BLOCKED})
"""Power states of a guest that has a process."""

InstanceAction = Action[Instance]


class InstanceCommand(Command):
    """A command for an instance."""

    abstract: ClassVar[bool] = True
    kind = "instance"


def if_hosted(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step for an instance that has a host."""
    if instance.host is not None:
        yield {}


def if_elsewhere(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step for an instance that has a second host, too."""
    if instance.incoming is not None:
        yield {}


def if_on(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step for an instance whose guest has a process on its host, as far as is known."""
    if instance.host is not None and instance.power in ON:
        yield {}


def if_not_on(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step for an instance whose guest is off or suspended, as far as is known."""
    if instance.host is not None and instance.power not in ON:
        yield {}


def image_or_own(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with the image that the command names, else the instance's own."""
    yield {"image": command.image or instance.image}


def if_local_root(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step for an instance with a local root disk."""
    if instance.root is None:
        yield {}


def if_volume_root(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step for an instance that boots from a volume."""
    if instance.root is not None:
        yield {}


def must_have_local_root(instance: Instance, verb: str, hint: str = "") -> None:
    """Raise RootIsVolume for an instance that boots from a volume."""
    if instance.root is not None:
        raise RootIsVolume(id=instance.id, volume=instance.root.id, action=verb, hint=hint)


def each_nic(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step for each network interface."""
    for index in range(len(instance.nics)):
        yield {"nic": index}


def each_volume(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """A step for each volume that the instance has, but for one that goes with it."""
    for volume in instance.volumes:
        if not _goes_along(instance, volume.id):
            yield {"volume_id": volume.id}


def root_that_goes_along(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with the volume that the instance boots from, where that is deleted with it."""
    for volume in instance.volumes:
        if _goes_along(instance, volume.id):
            yield {"volume_id": volume.id}


def _goes_along(instance: Instance, volume_id: str) -> bool:
    return instance.root is not None and instance.root.id == volume_id and instance.root.delete_on_termination


def local_volumes(instance: Instance) -> str:
    """Return the names of the volumes on the host's own disk, which go to no other host; empty where there are none."""
    return ", ".join(volume.name or volume.id for volume in instance.volumes if not volume.pool_id)


def each_bound_nic(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step for each network interface whose port is known."""
    for index, nic in enumerate(instance.nics):
        if nic.port_id:
            yield {"nic": index}
