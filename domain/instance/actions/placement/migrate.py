"""migrate: a cold move to another host, in two steps; migrate-confirm and migrate-revert end it (undecided.py).

Migrate: Place · PreparePort (each NIC) · StopGuest · PrepareImage · FetchDisk · WriteConfigDrive · PlugPorts ·
DefineGuest · StartGuest · MovePort (each NIC), all but stopping the guest at the other host. Undone in reverse: the
guest runs where it was. Until the move is confirmed the first host keeps disk, definition and claim.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

from domain.core.errors import HasLocalVolumes, SameHost
from domain.core.fields import Refers
from domain.instance.action import InstanceAction, InstanceCommand, each_bound_nic, local_volumes, must_have_local_root
from domain.instance.events import InstanceMigrationChanged, InstanceMoved
from domain.instance.migration import Migration, MigrationStatus, MigrationType
from domain.instance.state import Instance, VmState
from domain.jobs.disk import DeleteDisk, PrepareImage, WriteConfigDrive
from domain.jobs.guest import DefineGuest, StartGuest, StopGuest, UndefineGuest
from domain.jobs.migration import FetchDisk, MovePort, PreparePort, ReturnPort, UnpreparePort
from domain.jobs.network import PlugPorts, UnplugPorts
from domain.jobs.scheduling import Place, Release
from domain.tasks.draft import Draft
from domain.tasks.flow import Each, Flow, Step, when
from domain.tasks.job import Where
from domain.tasks.task import Task

THERE = Where.THERE


class MigrateInstance(InstanceCommand):
    """Move an instance to another host; it is off meanwhile, and the move is to be confirmed or reverted."""

    host: Annotated[str, Refers("host")] = ""
    """The host to move to; none: the scheduler chooses."""


def was_on(instance: Instance, command: Any) -> bool:
    """Return whether the guest ran when the task began."""
    return instance.vm_state is VmState.ACTIVE


def elsewhere(instance: Instance, command: MigrateInstance) -> Iterator[dict[str, Any]]:
    """Yield a step with the requested host, or any but the instance's own."""
    yield {"wanted_host": command.host, "avoid": (instance.host.id,) if instance.host else ()}


def from_its_host(instance: Instance, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step that fetches the disk from the host that the instance is on."""
    if instance.host is not None:
        yield {"endpoint": instance.host.endpoint, "host_id": instance.host.id}


def can_go(instance: Instance, command: MigrateInstance) -> None:
    """Raise SameHost for the instance's own host, and RootIsVolume or HasLocalVolumes where it has disks that cannot go
    along."""
    if instance.host is not None and command.host == instance.host.id:
        raise SameHost(id=instance.id, host=instance.host.name)
    must_have_local_root(instance, "migrate", "Delete it, and boot another one from the volume on that host.")
    # What is in a pool is reached from where the instance goes, or the move fails there and is undone.
    if names := local_volumes(instance):
        raise HasLocalVolumes(id=instance.id, volumes=names)


def begin(draft: Draft[Instance], kind: MigrationType, at: datetime, **more: Any) -> None:
    """Emit the migration when its task is accepted. `more`: further fields of it."""
    instance = draft.now
    task, host = instance.task, instance.host
    assert task is not None
    assert host is not None
    migration = Migration(
        id=task.id,
        type=kind,
        status=MigrationStatus.ACCEPTED,
        before=instance.vm_state,
        source_id=host.id,
        source_name=host.name,
        created=at,
        updated=at,
        **more,
    )
    draft.emit(InstanceMigrationChanged(migration=migration))


def begun(draft: Draft[Instance], command: Any, at: datetime) -> None:
    """Emit that a cold migration begins."""
    begin(draft, MigrationType.COLD, at)


def note(draft: Draft[Instance], status: MigrationStatus, at: datetime, **changes: Any) -> None:
    """Emit another status of the instance's migration, and other values of these fields."""
    migration = draft.now.migration
    if migration is not None:
        draft.emit(InstanceMigrationChanged(migration=migration.but(status=status, updated=at, **changes)))


def arrive(draft: Draft[Instance], at: datetime, **changes: Any) -> None:
    """Emit that the migration is finished and the other host is the instance's own from now on. `changes`: other values
    of fields of the migration."""
    other = draft.now.incoming
    assert other is not None
    there = {"destination_id": other.host.id, "destination_name": other.host.name}
    note(draft, MigrationStatus.FINISHED, at, **there, **changes)
    draft.emit(InstanceMoved(power=other.power, at=at))


def arrived(draft: Draft[Instance], task: Task, at: datetime) -> None:
    """Emit that the instance is on its destination."""
    arrive(draft, at)


def failed(draft: Draft[Instance], task: Task, at: datetime) -> None:
    """Emit that the migration failed; the instance is where it was."""
    note(draft, MigrationStatus.FAILED, at)


def moving(place: Each[Instance], *there: Step[Instance]) -> tuple[Step[Instance], ...]:
    """Return the steps that move an instance. `place`: the arguments of the one that chooses a host; `there`: further
    steps, which follow when the disk has come."""
    return (
        Step(Place, undo=Release, each=place, on=THERE),
        Step(PreparePort, undo=UnpreparePort, each=each_bound_nic, on=THERE),
        Step(StopGuest, undo=StartGuest, each=when(was_on)),
        Step(PrepareImage, no_undo="the host's image cache is shared, and cleans itself", on=THERE),
        Step(FetchDisk, undo=DeleteDisk, each=from_its_host, on=THERE),
        *there,
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
    )


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
    flow=Flow("migrate", 1, moving(elsewhere)),
)
