"""The fold: an instance's state after an event. Total and pure: no clock, no tables, no refusals.

A changed action table never rewrites history, because an event holds the resulting facts and this reads nothing
else.
"""

from domain.core.cells import DEFAULT_CELL
from domain.core.messages import Event
from domain.instance.events import (
    InstanceCellChanged,
    InstanceCloned,
    InstanceCreated,
    InstanceHostnameChanged,
    InstanceHostRenewed,
    InstanceMigrationChanged,
    InstanceMoved,
    InstancePowerChanged,
    InstancePurgeScheduled,
    InstanceRebuilt,
    InstanceRescued,
    InstanceResized,
    InstanceSecondPowerChanged,
    InstanceShelved,
    InstanceUpdated,
    InstanceVolumeExtended,
)
from domain.instance.state import Instance
from domain.tasks.events import TaskEvent
from domain.tasks.job import Where
from domain.tasks.subject import evolve_task


def evolve(now: Instance | None, event: Event, subject_id: str) -> Instance:
    """Return the instance after this event. Raises TypeError for an event of another kind."""
    if isinstance(event, InstanceCreated):
        cell = event.cells[0] if event.cells else DEFAULT_CELL
        given = {name: getattr(event, name) for name in _CREATED}
        return Instance(id=subject_id, updated=event.created, cell=cell, **given)
    if now is None:
        raise TypeError(f"{event.type_name} cannot be the first event of instance {subject_id}")
    match event:
        # Nine of ten events are of this kind.
        case TaskEvent():
            instance: Instance = evolve_task(now, event)
            return instance
        case InstanceUpdated():
            changed = {
                name: value
                for name in ("name", "description", "metadata")
                if (value := getattr(event, name)) is not None
            }
            return now.but(updated=event.at, **changed)
        case InstanceHostnameChanged():
            return now.but(hostname=event.hostname, updated=event.at)
        case InstancePowerChanged():
            seen = now.observed(event.power, Where.HERE, unsettled=now.task is not None)
            return seen.but(vm_state=event.vm_state, updated=event.at)
        case InstanceSecondPowerChanged():
            return now.observed(event.power, Where.THERE, unsettled=now.task is not None).but(updated=event.at)
        case InstanceHostRenewed():
            return now.renewed(event.host_id, event.epoch)
        case InstanceCellChanged():
            return now.but(cell=event.cell)
        case InstanceMigrationChanged():
            return now.but(migration=event.migration, updated=event.migration.updated)
        case InstanceMoved():
            return now.moved(event.power, event.at)
        case InstanceResized():
            return now.but(flavor=event.flavor, disk=event.disk, updated=event.at)
        case InstanceRebuilt():
            return now.but(image=event.image, updated=event.at)
        case InstanceRescued():
            return now.but(rescue_image=event.image, updated=event.at)
        case InstanceCloned():
            return now.but(disk_image=event.image, updated=event.at)
        case InstanceShelved():
            return now.but(disk_image=event.image, offload_at=event.offload_at, updated=event.at)
        case InstanceVolumeExtended():
            return now.with_volume_size(event.volume_id, event.size).but(updated=event.at)
        case InstancePurgeScheduled():
            return now.but(purge_at=event.at, before_delete=event.before)
        case _:
            raise TypeError(f"{event.type_name} is no event of an instance")


_CREATED = list(InstanceCreated.model_fields)
