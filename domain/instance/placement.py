"""Placement of an instance: when no host of a cell is suitable, the next of its cells is tried, one at a time, so that
no two can hold a claim. When its own host has no room for another size, it is resized on another host."""

from domain.core.errors import HostFull, NoValidHost
from domain.instance.actions.placement import resize
from domain.instance.events import InstanceCellChanged, InstanceHostRenewed
from domain.instance.state import Instance
from domain.jobs.scheduling import Place, ResizeClaim
from domain.tasks.action import Reaction
from domain.tasks.draft import Draft
from domain.tasks.events import TaskPlanned
from domain.tasks.job import Where
from domain.tasks.messages import JobCall, JobError
from domain.tasks.task import Direction, Task


def react(draft: Draft[Instance], task: Task, call: JobCall, error: JobError, most: int) -> Reaction:
    """Return how often a failed job is tried: as its class allows; a placement once more for each cell tried before."""
    if call.name == ResizeClaim.__name__ and error.code == HostFull.code and task.direction is Direction.FORWARD:
        return _resized_elsewhere(draft, task, error, most)
    moving = bool(task.dispatch and task.plan.steps[task.dispatch.steps[0]].on is Where.THERE)
    if call.name != Place.__name__ or moving:
        return Reaction(error, most)
    most += draft.now.cells_before
    if error.code != NoValidHost.code or task.cancelled_by:
        return Reaction(error, most)
    if draft.now.next_cell:
        draft.emit(InstanceCellChanged(cell=draft.now.next_cell, before=draft.now.cell, why=error.message))
        return Reaction(error, most, again=True)
    return Reaction(_nowhere(draft.now, error), most)


def _resized_elsewhere(draft: Draft[Instance], task: Task, error: JobError, most: int) -> Reaction:
    """Have a resize that its host has no room for go on as a move to another host."""
    plan = None if task.cancelled_by or task.past_pivot else resize.elsewhere(draft.now, task)
    if plan is None:
        return Reaction(error, 1)
    draft.emit(TaskPlanned(task_id=task.id, task=task.but(plan=plan, done=1, dispatch=None)))
    return Reaction(error, most, again=True)


def renewed(draft: Draft[Instance], host_id: str, epoch: int) -> None:
    """Emit that a host of the instance has registered again."""
    draft.emit(InstanceHostRenewed(host_id=host_id, epoch=epoch))


def _nowhere(instance: Instance, error: JobError) -> JobError:
    """Return the refusal for all cells, where the last one's speaks only of itself."""
    if not instance.cells_before:
        return error
    others = ", ".join(instance.cells[: instance.cells_before])
    return error.but(message=f"{error.message} That is cell {instance.cell}; {others} had none before it.")
