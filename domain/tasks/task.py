"""Plans and tasks: a command that takes time, as part of the state of the aggregate that it works on.

A plan is a flow bound to one task. It stands in the event that accepted the task, by step name, so that a running plan
survives an upgrade of the flow.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from domain.core.fields import PERSONAL, PERSONAL_OF_ACTOR, PLAIN
from domain.core.messages import Model, derived_id
from domain.guest_spec import HostRef
from domain.tasks.job import JOBS, HostJob, Where
from domain.tasks.messages import JobCall

MAX_STEPS_A_DISPATCH = 16


class PlannedStep(Model):
    """A step by name, as it is kept in events."""

    name: Annotated[str, PLAIN]
    undo: str | None = None
    args: Annotated[dict[str, Any], PERSONAL] = Field(default_factory=dict)
    on: Where = Where.HERE
    pivot: bool = False
    """Whether the plan only goes forward once this step is done."""


class Plan(Model):
    """A flow bound to one task."""

    flow: str
    version: int
    steps: tuple[PlannedStep, ...]


class Direction(StrEnum):
    """Whether a plan's steps are done, or undone."""

    FORWARD = "forward"
    UNDO = "undo"


class Fault(Model):
    """Why a task failed."""

    code: str
    message: Annotated[str, PERSONAL]
    step: str = ""
    details: Annotated[dict[str, Any], PERSONAL] = Field(default_factory=dict)


class Progress(Model):
    """Progress of a long step."""

    step: str
    percent: float
    """Progress from 0 to 100."""
    done: int = 0
    """Work done, in bytes."""
    total: int = 0
    """All of the work, in bytes; 0: not known."""
    at: datetime


class Dispatch(Model):
    """Steps that have been sent: their indexes in the plan, in the order they are to be done."""

    id: str
    direction: Direction
    steps: tuple[int, ...]
    attempt: int
    sent: datetime
    deadline: datetime
    started: str = ""
    """Name of the job that was last reported to have begun."""
    host: HostRef | None = None
    """Host whose agent does them; None where no host does."""
    held: bool = False
    """Whether the dispatch is not sent yet: it is tried again at the deadline."""


class Task(Model):
    """An accepted command that takes time."""

    id: str
    action: str
    actor: Annotated[str, PERSONAL_OF_ACTOR]
    project: str
    accepted: datetime
    plan: Plan
    ends: str
    """Status of the aggregate when the task is done."""
    fails: str
    """Status of the aggregate when the task fails and every step could be undone."""
    cancellable: bool = True
    beside: bool = False
    """Whether the task runs beside the aggregate's other work, and leaves its status alone."""
    params: Annotated[dict[str, Any], PERSONAL] = Field(default_factory=dict)
    """The command's fields that are not their defaults, as JSON; none for a command that creates an aggregate, whose
    event has them."""
    known: Annotated[dict[str, Any], PERSONAL] = Field(default_factory=dict)
    """Findings of finished steps, for later ones."""
    direction: Direction = Direction.FORWARD
    done: int = 0
    """Number of finished steps."""
    to_undo: tuple[int, ...] = ()
    """Indexes of the steps still to be undone, next first."""
    dispatch: Dispatch | None = None
    progress: Progress | None = None
    fault: Fault | None = None
    undo_fault: Fault | None = None
    cancelled_by: Annotated[str, PERSONAL_OF_ACTOR] = ""
    correlation: str = ""
    """Id of the request that the task is part of; empty where an earlier release accepted it."""

    @property
    def current_step(self) -> str:
        """Name of the first step that is on its way, or empty."""
        if self.dispatch is None:
            return ""
        return job_name(self.plan, self.direction, self.dispatch.steps[0])

    @property
    def past_pivot(self) -> bool:
        """Whether the task can only go forward: its pivot is done."""
        return any(step.pivot for step in self.plan.steps[: self.done])


def job_name(plan: Plan, direction: Direction, index: int) -> str:
    """Return the name of a step's job, or of the job that undoes it."""
    step = plan.steps[index]
    return step.name if direction is Direction.FORWARD else step.undo or ""


def next_steps(task: Task) -> tuple[int, ...]:
    """Return the indexes of the steps to send next: one, or all consecutive ones for the same host. Empty: at the end.

    What follows the pivot waits until that is known to be done: whether to undo depends on it, and so may the host.
    """
    forward = task.direction is Direction.FORWARD
    waiting = tuple(range(task.done, len(task.plan.steps))) if forward else task.to_undo
    together: list[int] = []
    for index in waiting[:MAX_STEPS_A_DISPATCH]:
        of_host = issubclass(JOBS[job_name(task.plan, task.direction, index)], HostJob)
        if together and (not of_host or task.plan.steps[index].on is not task.plan.steps[together[0]].on):
            break
        together.append(index)
        if not of_host or (forward and task.plan.steps[index].pivot):
            break
    return tuple(together)


def undo_order(task: Task, last: int) -> tuple[int, ...]:
    """Return the indexes of the steps to undo, the last first, where `last` is the last step that may have run."""
    return tuple(index for index in range(last, -1, -1) if task.plan.steps[index].undo)


def job_id(task: Task, direction: Direction, index: int) -> str:
    """Return the id of a step's job. It depends on task, step and direction alone, so a second attempt has the same."""
    return derived_id(task.id, direction, index)


def calls(task: Task, steps: tuple[int, ...], direction: Direction) -> tuple[JobCall, ...]:
    """Return the jobs of these steps, as they are sent."""
    return tuple(
        JobCall(
            job_id=job_id(task, direction, index),
            name=job_name(task.plan, direction, index),
            args=task.plan.steps[index].args,
        )
        for index in steps
    )


def deadline_seconds(jobs: tuple[JobCall, ...]) -> float:
    """Return how many seconds these jobs may take, one after the other."""
    return sum(JOBS[job.name].deadline for job in jobs)


def attempts(jobs: tuple[JobCall, ...]) -> int:
    """Return how often a dispatch of these jobs is tried."""
    return min(JOBS[job.name].attempts for job in jobs)
