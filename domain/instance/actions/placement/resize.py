"""resize: another flavor, or a larger root disk, in two steps; resize-confirm and resize-revert end it (undecided.py).

On the instance's host, where that has room for it: ResizeClaim · StopGuest · DropOldDisk · KeepDisk · GrowDisk ·
ResizeGuest · PlugPorts · StartGuest. Else on another one: the steps of a migration, with GrowDisk there; the plan is
made anew when the scheduler says that there is no room.

Until the resize is confirmed the instance can go back exactly. The root disk as it was is kept, here beside its copy or
on the source host, and so are the resources it needs: here the host holds the larger amount of processors and memory,
and room for both disks. A copy and no overlay on the old disk: no chain grows with each resize, confirming removes a
file where a merge would have to rewrite a disk in use, and reverting renames one. The copy has what the instance
changed of its image, and is made while the guest is off; a file system that shares blocks (XFS, btrfs) makes it at
once.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import Field

from domain.core.errors import Invalid, SameSize
from domain.core.fields import BYTES, OPERATORS_ONLY, Refers
from domain.core.text import in_units
from domain.guest_spec import LARGEST_DISK, SMALLEST_DISK, FlavorRef
from domain.instance.action import HARMLESS, InstanceAction, InstanceCommand, if_local_root, must_have_local_root
from domain.instance.actions.placement.migrate import arrive, begin, failed, moving, note, was_on
from domain.instance.events import InstanceResized
from domain.instance.migration import InstanceSize, MigrationStatus, MigrationType
from domain.instance.state import Instance, VmState
from domain.jobs.disk import DropOldDisk, GrowDisk, KeepDisk, RestoreDisk
from domain.jobs.guest import DefineGuest, ResizeGuest, StartGuest, StopGuest
from domain.jobs.network import PlugPorts
from domain.jobs.scheduling import ResizeClaim, RestoreClaim
from domain.tasks.draft import Draft
from domain.tasks.flow import Flow, Step, when
from domain.tasks.job import Where
from domain.tasks.task import Plan, Task


class ResizeInstance(InstanceCommand):
    """Give an instance another flavor; it is off meanwhile, and the resize is to be confirmed or reverted."""

    flavor: Annotated[FlavorRef, Refers("flavor")]
    """Flavor that the instance is to have."""
    disk: Annotated[int | None, BYTES, Field(ge=SMALLEST_DISK, le=LARGEST_DISK, multiple_of=512)] = None
    """Size that the root disk is to have, in bytes, not less than it has; none: the flavor's, else the one it has."""
    confirm_after: Annotated[float, OPERATORS_ONLY] = 0.0
    """Seconds after which the resize is confirmed automatically; 0: never."""


def wanted(instance: Instance, command: ResizeInstance) -> InstanceSize:
    """Return the size that the instance is to have: the flavor's root disk, unless the command says another."""
    disk = command.disk or command.flavor.disk if instance.root is None else 0
    return InstanceSize(flavor=command.flavor, disk=disk or instance.disk)


def can_have(instance: Instance, command: ResizeInstance) -> None:
    """Raise SameSize for the size that the instance has, Invalid for a root disk that is smaller, and RootIsVolume for
    another size of one that is a volume."""
    if command.disk is not None:
        must_have_local_root(instance, "resize with another disk", "Extend the volume: gs volume extend.")
    if (disk := wanted(instance, command).disk) < instance.disk:
        has = f"the root disk has {in_units(instance.disk)}, and never shrinks"
        if command.disk is not None:
            raise Invalid(field="disk", value=in_units(disk), allowed=has)
        allowed = f"{has}, and the flavor's has {in_units(disk)}; name its size to keep it (disk)"
        raise Invalid(field="flavor", value=command.flavor.name, allowed=allowed)
    if wanted(instance, command) == instance.size:
        raise SameSize(id=instance.id, flavor=instance.flavor.name)


def claim_of_both(instance: Instance, command: ResizeInstance) -> Iterator[dict[str, Any]]:
    """Yield a step with what is reserved for the instance, and what is while it can have either size."""
    yield {"before": instance.resources(), "after": wanted(instance, command).beside(instance.size)}


def new_size(instance: Instance, command: ResizeInstance) -> Iterator[dict[str, Any]]:
    """Yield a step with the flavor and the root disk's size that the instance is to have."""
    size = wanted(instance, command)
    yield {"flavor": size.flavor, "disk": size.disk}


def if_larger(instance: Instance, command: ResizeInstance) -> Iterator[dict[str, Any]]:
    """Yield a step with the root disk's size, where that is to be another."""
    if (size := wanted(instance, command).disk) != instance.disk:
        yield {"size": size}


def any_other(instance: Instance, command: ResizeInstance) -> Iterator[dict[str, Any]]:
    """Yield a step that takes any host but the instance's own."""
    yield {"avoid": (instance.host.id,) if instance.host else ()}


def begun(draft: Draft[Instance], command: ResizeInstance, at: datetime) -> None:
    """Emit that a resize begins, from one size to the other."""
    instance = draft.now
    begin(draft, MigrationType.RESIZE, at, old_size=instance.size, new_size=wanted(instance, command))


def resized(draft: Draft[Instance], task: Task, at: datetime) -> None:
    """Emit that the instance has its new size, here or on another host, and until when that can be reverted."""
    instance, after = draft.now, ResizeInstance.model_validate(task.params).confirm_after
    until = {"confirm_at": at + timedelta(seconds=after) if after else None}
    if instance.incoming is not None:
        arrive(draft, at, **until)
        return
    migration, host = instance.migration, instance.host
    assert migration is not None
    assert migration.new_size is not None
    assert host is not None
    note(draft, MigrationStatus.FINISHED, at, destination_id=host.id, destination_name=host.name, **until)
    draft.emit(InstanceResized(flavor=migration.new_size.flavor, disk=migration.new_size.disk, at=at))


def elsewhere(instance: Instance, task: Task) -> Plan | None:
    """Return the plan of a resize on another host, for one whose own has no room; None where it cannot go there."""
    if task.plan.flow != RESIZE.flow.name or instance.volumes:
        return None
    plan = MOVE.plan(instance, ResizeInstance.model_validate(task.params))
    # The first step was refused: undone once more, it changes nothing.
    return plan.but(steps=(*task.plan.steps[:1], *plan.steps))


MOVE = Flow[Instance](
    "resize-elsewhere",
    1,
    moving(any_other, Step(GrowDisk, no_undo="it goes with the disk", each=if_larger, on=Where.THERE)),
)

RESIZE = InstanceAction(
    name="resize",
    command=ResizeInstance,
    begins=frozenset({VmState.ACTIVE, VmState.STOPPED}),
    ends=VmState.RESIZED,
    during="resizing",
    alone=True,
    check=can_have,
    accepted=begun,
    finished=resized,
    failed=failed,
    flow=Flow(
        "resize",
        2,
        (
            Step(ResizeClaim, undo=RestoreClaim, each=claim_of_both),
            Step(StopGuest, undo=StartGuest, each=when(was_on)),
            Step(
                DropOldDisk, no_undo="what a task that failed has left is no disk of the instance", each=if_local_root
            ),
            Step(KeepDisk, undo=RestoreDisk, each=if_local_root),
            Step(GrowDisk, no_undo="it goes with the copy", each=if_larger),
            Step(ResizeGuest, undo=DefineGuest, each=new_size),
            Step(PlugPorts, no_undo=HARMLESS, each=when(was_on)),
            Step(StartGuest, undo=StopGuest, each=when(was_on)),
        ),
    ),
)
