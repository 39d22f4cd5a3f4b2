"""migrate: a cold move to another host, in two steps; migrate-confirm and migrate-revert end it.

Migrate: Place · PreparePort (each NIC) · StopGuest · PrepareImage · FetchDisk · WriteConfigDrive · PlugPorts ·
DefineGuest · StartGuest · MovePort (each NIC), all but stopping the guest at the other host. Undone in reverse: the
guest runs where it was. Until the move is confirmed the first host keeps disk, definition and claim.
Confirm takes all of that away there; revert takes the copy away, and the guest runs where it was. Both only go forward
once the first thing is gone.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

from domain.core.errors import HasLocalVolumes, NothingToConfirm, NothingToRevert, SameHost
from domain.core.fields import Refers
from domain.guest_spec import Power
from domain.instance.action import InstanceAction, InstanceCommand, each_bound_nic
from domain.instance.events import InstanceMigrationChanged, InstanceMoved
from domain.instance.migration import Migration, MigrationStatus, MigrationType
from domain.instance.state import Instance, VmState
from domain.jobs.disk import DeleteDisk, PrepareImage, WriteConfigDrive
from domain.jobs.guest import DefineGuest, StartGuest, StopGuest, UndefineGuest
from domain.jobs.migration import FetchDisk, MovePort, PreparePort, ReturnPort, UnpreparePort
from domain.jobs.network import PlugPorts, UnplugPorts
from domain.jobs.scheduling import Place, Release
from domain.tasks.draft import Draft
from domain.tasks.flow import Flow, Step, when
from domain.tasks.job import Where
from domain.tasks.task import Task

THERE = Where.THERE
CLEANED = "what the other host keeps is of no use any more"


class MigrateInstance(InstanceCommand):
    """Move an instance to another host; it is off meanwhile, and the move is to be confirmed or reverted."""

    host: Annotated[str, Refers("host")] = ""
    """The host to move to; none: the scheduler chooses."""


class ConfirmMigration(InstanceCommand):
    """Confirm a migration: the source host's copy of the instance is deleted."""


class RevertMigration(InstanceCommand):
    """Revert a migration: the instance goes back to its source host, as it was there."""


def was_on(instance: Instance, command: Any) -> bool:
    """Return whether the guest ran when the task began."""
    return instance.vm_state is VmState.ACTIVE


def ran_before(instance: Instance, command: Any) -> bool:
    """Return whether the guest ran before it was migrated."""
    return instance.migration is not None and instance.migration.before == VmState.ACTIVE


def runs_now(instance: Instance, command: Any) -> bool:
    """Return whether the guest runs, as far as is known."""
    return instance.power is Power.RUNNING


def elsewhere(instance: Instance, command: MigrateInstance) -> Iterator[dict[str, Any]]:
    """Yield a step with the requested host, or any but the instance's own."""
    yield {"wanted_host": command.host, "avoid": (instance.host.id,) if instance.host else ()}


def from_its_host(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step that fetches the disk from the host that the instance is on."""
    if instance.host is not None:
        yield {"endpoint": instance.host.endpoint, "host_id": instance.host.id}


def as_before_the_move(instance: Instance, command: Any) -> VmState:
    """Return active or stopped, as the instance was before it was migrated."""
    return VmState.ACTIVE if ran_before(instance, command) else VmState.STOPPED


def can_go(instance: Instance, command: MigrateInstance) -> None:
    """Raise SameHost for the instance's own host, and HasLocalVolumes where it has disks that cannot go along."""
    if instance.host is not None and command.host == instance.host.id:
        raise SameHost(id=instance.id, host=instance.host.name)
    # What is in a pool is reached from where the instance goes, or the move fails there and is undone.
    if local := [volume for volume in instance.volumes if not volume.pool_id]:
        names = ", ".join(volume.name or volume.id for volume in local)
        raise HasLocalVolumes(id=instance.id, volumes=names)


def has_moved(instance: Instance, command: Any) -> None:
    """Raise NothingToConfirm where no migration waits to be confirmed or reverted."""
    if instance.vm_state is VmState.RESIZED and instance.incoming is None:
        raise NothingToConfirm(id=instance.id)


def can_go_back(instance: Instance, command: Any) -> None:
    """Raise NothingToConfirm, or NothingToRevert where confirming has begun to delete the source host's copy."""
    has_moved(instance, command)
    if instance.migration is not None and instance.migration.status is MigrationStatus.CONFIRMING:
        raise NothingToRevert(id=instance.id)


def begun(draft: Draft[Instance], command: Any, at: datetime) -> None:
    """Emit the migration when its task is accepted."""
    instance = draft.now
    task, host = instance.task, instance.host
    assert task is not None
    assert host is not None
    migration = Migration(
        id=task.id,
        type=MigrationType.COLD,
        status=MigrationStatus.ACCEPTED,
        before=instance.vm_state,
        source_id=host.id,
        source_name=host.name,
        created=at,
        updated=at,
    )
    draft.emit(InstanceMigrationChanged(migration=migration))


def arrived(draft: Draft[Instance], task: Task, at: datetime) -> None:
    """Emit that the migration is finished and the other host is the instance's own from now on."""
    instance = draft.now
    other = instance.incoming
    assert other is not None
    _note(draft, MigrationStatus.FINISHED, at, destination_id=other.host.id, destination_name=other.host.name)
    draft.emit(InstanceMoved(power=other.power, at=at))


def failed(draft: Draft[Instance], task: Task, at: datetime) -> None:
    """Emit that the migration failed; the instance is where it was."""
    _note(draft, MigrationStatus.FAILED, at)


def confirming(draft: Draft[Instance], command: Any, at: datetime) -> None:
    """Emit that the migration is being confirmed, so that it cannot be reverted any more."""
    _note(draft, MigrationStatus.CONFIRMING, at)


def confirmed(draft: Draft[Instance], task: Task, at: datetime) -> None:
    """Emit that the migration is confirmed; the instance has one host again."""
    _note(draft, MigrationStatus.CONFIRMED, at)


def reverted(draft: Draft[Instance], task: Task, at: datetime) -> None:
    """Emit that the instance is back on its source host."""
    other = draft.now.incoming
    assert other is not None
    draft.emit(InstanceMoved(power=other.power, at=at))
    _note(draft, MigrationStatus.REVERTED, at)


def _note(draft: Draft[Instance], status: MigrationStatus, at: datetime, **changes: Any) -> None:
    migration = draft.now.migration
    if migration is not None:
        draft.emit(InstanceMigrationChanged(migration=migration.but(status=status, updated=at, **changes)))


MIGRATE = InstanceAction(
    name="migrate",
    command=MigrateInstance,
    begins=frozenset({VmState.ACTIVE, VmState.STOPPED}),
    ends=VmState.RESIZED,
    during="migrating",
    alone=True,
    check=can_go,
    accepted=begun,
    finished=arrived,
    failed=failed,
    flow=Flow(
        "migrate",
        1,
        (
            Step(Place, undo=Release, each=elsewhere, on=THERE),
            Step(PreparePort, undo=UnpreparePort, each=each_bound_nic, on=THERE),
            Step(StopGuest, undo=StartGuest, each=when(was_on)),
            Step(PrepareImage, no_undo="the host's image cache is shared, and cleans itself", on=THERE),
            Step(FetchDisk, undo=DeleteDisk, each=from_its_host, on=THERE),
            Step(
                WriteConfigDrive,
                no_undo="it goes with the disk",
                each=when(lambda instance, command: instance.config_drive),
                on=THERE,
            ),
            Step(PlugPorts, undo=UnplugPorts, on=THERE),
            Step(DefineGuest, undo=UndefineGuest, on=THERE),
            Step(StartGuest, no_undo="undefining stops it", each=when(was_on), on=THERE),
            Step(MovePort, undo=ReturnPort, each=each_bound_nic, on=THERE),
        ),
    ),
)

CONFIRM = InstanceAction(
    name="migrate-confirm",
    command=ConfirmMigration,
    begins=frozenset({VmState.RESIZED}),
    stuck=VmState.RESIZED,
    ends=None,
    ends_as=lambda instance, command: VmState.ACTIVE if runs_now(instance, command) else VmState.STOPPED,
    during="confirming",
    alone=True,
    cancellable=False,
    check=has_moved,
    accepted=confirming,
    finished=confirmed,
    flow=Flow(
        "migrate-confirm",
        1,
        (
            Step(UndefineGuest, no_undo=CLEANED, on=THERE, pivot=True),
            Step(UnplugPorts, no_undo=CLEANED, on=THERE),
            Step(DeleteDisk, no_undo=CLEANED, on=THERE),
            Step(UnpreparePort, no_undo=CLEANED, each=each_bound_nic, on=THERE),
            Step(Release, no_undo="the last step", on=THERE),
        ),
    ),
)

REVERT = InstanceAction(
    name="migrate-revert",
    command=RevertMigration,
    begins=frozenset({VmState.RESIZED}),
    ends=None,
    ends_as=as_before_the_move,
    during="reverting",
    alone=True,
    cancellable=False,
    check=can_go_back,
    finished=reverted,
    flow=Flow(
        "migrate-revert",
        1,
        (
            Step(StopGuest, undo=StartGuest, each=when(runs_now)),
            Step(MovePort, undo=ReturnPort, each=each_bound_nic),
            Step(PlugPorts, no_undo="networks without a running guest do no harm", on=THERE),
            Step(StartGuest, undo=StopGuest, each=when(ran_before), on=THERE),
            Step(UndefineGuest, no_undo=CLEANED, pivot=True),
            Step(UnplugPorts, no_undo=CLEANED),
            Step(DeleteDisk, no_undo=CLEANED),
            Step(UnpreparePort, no_undo=CLEANED, each=each_bound_nic),
            Step(Release, no_undo="the last step"),
        ),
    ),
)
