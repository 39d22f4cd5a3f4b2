"""What a row of the table of kinds is: all that is to be said once of a kind of aggregate.

Why a row: who decides, what is stored, what is listed, what the API and `gs` offer all follow from it, so a new kind
is in every one of those places, or in none.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from domain.core.messages import Command, Decision, Envelope, Event, Model
from domain.tasks.action import Action
from domain.tasks.subject import TaskSubject

FilterType = Literal["text", "bigint", "boolean", "timestamptz", "text[]"]


class DecidedBy(StrEnum):
    """The process that decides for a kind's aggregates; also the name of the write store that holds them."""

    ENGINE = "engine"
    SCHEDULER = "scheduler"
    """That of the cell that the aggregate belongs to."""


class Unique(StrEnum):
    """Where a name can be given once only; then the aggregate's id is made of it."""

    NOWHERE = "nowhere"
    PROJECT = "project"
    EVERYWHERE = "everywhere"


class Decider(Protocol):
    """A module that decides for a kind."""

    def decide(self, now: Any, envelope: Envelope, /) -> Decision:
        """What follows from the record; raises a Refusal."""


@dataclass(frozen=True)
class ListFilter:
    """A field by which a kind's list can be narrowed, besides name and project."""

    field: str
    """Of the document; also the column's name and the query parameter's."""
    help: str
    """What is listed then, as "In one of these statuses"."""
    type: FilterType = "text"
    several: bool = False
    """Any of several values, separated by commas."""
    refers: str = ""
    """Kind of what the field has the id of: people may write its name."""


@dataclass(frozen=True)
class Kind:
    """A kind of aggregate."""

    name: str
    help: str
    """What it is, in one sentence, in the plural."""
    state: type[Model]
    evolve: Callable[[Any, Event, str], Model]
    decider: str = ""
    """The module whose `decide` decides for it; empty: the one that declares its state."""
    plural: str = ""
    """Empty: the name with an s. Also the name of its view and the path of its list."""
    decided_by: DecidedBy = DecidedBy.ENGINE
    unique: Unique = Unique.NOWHERE
    actions: Mapping[str, Action[Any]] = field(default_factory=dict)
    """Its verbs that are tasks, by name."""
    create: type[Command] | None = None
    """Where the ordinary request makes one: its fields are those of the request."""
    update: type[Command] | None = None
    """As `create`; a field that is None stays as it is."""
    delete: type[Command] | None = None
    filters: tuple[ListFilter, ...] = ()
    hidden: frozenset[str] = frozenset()
    """Fields of the state that no document shows."""
    shown: tuple[str, ...] = ()
    """Fields that a list for people has between name and moment of creation."""

    def __post_init__(self) -> None:
        if not self.plural:
            object.__setattr__(self, "plural", f"{self.name}s")

    @property
    def with_tasks(self) -> bool:
        """Whether tasks work on it."""
        return issubclass(self.state, TaskSubject)

    @property
    def born_in_task(self) -> bool:
        """Whether the command that makes one is accepted as a task at once."""
        return any(action.creates for action in self.actions.values())

    @property
    def of_projects(self) -> bool:
        """Whether each belongs to a project."""
        return "project" in self.state.model_fields

    def permission(self, verb: str) -> str:
        """What whoever asks for the verb has to be allowed."""
        action = self.actions.get(verb)
        return (action.permission if action else "") or f"{self.name}:{verb}"

    def load_decider(self) -> Decider:
        """The module that decides for it. Imported when it is asked for: who only replays never loads it."""
        module: Any = importlib.import_module(self.decider or self.state.__module__)
        decider: Decider = module
        return decider
