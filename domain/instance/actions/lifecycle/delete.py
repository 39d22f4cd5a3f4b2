"""delete: soft keeps everything but the run; hard takes the instance apart.

Soft: UnpauseGuest · StopGuest, of a guest that is paused or runs; a suspended one keeps its saved memory. The instance
is purged when its time has passed.
Hard: UndefineGuest · UnplugPorts · DeleteDisk · UnbindPort (a NIC each) · ReleaseVolume (a volume each) · DiscardVolume
(of one that it boots from and that goes with it) · Release.
Nothing is undone: a delete that fails leaves the instance in error, and can be asked for again.
"""

from datetime import datetime, timedelta
from typing import Annotated, ClassVar

from domain.core.errors import ErrorNeedsIgnore
from domain.core.fields import OPERATORS_ONLY
from domain.guest_spec import Power
from domain.instance.action import (
    ANY_BUT_DELETED,
    ON,
    InstanceAction,
    InstanceCommand,
    each_bound_nic,
    each_volume,
    if_elsewhere,
    if_hosted,
    if_on,
    root_that_goes_along,
)
from domain.instance.events import InstancePurgeScheduled
from domain.instance.state import Instance, VmState
from domain.jobs.disk import DeleteDisk
from domain.jobs.guest import PauseGuest, StartGuest, StopGuest, UndefineGuest, UnpauseGuest
from domain.jobs.network import UnbindPort, UnplugPorts
from domain.jobs.scheduling import Release
from domain.jobs.volume import DiscardVolume, ReleaseVolume
from domain.tasks.draft import Draft
from domain.tasks.flow import Flow, Step, when
from domain.tasks.job import Where


class DeleteInstance(InstanceCommand):
    """Delete an instance; it can be restored until it is purged."""

    relieves: ClassVar[bool] = True
    ignore: bool = False
    """Delete the instance even if it is in error and on a host."""
    keep_for: Annotated[float, OPERATORS_ONLY] = 86400.0
    """Seconds until the instance is purged."""


class HardDeleteInstance(InstanceCommand):
    """Delete an instance for good, with its disks and addresses."""

    relieves: ClassVar[bool] = True
    ignore: bool = False
    """Delete the instance even if it is in error and on a host."""


def error_only_if_ignored(instance: Instance, command: DeleteInstance | HardDeleteInstance) -> None:
    """Raise ErrorNeedsIgnore for an instance in error that has something on a host, which may be evidence, unless the
    command ignores that."""
    if instance.vm_state is VmState.ERROR and instance.host is not None and not command.ignore:
        raise ErrorNeedsIgnore(id=instance.id)


def paused(instance: Instance, command: DeleteInstance) -> bool:
    """Return whether the guest is paused, as far as is known."""
    return instance.host is not None and instance.power is Power.PAUSED


def off(instance: Instance, command: DeleteInstance) -> bool:
    """Return whether the guest is off, and not suspended, as far as is known."""
    return instance.host is not None and instance.power not in ON | {Power.SUSPENDED}


def schedule_purge(draft: Draft[Instance], command: DeleteInstance, at: datetime) -> None:
    """Emit the time of the purge when the delete is accepted, so that no timer can lose it."""
    until = at + timedelta(seconds=command.keep_for)
    draft.emit(InstancePurgeScheduled(at=until, before=draft.now.vm_state))


DELETE = InstanceAction(
    name="delete",
    command=DeleteInstance,
    begins=ANY_BUT_DELETED - {VmState.SOFT_DELETED},
    already=frozenset({VmState.SOFT_DELETED}),
    ends=VmState.SOFT_DELETED,
    during="deleting",
    needs_host=False,
    passes=True,
    check=error_only_if_ignored,
    accepted=schedule_purge,
    flow=Flow(
        "delete",
        2,
        (
            Step(UnpauseGuest, undo=PauseGuest, each=when(paused)),
            Step(StopGuest, undo=StartGuest, each=if_on),
            Step(StopGuest, no_undo="it was off, as far as was known", each=when(off)),
        ),
    ),
)

HARD_DELETE = InstanceAction(
    name="hard-delete",
    command=HardDeleteInstance,
    begins=ANY_BUT_DELETED,
    ends=VmState.DELETED,
    fails=VmState.ERROR,
    during="deleting",
    needs_host=False,
    passes=True,
    cancellable=False,
    check=error_only_if_ignored,
    flow=Flow(
        "hard-delete",
        4,
        (
            Step(UndefineGuest, no_undo="what is deleted is gone", each=if_hosted),
            Step(UnplugPorts, no_undo="what is deleted is gone", each=if_hosted),
            Step(DeleteDisk, no_undo="what is deleted is gone", each=if_hosted),
            Step(UndefineGuest, no_undo="what is deleted is gone", each=if_elsewhere, on=Where.THERE),
            Step(UnplugPorts, no_undo="what is deleted is gone", each=if_elsewhere, on=Where.THERE),
            Step(DeleteDisk, no_undo="what is deleted is gone", each=if_elsewhere, on=Where.THERE),
            Step(Release, no_undo="what is deleted is gone", each=if_elsewhere, on=Where.THERE),
            Step(UnbindPort, no_undo="what is deleted is gone", each=each_bound_nic),
            Step(ReleaseVolume, no_undo="what is deleted is gone", each=each_volume),
            Step(DiscardVolume, no_undo="what is deleted is gone", each=root_that_goes_along),
            Step(Release, no_undo="the last step"),
        ),
    ),
)
