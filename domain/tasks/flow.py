"""Flows: how a verb becomes steps, each with its undo or the reason why it has none.

The walk over a plan (walk.py): steps go out in order, consecutive ones for the same host together. When one fails for
good, it (it may have run) and the finished ones are undone in reverse, and the task fails with the step's error. A step
may be the pivot: before it the task can be undone, after it it only goes forward.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from domain.tasks.job import Job, Where
from domain.tasks.task import Plan, PlannedStep

S = TypeVar("S")
"""The state of the aggregate that a flow works on."""

Each = Callable[[S, Any], Iterator[dict[str, Any]]]
"""Given the aggregate's state and the command: the arguments of every job that a step stands for."""


@dataclass(frozen=True)
class Step(Generic[S]):
    """A step of a flow. `each` yields the arguments of every job it stands for; without any, the step is left out."""

    job: type[Job]
    undo: type[Job] | None = None
    no_undo: str = ""
    each: Each[S] | None = None
    on: Where = Where.HERE
    """The host that does the step, of the aggregate's two."""
    pivot: bool = False
    """Whether the task only goes forward once this step is done."""

    def __post_init__(self) -> None:
        if (self.undo is None) == (self.no_undo == ""):
            raise TypeError(f"step {self.job.__name__}: name its undo, or say why it has none")

    @cached_property
    def without_args(self) -> PlannedStep:
        """The step as it stands in every plan where its job has no arguments."""
        undo = self.undo.__name__ if self.undo else None
        return PlannedStep(name=self.job.__name__, undo=undo, on=self.on, pivot=self.pivot)

    def planned(self, args: dict[str, Any]) -> PlannedStep:
        """Return the step as it stands in a plan with these arguments of its job."""
        if not args:
            return self.without_args
        # As they are read back: a plan that is stored is the same plan.
        return self.without_args.but(args=self.job.model_validate(args).model_dump(mode="json", exclude_unset=True))


@dataclass(frozen=True)
class Flow(Generic[S]):
    """A named, versioned list of steps."""

    name: str
    version: int
    steps: tuple[Step[S], ...]

    def plan(self, subject: S, command: Any) -> Plan:
        """Return the plan for this command on this aggregate."""
        planned = [
            step.planned(args) for step in self.steps for args in (step.each(subject, command) if step.each else ({},))
        ]
        return Plan(flow=self.name, version=self.version, steps=tuple(planned))


def when(condition: Callable[[S, Any], bool], **args: Any) -> Each[S]:
    """Return an `each` for a step that depends on a condition on state and command; its job has these arguments."""

    def each(subject: S, command: Any) -> Iterator[dict[str, Any]]:
        if condition(subject, command):
            yield args

    return each


def fields(*names: str) -> Each[Any]:
    """Return an `each` for a step whose job has fields of the command as its arguments."""

    def each(subject: Any, command: Any) -> Iterator[dict[str, Any]]:
        yield {name: getattr(command, name) for name in names}

    return each
