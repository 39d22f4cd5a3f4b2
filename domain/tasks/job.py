"""Jobs: single operations that a plan has done by a host, by the scheduler, or by another aggregate.

Why classes that register themselves: a plan stores a step by the *name* of its job, so a job keeps its name and its
meaning for ever, and a new one is a class in `domain/jobs/` and nothing else. Each says how long it may take, how often
it is tried, and whom it is for.

A fact is what became known by a job. It travels in the answer and in the event about it, and applies itself to the
state of the aggregate that the task works on.
"""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from domain.core.messages import Key, Message, Model
from domain.guest_spec import Power

if TYPE_CHECKING:
    from domain.tasks.messages import Reply
    from domain.tasks.task import Task


class Where(StrEnum):
    """The host that does a step, of the aggregate's two."""

    HERE = "here"
    """The aggregate's own host."""
    THERE = "there"
    """The second host: the destination of a move, or its source."""


JOBS: dict[str, type["Job"]] = {}
"""Every job by its class name, as plans store it. Importing `domain.jobs` fills it."""


class Job(Model):
    """An operation; its fields are the arguments."""

    abstract: ClassVar[bool] = True
    deadline: ClassVar[float] = 60.0
    """Seconds until an unanswered attempt counts as lost."""
    attempts: ClassVar[int] = 2
    """How often the job is tried, the first time included."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "abstract" not in cls.__dict__ and JOBS.setdefault(cls.__name__, cls).__qualname__ != cls.__qualname__:
            raise TypeError(f"{cls.__name__} names two jobs")


class HostJob(Job):
    """A job that a host's agent does. Consecutive ones for the same host travel in one dispatch."""

    abstract: ClassVar[bool] = True
    leaves: ClassVar[Power | None] = None
    """Power state of the guest after the job; None: unchanged."""
    abortable: ClassVar[bool] = False
    """Whether the job can be stopped while it runs, without leaving anything behind."""


class SchedulerJob(Job):
    """A job that the scheduler of the subject's cell does."""

    abstract: ClassVar[bool] = True

    def message(self, subject: Any, task: "Task", reply: "Reply", where: Where) -> Message:
        """Return the command for the scheduler. `subject`: the state of the aggregate that the task works on."""
        raise NotImplementedError


class AggregateJob(Job):
    """A job that another aggregate does, which receives a command and answers."""

    abstract: ClassVar[bool] = True

    def message(self, subject: Any, task: "Task", reply: "Reply", where: Where) -> tuple[Key, Message]:
        """Return the other aggregate's key and the command. `subject`: the state of the aggregate that the task works
        on."""
        raise NotImplementedError


FACTS: dict[str, type["Fact"]] = {}
"""Every fact by its name. Importing `domain.jobs` fills it."""


class Fact(Model):
    """A finding of a job. Each class has a field `fact`, which is its name."""

    fact: str

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        name = cls.model_fields["fact"].default
        if FACTS.setdefault(name, cls).__qualname__ != cls.__qualname__:
            raise TypeError(f"{name} names two facts")

    def apply(self, subject: Any, where: Where) -> Any:
        """Return the state of the task's aggregate with this fact; `where`: at which of its hosts the job was done."""
        raise NotImplementedError

    def note(self, task: "Task") -> "Task":
        """Return the task with this fact, for its later steps."""
        return task


class _ByName:
    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _fact,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda fact: {"fact": fact.fact, **fact.model_dump(mode="json", exclude_defaults=True)}
            ),
        )


def _fact(value: Any) -> Fact:
    if isinstance(value, Fact):
        return value
    kind = FACTS.get(value.get("fact", "")) if isinstance(value, dict) else None
    if kind is None:
        raise ValueError(f"{value!r} is no fact that is known")
    return kind.model_validate(value)


AnyFact = Annotated[Fact, _ByName]
"""Type of a model's field that holds a fact of any class, read by its name."""
