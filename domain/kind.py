"""The row of a kind of aggregate: everything that is declared once about it.

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
FilterForm = Literal["", "pattern", "address", "range"]
"""How the text of a filter is read: as it is, as a name in which * stands for anything, as an IP address, as a range of
times."""


class DecidedBy(StrEnum):
    """The process that decides for a kind's aggregates; also the name of the write store that holds them."""

    ENGINE = "engine"
    SCHEDULER = "scheduler"
    """The scheduler of the cell that the aggregate belongs to."""


class Unique(StrEnum):
    """Scope in which a name is unique. The id of the first that has a name is then derived from the name, and that of
    each later one from the id before: a name that is free again is another thing's."""

    NOWHERE = "nowhere"
    PROJECT = "project"
    EVERYWHERE = "everywhere"


class Decider(Protocol):
    """A module that decides for a kind."""

    def decide(self, now: Any, envelope: Envelope, /) -> Decision:
        """Return the effects of the record. Raises a Refusal."""


@dataclass(frozen=True)
class ListFilter:
    """A parameter by which a list is filtered."""

    field: str
    """Name of the query parameter, and of the column unless `column` says another."""
    help: str
    """Meaning of the filter, as "In one of these statuses"."""
    type: FilterType = "text"
    column: str = ""
    """Name of the view's column; empty: the name of the parameter."""
    form: FilterForm = ""
    several: bool = False
    """Whether it takes several values, separated by commas, of which any matches."""
    values: tuple[str, ...] = ()
    """The values that the field can have; empty: any."""
    refers: str = ""
    """Kind whose id the field holds: people may write its name."""
    by_name: bool = False
    """Whether the field holds the name of what it refers to, instead of its id."""
    tells_deleted: bool = False
    """Whether a value tells that a thing is deleted: asking for it then asks for what is deleted, too."""

    def __post_init__(self) -> None:
        if not self.column:
            object.__setattr__(self, "column", self.field)


@dataclass(frozen=True)
class Kind:
    """A kind of aggregate, as one row of the table."""

    name: str
    help: str
    """The kind in one sentence, in the plural."""
    state: type[Model]
    evolve: Callable[[Any, Event, str], Model]
    decider: str = ""
    """Module whose `decide` decides for it; empty: the module that declares its state."""
    plural: str = ""
    """Plural of the name, also the name of its view and the path of its list; empty: the name with an s."""
    decided_by: DecidedBy = DecidedBy.ENGINE
    unique: Unique = Unique.NOWHERE
    actions: Mapping[str, Action[Any]] = field(default_factory=dict)
    """Name of a verb that is a task -> its row."""
    create: type[Command] | None = None
    """Command of the ordinary create request, whose fields are the request's; None: there is no such request."""
    update: type[Command] | None = None
    """Command of the ordinary update request; a field that is None stays as it is."""
    delete: type[Command] | None = None
    filters: tuple[ListFilter, ...] = ()
    """Filters of its list, besides those by name, by project, and by whether a thing is deleted."""
    hidden: frozenset[str] = frozenset()
    """Names of the state's fields that no document shows."""
    computed: tuple[str, ...] = ()
    """Names of the state's properties that a document shows besides its fields."""
    shown: tuple[str, ...] = ()
    """Names of the fields that a list for people shows between name and time of creation."""

    def __post_init__(self) -> None:
        if not self.plural:
            object.__setattr__(self, "plural", f"{self.name}s")

    @property
    def with_tasks(self) -> bool:
        """Whether tasks work on aggregates of this kind."""
        return issubclass(self.state, TaskSubject)

    @property
    def born_in_task(self) -> bool:
        """Whether the command that creates an aggregate is accepted as a task at once."""
        return any(action.creates for action in self.actions.values())

    @property
    def of_projects(self) -> bool:
        """Whether each aggregate belongs to a project."""
        return "project" in self.state.model_fields

    def permission(self, verb: str) -> str:
        """Return the permission that a caller needs for the verb."""
        action = self.actions.get(verb)
        return (action.permission if action else "") or f"{self.name}:{verb}"

    def load_decider(self) -> Decider:
        """Return the module that decides for it, imported on demand: a process that only replays never loads it."""
        module: Any = importlib.import_module(self.decider or self.state.__module__)
        decider: Decider = module
        return decider
