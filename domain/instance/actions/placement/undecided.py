"""migrate-confirm, migrate-revert, resize-confirm, resize-revert: the end of a migration or resize that is done.

Confirm takes away what was before: disk, definition and claim on the source host; of an instance that was resized on
its host the old disk, and what is reserved beyond its new size. Revert takes away what came of it, and the guest runs
as, and where, it was before. Both only go forward once the first thing is gone; given up behind that, they can be asked
for again, and the other one cannot. A resize is a migration, so either pair does for both.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from domain.core.errors import BeingReverted, NothingToConfirm, NothingToRevert
from domain.core.messages import Command
from domain.guest_spec import Power
from domain.instance.action import HARMLESS, InstanceAction, InstanceCommand, each_bound_nic, if_elsewhere
from domain.instance.actions.placement.migrate import THERE, note
from domain.instance.events import InstanceMoved, InstanceResized
from domain.instance.migration import MigrationStatus, MigrationType
from domain.instance.state import Instance, VmState
from domain.jobs.disk import DeleteDisk, DropOldDisk, RestoreDisk
from domain.jobs.guest import ResizeGuest, StartGuest, StopGuest, UndefineGuest
from domain.jobs.migration import MovePort, ReturnPort, UnpreparePort
from domain.jobs.network import PlugPorts, UnplugPorts
from domain.jobs.scheduling import Release, ResizeClaim
from domain.tasks.draft import Draft
from domain.tasks.flow import Each, Flow, Step
from domain.tasks.task import Task

CLEANED = "what is taken away is of no use any more"
AGAIN = {MigrationType.COLD: "migrate", MigrationType.RESIZE: "resize"}
"""Type of a migration -> the verb that began it, as in `resize-confirm`."""


class ConfirmMigration(InstanceCommand):
    """Confirm a migration: the source host's copy of the instance is deleted."""


class RevertMigration(InstanceCommand):
    """Revert a migration: the instance goes back to its source host, as it was there."""


class ConfirmResize(InstanceCommand):
    """Confirm a resize: what was kept of the instance as it was before is deleted."""


class RevertResize(InstanceCommand):
    """Revert a resize: the instance has its old flavor again, and its root disk as it was before."""


def ran_before(instance: Instance) -> bool:
    """Return whether the guest ran before it was migrated."""
    return instance.migration is not None and instance.migration.before == VmState.ACTIVE


def runs_now(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step where the guest runs, as far as is known."""
    if instance.power is Power.RUNNING:
        yield {}


def each_nic_elsewhere(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step for each network interface of an instance that has a second host."""
    if instance.incoming is not None:
        yield from each_bound_nic(instance, command)


def elsewhere_if_it_ran(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step for an instance that has a second host, where its guest ran."""
    if instance.incoming is not None and ran_before(instance):
        yield {}


def if_resized_here(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step for an instance that was resized on its host."""
    if instance.kept_size is not None:
        yield {}


def here_if_it_ran(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step for an instance that was resized on its host, where its guest ran."""
    if instance.kept_size is not None and ran_before(instance):
        yield {}


def old_size(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with the size before, for an instance that was resized on its host."""
    if (kept := instance.kept_size) is not None:
        yield {"flavor": kept.flavor, "disk": kept.disk}


def claim_as_it_was(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with what is reserved now, and what was before the resize."""
    if (kept := instance.kept_size) is not None:
        yield {"before": instance.resources(), "after": kept.resources()}


def claim_as_it_is(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with what is reserved now, and what the new size needs."""
    if instance.kept_size is not None:
        yield {"before": instance.resources(), "after": instance.size.resources()}


def as_before(instance: Instance, command: Any) -> VmState:
    """Return active or stopped, as the instance was before."""
    return VmState.ACTIVE if ran_before(instance) else VmState.STOPPED


def as_it_runs(instance: Instance, command: Any) -> VmState:
    """Return active or stopped, as the guest is."""
    return VmState.ACTIVE if instance.power is Power.RUNNING else VmState.STOPPED


def verb_of(instance: Instance) -> str:
    """Return the verb that brought the instance where it is: migrate, or resize."""
    return AGAIN[instance.migration.type] if instance.migration is not None else AGAIN[MigrationType.COLD]


def can_be_confirmed(instance: Instance, command: Any) -> None:
    """Raise NothingToConfirm where nothing waits, and BeingReverted where reverting has begun to take away."""
    _something_waits(instance)
    if instance.migration is not None and instance.migration.status is MigrationStatus.REVERTING:
        verb = verb_of(instance)
        raise BeingReverted(id=instance.id, type=verb, hint=f"Revert it again (gs instance {verb}-revert).")


def can_be_reverted(instance: Instance, command: Any) -> None:
    """Raise NothingToConfirm where nothing waits, and NothingToRevert where confirming has begun to take away."""
    _something_waits(instance)
    if instance.migration is not None and instance.migration.status is MigrationStatus.CONFIRMING:
        verb = verb_of(instance)
        raise NothingToRevert(id=instance.id, type=verb, hint=f"Confirm it again (gs instance {verb}-confirm).")


def confirming(draft: Draft[Instance], command: Any, at: datetime) -> None:
    """Emit that it is being confirmed, so that it cannot be reverted any more."""
    note(draft, MigrationStatus.CONFIRMING, at)


def confirmed(draft: Draft[Instance], task: Task, at: datetime) -> None:
    """Emit that it is confirmed; the instance has one host again, and one size."""
    note(draft, MigrationStatus.CONFIRMED, at)


def reverting(draft: Draft[Instance], command: Any, at: datetime) -> None:
    """Emit that it is being reverted, so that it cannot be confirmed any more."""
    note(draft, MigrationStatus.REVERTING, at)


def reverted(draft: Draft[Instance], task: Task, at: datetime) -> None:
    """Emit that the instance is as, and where, it was before."""
    instance = draft.now
    if instance.incoming is not None:
        draft.emit(InstanceMoved(power=instance.incoming.power, at=at))
    elif (kept := instance.kept_size) is not None:
        draft.emit(InstanceResized(flavor=kept.flavor, disk=kept.disk, at=at))
    note(draft, MigrationStatus.REVERTED, at)


def waits_again(draft: Draft[Instance], task: Task, at: datetime) -> None:
    """Emit that it waits to be confirmed or reverted, where reverting was undone before anything was taken away."""
    if not task.past_pivot:
        note(draft, MigrationStatus.FINISHED, at)


def _something_waits(instance: Instance) -> None:
    if instance.vm_state is VmState.RESIZED and instance.incoming is None and instance.kept_size is None:
        raise NothingToConfirm(id=instance.id)


def _confirm(name: str, command: type[Command]) -> InstanceAction:
    def gone(job: Any, each: Each[Instance] = if_elsewhere, pivot: bool = False) -> Step[Instance]:
        return Step(job, no_undo=CLEANED, each=each, on=THERE, pivot=pivot)

    return InstanceAction(
        name=name,
        command=command,
        begins=frozenset({VmState.RESIZED}),
        stuck=VmState.RESIZED,
        ends=None,
        ends_as=as_it_runs,
        during="confirming",
        alone=True,
        cancellable=False,
        check=can_be_confirmed,
        accepted=confirming,
        finished=confirmed,
        flow=Flow(
            name,
            2,
            (
                gone(UndefineGuest, pivot=True),
                gone(UnplugPorts),
                gone(DeleteDisk),
                gone(UnpreparePort, each_nic_elsewhere),
                Step(Release, no_undo="the last step", each=if_elsewhere, on=THERE),
                Step(DropOldDisk, no_undo=CLEANED, each=if_resized_here, pivot=True),
                Step(ResizeClaim, no_undo="the last step", each=claim_as_it_is),
            ),
        ),
    )


def _revert(name: str, command: type[Command]) -> InstanceAction:
    def gone(job: Any, each: Each[Instance] = if_elsewhere, pivot: bool = False) -> Step[Instance]:
        return Step(job, no_undo=CLEANED, each=each, pivot=pivot)

    return InstanceAction(
        name=name,
        command=command,
        begins=frozenset({VmState.RESIZED}),
        stuck=VmState.RESIZED,
        ends=None,
        ends_as=as_before,
        during="reverting",
        alone=True,
        cancellable=False,
        check=can_be_reverted,
        accepted=reverting,
        finished=reverted,
        failed=waits_again,
        flow=Flow(
            name,
            2,
            (
                Step(StopGuest, undo=StartGuest, each=runs_now),
                Step(MovePort, undo=ReturnPort, each=each_nic_elsewhere),
                Step(PlugPorts, no_undo=HARMLESS, each=if_elsewhere, on=THERE),
                Step(StartGuest, undo=StopGuest, each=elsewhere_if_it_ran, on=THERE),
                gone(UndefineGuest, pivot=True),
                gone(UnplugPorts),
                gone(DeleteDisk),
                gone(UnpreparePort, each_nic_elsewhere),
                gone(RestoreDisk, if_resized_here, pivot=True),
                Step(ResizeGuest, no_undo=CLEANED, each=old_size),
                Step(PlugPorts, no_undo=HARMLESS, each=here_if_it_ran),
                Step(StartGuest, no_undo=CLEANED, each=here_if_it_ran),
                Step(Release, no_undo="the last step", each=if_elsewhere),
                Step(ResizeClaim, no_undo="the last step", each=claim_as_it_was),
            ),
        ),
    )


CONFIRM = _confirm("migrate-confirm", ConfirmMigration)
REVERT = _revert("migrate-revert", RevertMigration)
CONFIRM_RESIZE = _confirm("resize-confirm", ConfirmResize)
REVERT_RESIZE = _revert("resize-revert", RevertResize)
