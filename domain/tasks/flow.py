"""Flows: how a verb becomes steps, each with its undo or the reason why it has none.

The walk over a plan (walk.py): steps go out in order, consecutive ones for the same host together. When one fails for
good, it (it may have run) and the finished ones are undone in reverse, and the task fails with the step's error. A step
may be the pivot: before it the task can be undone, after it it only goes forward.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from domain.tasks.job import Job, Where
from domain.tasks.task import Plan, PlannedStep

S = TypeVar("S")
"""The state of the aggregate that a flow works on."""

Each = Callable[[S, Any], Iterator[dict[str, Any]]]
"""Given the aggregate's state and the command: the arguments of every job that a step stands for."""


@dataclass(frozen=True)
class Step(Generic[S]):
    """One step of a flow. `each` gives the arguments of every job it stands for; none of them: it is left out."""

    job: type[Job]
    undo: type[Job] | None = None
    no_undo: str = ""
    each: Each[S] | None = None
    on: Where = Where.HERE
    """At which of the aggregate's two hosts it is done."""
    pivot: bool = False
    """Once it is done, the task only goes forward."""

    def __post_init__(self) -> None:
        if (self.undo is None) == (self.no_undo == ""):
            raise TypeError(f"step {self.job.__name__}: name its undo, or say why it has none")


@dataclass(frozen=True)
class Flow(Generic[S]):
    """A named, versioned list of steps."""

    name: str
    version: int
    steps: tuple[Step[S], ...]

    def plan(self, subject: S, command: Any) -> Plan:
        """The steps that this command takes on this subject."""
        planned = []
        for step in self.steps:
            for given in step.each(subject, command) if step.each else iter(({},)):
                undo = step.undo.__name__ if step.undo else None
                # As they are read back: a plan that is stored is the same plan.
                args = step.job.model_validate(given).model_dump(mode="json", exclude_unset=True) if given else {}
                planned.append(PlannedStep(name=step.job.__name__, undo=undo, args=args, on=step.on, pivot=step.pivot))
        return Plan(flow=self.name, version=self.version, steps=tuple(planned))


def when(condition: Callable[[S, Any], bool], **args: Any) -> Each[S]:
    """For a step that is there only where something holds of state and command; with these arguments then."""

    def each(subject: S, command: Any) -> Iterator[dict[str, Any]]:
        if condition(subject, command):
            yield args

    return each


def fields(*names: str) -> Each[Any]:
    """For a step whose job has fields of the command as its arguments."""

    def each(subject: Any, command: Any) -> Iterator[dict[str, Any]]:
        yield {name: getattr(command, name) for name in names}

    return each
