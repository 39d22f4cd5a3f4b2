"""Flows, plans and tasks: how a verb becomes steps, and what happens when one of them fails.

Why it is pure and stands alone: everything a user fears (stuck, half done, done twice) is decided here. A flow is an
action's list of steps, each with its undo or the reason why it has none. Accepting a command binds the flow to a
plan that is written into an event by step name, so a running plan survives an upgrade of the flow.

The walk: steps go out in order, consecutive ones for the same host together. When one fails for good, it (it may
have run) and the finished ones are undone in reverse, and the task fails with the step's error.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import Field

from domain.core.messages import Model, derived_id
from domain.tasks.jobs import JOBS, Job, JobCall, Target

MAX_STEPS_A_DISPATCH = 16
STALE_ATTEMPTS = 5

S = TypeVar("S")
"""What a flow is planned for."""


@dataclass(frozen=True)
class Step(Generic[S]):
    """One step of a flow. `each` gives the arguments of every job it stands for; none of them: it is left out."""

    job: type[Job]
    undo: type[Job] | None = None
    no_undo: str = ""
    each: Callable[[S], Iterator[dict[str, Any]]] | None = None

    def __post_init__(self) -> None:
        if (self.undo is None) == (self.no_undo == ""):
            raise TypeError(f"step {self.job.__name__}: name its undo, or say why it has none")


@dataclass(frozen=True)
class Flow(Generic[S]):
    """A named, versioned list of steps."""

    name: str
    version: int
    steps: tuple[Step[S], ...]

    def plan(self, subject: S) -> "Plan":
        """The steps that this subject needs."""
        planned = []
        for step in self.steps:
            for args in step.each(subject) if step.each else iter(({},)):
                undo = step.undo.__name__ if step.undo else None
                planned.append(PlannedStep(name=step.job.__name__, undo=undo, args=args))
        return Plan(flow=self.name, version=self.version, steps=tuple(planned))


class PlannedStep(Model):
    """A step by name, as it is kept in events."""

    name: str
    undo: str | None = None
    args: dict[str, Any] = Field(default_factory=dict)


class Plan(Model):
    """A flow bound to one task."""

    flow: str
    version: int
    steps: tuple[PlannedStep, ...]


class Direction(StrEnum):
    """Doing, or taking back."""

    FORWARD = "forward"
    UNDO = "undo"


class Fault(Model):
    """Why a task failed."""

    code: str
    message: str
    step: str = ""
    details: dict[str, Any] = Field(default_factory=dict)


class Dispatch(Model):
    """Steps that are on their way: their indexes in the plan, in the order they are to be done."""

    id: str
    direction: Direction
    steps: tuple[int, ...]
    attempt: int
    sent: datetime
    deadline: datetime
    started: str = ""
    """Name of the job that was last reported to have begun."""


class Task(Model):
    """An accepted command that takes time."""

    id: str
    action: str
    actor: str
    project: str
    accepted: datetime
    plan: Plan
    ends: str
    """The status when it is done."""
    fails: str
    """The status when it fails and everything could be undone."""
    cancellable: bool = True
    params: dict[str, Any] = Field(default_factory=dict)
    """The command's fields, where the action may have to wait for another task to be undone."""
    direction: Direction = Direction.FORWARD
    done: int = 0
    """Steps finished."""
    to_undo: tuple[int, ...] = ()
    """Indexes of the steps still to be undone, next first."""
    dispatch: Dispatch | None = None
    fault: Fault | None = None
    undo_fault: Fault | None = None
    cancelled_by: str = ""
    correlation: str = ""
    """Of the request that it is part of; empty where an earlier release accepted it."""

    @property
    def current_step(self) -> str:
        """Name of the first step that is on its way, or empty."""
        if self.dispatch is None:
            return ""
        return job_name(self.plan, self.direction, self.dispatch.steps[0])


def job_name(plan: Plan, direction: Direction, index: int) -> str:
    """The job of a step, or of its undo."""
    step = plan.steps[index]
    return step.name if direction is Direction.FORWARD else step.undo or ""


def next_steps(task: Task) -> tuple[int, ...]:
    """Indexes of what to send next: one step, or all that follow one another for the same host. Empty: at the end."""
    forward = task.direction is Direction.FORWARD
    waiting = tuple(range(task.done, len(task.plan.steps))) if forward else task.to_undo
    together: list[int] = []
    for index in waiting[:MAX_STEPS_A_DISPATCH]:
        target = JOBS[job_name(task.plan, task.direction, index)].target
        if together and target is not Target.HOST:
            break
        together.append(index)
        if target is not Target.HOST:
            break
    return tuple(together)


def undo_order(task: Task, last: int) -> tuple[int, ...]:
    """What to undo where `last` is the last step that has run or may have: that one and those before, last first."""
    return tuple(index for index in range(last, -1, -1) if task.plan.steps[index].undo)


def job_id(task: Task, direction: Direction, index: int) -> str:
    """Of a step's job. It depends on task, step and direction alone, so that a second attempt has the same."""
    return derived_id(task.id, direction, index)


def calls(task: Task, steps: tuple[int, ...], direction: Direction) -> tuple[JobCall, ...]:
    """The jobs for these steps."""
    return tuple(
        JobCall(
            job_id=job_id(task, direction, index),
            name=job_name(task.plan, direction, index),
            args=task.plan.steps[index].args,
        )
        for index in steps
    )


def deadline_seconds(jobs: tuple[JobCall, ...]) -> float:
    """Seconds these jobs may take, one after the other."""
    return sum(JOBS[job.name].deadline for job in jobs)


def attempts(jobs: tuple[JobCall, ...]) -> int:
    """How often this dispatch is tried."""
    return min(JOBS[job.name].attempts for job in jobs)
