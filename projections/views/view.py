"""A read model is a table of ready documents, with columns to find them by.

Why documents: a page of a list is read as it is sent. Documents are not put together at read time, so reading is quick
at any depth. A view is a file: its columns, and a pure function from a change to its rows.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from domain.core.frozen import frozen
from domain.core.messages import Envelope, Event, Key

ColumnType = Literal["text", "bigint", "boolean", "timestamptz", "text[]"]


@dataclass(frozen=True)
class ViewColumn:
    """A column to find and sort by. An `indexed` column has an index with the page order behind it."""

    name: str
    type: ColumnType = "text"
    indexed: bool = False
    otherwise: str | None = None
    """Value of the column in rows of an earlier release, which did not have the column."""
    fixed: bool = False
    """Whether a row's value never changes, so that it is today what it was at any moment."""


@frozen
class Row:
    """A whole row of a view, so that applying it twice is the same as once."""

    id: str
    version: int
    """Version of the aggregate; a row of a lower version never replaces one of a higher."""
    created: datetime
    columns: dict[str, Any]
    doc: dict[str, Any]
    """The document, as orjson takes it: moments are left as they are, and written in ISO 8601."""


@frozen
class Change:
    """An event with the state of its aggregate before and after. A notice, an event without a version, has neither."""

    envelope: Envelope
    before: Any
    after: Any
    place: tuple[str, int, int]
    """Topic, partition and offset of the event's record."""

    @property
    def key(self) -> Key:
        """Return kind and id of the aggregate."""
        return self.envelope.subject

    @property
    def version(self) -> int:
        """Return the aggregate's version after the event; 0 for a notice."""
        return self.envelope.aggversion or 0


def _nothing(change: Change) -> Iterable[str]:
    return ()


@dataclass(frozen=True)
class View:
    """A read model. Every view has `id`, `version`, `created` and `doc` besides its columns."""

    name: str
    kinds: frozenset[str]
    """Kinds of aggregates whose events the view reads."""
    rows: Callable[[Change], Iterable[Row]]
    columns: tuple[ViewColumn, ...] = ()
    gone: Callable[[Change], Iterable[str]] = _nothing
    """Returns the ids of the rows that a change removes."""
    events: frozenset[type[Event]] = frozenset()
    """Types of events that change the view; empty where any event may."""
    about: Callable[[Change], Hashable | None] | None = None
    """Returns what a change's rows are about, or None for a change without rows. Of several changes about the same
    thing, the last alone makes the row, whatever came between. Without this function, every change makes its rows."""

    @property
    def rising(self) -> bool:
        """Say whether a row of the same id replaces one of a lower version, and no row is ever removed."""
        return self.about is not None and self.gone is _nothing

    def column(self, name: str) -> ViewColumn | None:
        """Return the column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)


def aggregate(change: Change) -> str | None:
    """Return the aggregate's id: for views with one row an aggregate, made of its state alone."""
    return change.key.id if change.after is not None else None


Operator = Literal["=", "in", "!=", ">=", "<=", "contains"]


@dataclass(frozen=True)
class Condition:
    """A column compared with a value (a list for `in`)."""

    column: str
    operator: Operator
    value: Any

    def holds(self, row: Row) -> bool:
        """Say whether the condition is true for this row."""
        value: Any = row.created if self.column == "created" else row.columns[self.column]
        match self.operator:
            case "=":
                return bool(value == self.value)
            case "!=":
                return bool(value != self.value)
            case "in":
                return value in self.value
            case ">=":
                return bool(value >= self.value)
            case "<=":
                return bool(value <= self.value)
            case "contains":
                return self.value in value


@dataclass(frozen=True)
class Either:
    """Conditions of which at least one must be true."""

    conditions: tuple[Condition, ...]

    def holds(self, row: Row) -> bool:
        """Say whether at least one condition is true for this row."""
        return any(each.holds(row) for each in self.conditions)


@dataclass(frozen=True)
class Query:
    """A query for a page: the newest first, `limit` rows after the row with the id `marker`."""

    where: tuple[Condition | Either, ...] = ()
    limit: int = 50
    marker: str = ""
    skip: int = 0
    """Rows left out after the marker; meant for people, and bounded by the API."""


@dataclass(frozen=True)
class Page:
    """Documents as JSON text, and whether there are more."""

    docs: list[bytes]
    last_id: str
    more: bool


@dataclass(frozen=True)
class Found:
    """A document with its version, for an ETag."""

    id: str
    version: int
    doc: bytes


class UnknownMarker(Exception):
    """The marker names no row of the list."""
