"""A read model is a table of ready documents, with columns to find them by.

Why documents: a page of a list is read as it is sent. Documents are not put together at read time, so reading is quick
at any depth. A view is a file: its columns, and a pure function from a change to its rows.
"""

import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from domain.core.frozen import frozen
from domain.core.messages import Envelope, Event, Key

ColumnType = Literal["text", "bigint", "boolean", "timestamptz", "text[]"]
CREATED = "created"
"""Name of the column that every view has, and by which lists are sorted unless another is named."""


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
    patterns: bool = False
    """Whether texts are found by their beginnings, too: its index has them in the order of their characters' codes,
    whatever the database's own order of texts is."""


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

    def value(self, column: str) -> Any:
        """Return the value of a column, of those that every view has, too."""
        if column == "id":
            return self.id
        return self.created if column == CREATED else self.columns[column]


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
    bounded: bool = False
    """Whether there are so few rows that they can be sorted by a column without an index."""
    about: Callable[[Change], Hashable | None] | None = None
    """Returns what a change's rows are about, or None for a change without rows. Of several changes about the same
    thing, the last alone makes the row, whatever came between. Without this function, every change makes its rows."""

    @property
    def rising(self) -> bool:
        """Say whether a row of the same id replaces one of a lower version, and no row is ever removed."""
        return self.about is not None and self.gone is _nothing

    @property
    def sorted_by(self) -> tuple[str, ...]:
        """Return the columns that a list can be sorted by, the time of creation first."""
        own = (each.name for each in self.columns if (each.indexed or self.bounded) and not each.type.endswith("[]"))
        return (CREATED, *own)

    def column(self, name: str) -> ViewColumn | None:
        """Return the column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)


def aggregate(change: Change) -> str | None:
    """Return the aggregate's id: for views with one row an aggregate, made of its state alone."""
    return change.key.id if change.after is not None else None


Operator = Literal["=", "in", "!=", ">=", "<=", "contains", "like"]


@dataclass(frozen=True)
class Condition:
    """A column compared with a value (a list for `in`, a text in which * stands for anything for `like`)."""

    column: str
    operator: Operator
    value: Any

    def holds(self, row: Row) -> bool:
        """Say whether the condition is true for this row."""
        value = row.value(self.column)
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
            case "like":
                parts = map(re.escape, self.value.split("*"))
                return re.fullmatch(".*".join(parts), value, re.DOTALL) is not None


@dataclass(frozen=True)
class Either:
    """Conditions of which at least one must be true."""

    conditions: tuple[Condition, ...]

    def holds(self, row: Row) -> bool:
        """Say whether at least one condition is true for this row."""
        return any(each.holds(row) for each in self.conditions)


@dataclass(frozen=True)
class Query:
    """A query for a page: the newest first unless sorted otherwise, `limit` rows after the row with the id `marker`."""

    where: tuple[Condition | Either, ...] = ()
    sort: str = ""
    """Column by which rows are sorted, those with the same value the newest first; empty: the newest first."""
    reverse: bool = False
    """Whether the order that `sort` names is turned round, also among rows with the same value."""
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
