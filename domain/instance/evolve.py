"""The fold: an instance's state after an event. Total and blind: no clock, no tables, no refusals.

A changed action table never rewrites history, because an event holds the resulting facts and this reads nothing
else.
"""

from collections.abc import Iterable
from datetime import datetime

from domain.core.cells import DEFAULT_CELL
from domain.core.messages import Event
from domain.instance.events import (
    InstanceCellChanged,
    InstanceCreated,
    InstanceHostRenewed,
    InstancePowerChanged,
    InstancePurgeScheduled,
    InstanceUpdated,
)
from domain.instance.state import Instance, VmState
from domain.tasks.events import (
    StepFailed,
    StepsDispatched,
    StepsFinished,
    StepStarted,
    TaskAccepted,
    TaskCancelRequested,
    TaskFailed,
    TaskFinished,
    TaskPlanned,
)
from domain.tasks.flow import Direction
from domain.tasks.jobs import (
    Fact,
    Nic,
    Placed,
    PortBound,
    PortUnbound,
    Power,
    PowerSeen,
    Released,
)


def evolve(now: Instance | None, event: Event, subject_id: str) -> Instance:
    """The instance after this event. Raises TypeError for an event that is none of an instance's."""
    if isinstance(event, InstanceCreated):
        cell = event.cells[0] if event.cells else DEFAULT_CELL
        given = {name: getattr(event, name) for name in _CREATED}
        return Instance(id=subject_id, updated=event.created, cell=cell, **given)
    if now is None:
        raise TypeError(f"{event.type_name} cannot be the first event of instance {subject_id}")
    match event:
        case InstanceUpdated():
            changed = {
                name: value
                for name in ("name", "description", "metadata")
                if (value := getattr(event, name)) is not None
            }
            return now.but(updated=event.at, **changed)
        case InstancePowerChanged():
            return now.but(power=event.power, vm_state=event.vm_state, updated=event.at)
        case InstanceHostRenewed():
            if now.host is None or now.host.id != event.host_id:
                return now
            return now.but(host=now.host.but(epoch=event.epoch))
        case InstanceCellChanged():
            return now.but(cell=event.cell)
        case InstancePurgeScheduled():
            return now.but(purge_at=event.at, before_delete=event.before)
        case TaskAccepted():
            task = event.task
            if event.queued:
                return now.but(queued=task, updated=task.accepted)
            return now.but(task=task, updated=task.accepted)
        case TaskPlanned():
            return now.but(task=event.task, queued=None)
        case TaskFinished():
            return _ended(now, VmState(event.vm_state), event.finished).but(
                fault=None, launched=now.launched or (event.finished if event.vm_state == VmState.ACTIVE else None)
            )
        case TaskFailed():
            return _ended(now, VmState(event.vm_state), event.finished).but(
                fault=None if event.cancelled and event.vm_state != VmState.ERROR else event.fault
            )
        case _:
            return _during_task(now, event)


_CREATED = list(InstanceCreated.model_fields)


def _ended(now: Instance, vm_state: VmState, at: datetime) -> Instance:
    return now.but(
        task=None,
        vm_state=vm_state,
        purge_at=now.purge_at if vm_state is VmState.SOFT_DELETED else None,
        updated=at,
        deleted=at if vm_state is VmState.DELETED else now.deleted,
    )


def _during_task(now: Instance, event: Event) -> Instance:
    task = now.task
    if task is None:
        raise TypeError(f"{event.type_name} needs a running task on instance {now.id}")
    match event:
        case StepsDispatched():
            return now.but(task=task.but(dispatch=event.dispatch))
        case StepStarted():
            if task.dispatch is None or task.dispatch.id != event.dispatch_id:
                return now
            return now.but(task=task.but(dispatch=task.dispatch.but(started=event.job)))
        case StepsFinished():
            # What else was sent with them is still on the record: it may be what fails next.
            waiting = tuple(index for index in task.dispatch.steps if index not in event.steps) if task.dispatch else ()
            dispatch = task.dispatch.but(steps=waiting) if task.dispatch and waiting else None
            if event.direction is Direction.FORWARD:
                task = task.but(done=task.done + len(event.steps), dispatch=dispatch)
            else:
                left = tuple(index for index in task.to_undo if index not in event.steps)
                task = task.but(to_undo=left, dispatch=dispatch)
            return _learn(now.but(task=task), event.facts)
        case StepFailed():
            if event.direction is Direction.FORWARD:
                task = task.but(direction=Direction.UNDO, to_undo=event.to_undo, fault=event.fault, dispatch=None)
            else:
                task = task.but(to_undo=event.to_undo, undo_fault=task.undo_fault or event.fault, dispatch=None)
            return now.but(task=task)
        case TaskCancelRequested():
            return now.but(task=task.but(cancelled_by=event.by))
        case _:
            raise TypeError(f"{event.type_name} is no event of an instance")


def _learn(now: Instance, facts: Iterable[Fact]) -> Instance:
    for fact in facts:
        match fact:
            case Placed():
                now = now.but(host=fact.host)
            case Released():
                now = now.but(host=None, power=Power.NONE)
            case PortBound():
                now = now.but(nics=_with_nic(now.nics, fact.nic, fact.port))
            case PortUnbound():
                old = now.nics[fact.nic]
                blank = Nic(
                    network_id=old.network_id,
                    network_name=old.network_name,
                    keep_port=old.keep_port,
                    port_id=old.port_id if old.keep_port else "",
                )
                now = now.but(nics=_with_nic(now.nics, fact.nic, blank))
            case PowerSeen():
                now = now.but(power=fact.power)
    return now


def _with_nic(nics: tuple[Nic, ...], index: int, nic: Nic) -> tuple[Nic, ...]:
    return (*nics[:index], nic, *nics[index + 1 :])
