"""shelve: an instance is off, and its root disk is in the image store; offload: its host is free of it; unshelve: it
runs again, on any host.

Shelve: UnpauseGuest · StopGuest · UploadDisk · StopGuest of a guest that was suspended, whose saved memory is lost with
it: so it goes last. Undone in reverse, the guest goes on where it was.
Offload: UndefineGuest · UnplugPorts · DeleteDisk (the pivot) · ParkPort (a NIC each) · Release. Addresses, metadata and
volumes in pools stay the instance's.
Unshelve: Place · BindPort (a NIC each) of one without a host, ResizeClaim of one that has it (its claim must be there
yet) · PrepareImage · UnpackDisk · PlugPorts · DefineGuest · StartGuest (the pivot) · DiscardUpload. On a host that has
the disk yet, UnpackDisk leaves it as it is. The image is there until the guest runs, so whatever fails, one disk or its
image is left.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated, Any

from domain.core.errors import HasLocalVolumes, Invalid, NotShelved
from domain.core.fields import OPERATORS_ONLY, Refers
from domain.guest_spec import Power
from domain.instance.action import (
    HARMLESS,
    ON,
    InstanceAction,
    InstanceCommand,
    each_bound_nic,
    if_on,
    local_volumes,
    must_have_local_root,
)
from domain.instance.events import InstanceShelved
from domain.instance.state import Instance, VmState
from domain.jobs.disk import DeleteDisk, PrepareImage, UnpackDisk
from domain.jobs.guest import DefineGuest, PauseGuest, StartGuest, StopGuest, UndefineGuest, UnpauseGuest
from domain.jobs.image import DiscardUpload, UploadDisk, disk_image
from domain.jobs.network import BindPort, ParkPort, PlugPorts, UnplugPorts
from domain.jobs.scheduling import Place, Release, ResizeClaim, RestoreClaim
from domain.tasks.draft import Draft
from domain.tasks.flow import Flow, Step, when
from domain.tasks.task import Task

IN_THE_STORE = "the image of the disk is all that is needed"


class ShelveInstance(InstanceCommand):
    """Stop an instance and put its root disk into the image store; its host is freed some time after."""

    offload: bool = False
    """Free the host at once: disk, claim and definition go from it; addresses and volumes in pools stay."""
    offload_after: Annotated[float, OPERATORS_ONLY] = 0.0
    """Seconds after which the host is freed where that was not asked for."""


class OffloadInstance(InstanceCommand):
    """Free the host of a shelved instance; addresses, metadata and volumes in pools stay."""


class UnshelveInstance(InstanceCommand):
    """Start a shelved instance again, on its host if that has its disk yet, else on any."""

    host: Annotated[str, Refers("host")] = ""
    """The host to place it on, where it is offloaded; none: the scheduler chooses."""


def paused(instance: Instance, command: ShelveInstance) -> bool:
    """Return whether the guest is paused, as far as is known."""
    return instance.power is Power.PAUSED


def suspended(instance: Instance, command: ShelveInstance) -> bool:
    """Return whether the guest is suspended, as far as is known."""
    return instance.power is Power.SUSPENDED


def off(instance: Instance, command: ShelveInstance) -> bool:
    """Return whether the guest is off, and not suspended, as far as is known."""
    return instance.power not in ON | {Power.SUSPENDED}


def only_in_pools(instance: Instance) -> None:
    """Raise HasLocalVolumes where the instance has volumes that no other host reaches."""
    if names := local_volumes(instance):
        raise HasLocalVolumes(id=instance.id, volumes=names)


def can_be_offloaded(instance: Instance, command: OffloadInstance) -> None:
    """Raise HasLocalVolumes where the instance has volumes that no other host reaches."""
    only_in_pools(instance)


def can_be_shelved(instance: Instance, command: ShelveInstance) -> None:
    """Raise RootIsVolume where the instance has no root disk of its own, and HasLocalVolumes where its host is to be
    freed at once, and has volumes of it on its own disk."""
    must_have_local_root(instance, "shelve", "Its volume is there when the instance is deleted: boot another from it.")
    if command.offload:
        only_in_pools(instance)


def shelved(draft: Draft[Instance], task: Task, at: datetime) -> None:
    """Emit the image of the root disk, and when the host is freed: never, while it has volumes on its own disk."""
    command = ShelveInstance.model_validate(task.params)
    after = timedelta(seconds=0 if command.offload else command.offload_after)
    offload_at = None if local_volumes(draft.now) else at + after
    draft.emit(InstanceShelved(image=disk_image(draft.now, task), offload_at=offload_at, at=at))


def offloaded(instance: Instance, command: UnshelveInstance) -> bool:
    """Return whether the instance has no host."""
    return instance.host is None


def hosted(instance: Instance, command: UnshelveInstance) -> bool:
    """Return whether the instance has a host."""
    return instance.host is not None


def can_be_unshelved(instance: Instance, command: UnshelveInstance) -> None:
    """Raise NotShelved where its disk is in no image, Invalid for another host than the one that has its disk."""
    if instance.disk_image is None:
        raise NotShelved(id=instance.id)
    if instance.host is not None and command.host not in ("", instance.host.id):
        allowed = f"it is on host {instance.host.name} until it is offloaded (gs instance shelve --offload)"
        raise Invalid(field="host", value=command.host, allowed=allowed)


def on_the_host(instance: Instance, command: UnshelveInstance) -> Iterator[dict[str, Any]]:
    """Yield a step with the requested host, for an instance without one."""
    if instance.host is None:
        yield {"wanted_host": command.host} if command.host else {}


def claim_if_hosted(instance: Instance, command: UnshelveInstance) -> Iterator[dict[str, Any]]:
    """Yield a step that fails where the instance's host holds nothing for it any more: its offload stopped half way."""
    if instance.host is not None:
        yield {"before": instance.resources(), "after": instance.resources()}


def each_nic_offloaded(instance: Instance, command: UnshelveInstance) -> Iterator[dict[str, Any]]:
    """Yield a step for each network interface of an instance without a host."""
    if instance.host is None:
        yield from each_bound_nic(instance, command)


def the_disk(here: bool) -> Any:
    """Return an `each` for a step with the image of the root disk, of an instance that has a host or has none."""

    def each(instance: Instance, command: UnshelveInstance) -> Iterator[dict[str, Any]]:
        if instance.disk_image is not None and (instance.host is not None) is here:
            yield {"image": instance.disk_image}

    return each


def its_upload(instance: Instance, command: UnshelveInstance) -> Iterator[dict[str, Any]]:
    """Yield a step with the task that put the root disk into the image store."""
    if instance.disk_image is not None:
        yield {"task_id": instance.disk_image.id}


SHELVE = InstanceAction(
    name="shelve",
    command=ShelveInstance,
    begins=frozenset({VmState.ACTIVE, VmState.PAUSED, VmState.SUSPENDED, VmState.STOPPED}),
    already=frozenset({VmState.SHELVED, VmState.SHELVED_OFFLOADED}),
    ends=VmState.SHELVED,
    during="shelving",
    alone=True,
    check=can_be_shelved,
    finished=shelved,
    flow=Flow(
        "shelve",
        1,
        (
            Step(UnpauseGuest, undo=PauseGuest, each=when(paused)),
            Step(StopGuest, undo=StartGuest, each=if_on),
            Step(StopGuest, no_undo="it was off, as far as was known", each=when(off)),
            Step(UploadDisk, undo=DiscardUpload, each=when(lambda instance, command: True, compress=True)),
            Step(StopGuest, no_undo="memory that is thrown away is gone", each=when(suspended)),
        ),
    ),
)

OFFLOAD = InstanceAction(
    name="offload",
    command=OffloadInstance,
    begins=frozenset({VmState.SHELVED}),
    already=frozenset({VmState.SHELVED_OFFLOADED}),
    stuck=VmState.SHELVED,
    ends=VmState.SHELVED_OFFLOADED,
    during="offloading",
    alone=True,
    check=can_be_offloaded,
    flow=Flow(
        "offload",
        1,
        (
            Step(UndefineGuest, undo=DefineGuest),
            Step(UnplugPorts, undo=PlugPorts),
            Step(DeleteDisk, no_undo=IN_THE_STORE, pivot=True),
            Step(ParkPort, no_undo=IN_THE_STORE, each=each_bound_nic),
            Step(Release, no_undo="the last step"),
        ),
    ),
)

UNSHELVE = InstanceAction(
    name="unshelve",
    command=UnshelveInstance,
    begins=frozenset({VmState.SHELVED, VmState.SHELVED_OFFLOADED, VmState.STOPPED, VmState.ERROR}),
    stuck=VmState.ACTIVE,
    ends=VmState.ACTIVE,
    during="unshelving",
    needs_host=False,
    check=can_be_unshelved,
    flow=Flow(
        "unshelve",
        1,
        (
            Step(Place, undo=Release, each=on_the_host),
            Step(ResizeClaim, undo=RestoreClaim, each=claim_if_hosted),
            Step(BindPort, undo=ParkPort, each=each_nic_offloaded),
            Step(PrepareImage, no_undo="the host's image cache is shared, and cleans itself"),
            Step(UnpackDisk, undo=DeleteDisk, each=the_disk(here=False)),
            Step(UnpackDisk, no_undo="it has its disk, as far as is known", each=the_disk(here=True)),
            Step(PlugPorts, undo=UnplugPorts, each=when(offloaded)),
            Step(PlugPorts, no_undo=HARMLESS, each=when(hosted)),
            Step(DefineGuest, undo=UndefineGuest, each=when(offloaded)),
            Step(DefineGuest, no_undo="the record is its definition", each=when(hosted)),
            Step(StartGuest, undo=StopGuest, pivot=True),
            Step(DiscardUpload, no_undo="the disk is on its host", each=its_upload),
        ),
    ),
)
