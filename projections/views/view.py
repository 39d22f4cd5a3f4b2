"""What a read model is: a table of ready documents, with columns to find them by.

Why documents: a page of a list is read as it is sent, nothing is put together at read time, so reading is quick at
any depth. A view is a file: its columns, and a pure function from a change to its rows.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from domain.core.frozen import frozen
from domain.core.messages import Envelope, Event, Key

ColumnType = Literal["text", "bigint", "boolean", "timestamptz", "text[]"]


@dataclass(frozen=True)
class Column:
    """A column to find and sort by. `indexed` columns have an index with the page order behind them."""

    name: str
    type: ColumnType = "text"
    indexed: bool = False
    otherwise: str | None = None
    """Of one that an earlier release did not have: what the rows that it made are to have there."""
    fixed: bool = False
    """A row has the same there for ever: what it was is what it is."""


@frozen
class Row:
    """A row as it is to be: whole, so that applying it twice is the same as once."""

    id: str
    version: int
    """Of the aggregate; a row of a lower version never replaces one of a higher."""
    created: datetime
    columns: dict[str, Any]
    doc: dict[str, Any]
    """As orjson takes it: moments as they are, which it writes in ISO 8601."""


@frozen
class Change:
    """An event with the state of its aggregate before and after. A notice has neither."""

    envelope: Envelope
    before: Any
    after: Any
    place: tuple[str, int, int]
    """Topic, partition, offset."""

    @property
    def key(self) -> Key:
        """The aggregate."""
        return self.envelope.subject

    @property
    def version(self) -> int:
        """The aggregate's version after the event."""
        return self.envelope.aggversion or 0


def _nothing(change: Change) -> Iterable[str]:
    return ()


@dataclass(frozen=True)
class View:
    """A read model. Every one has `id`, `version`, `created` and `doc` besides its columns."""

    name: str
    kinds: frozenset[str]
    """Kinds of aggregates whose events it reads."""
    rows: Callable[[Change], Iterable[Row]]
    columns: tuple[Column, ...] = ()
    gone: Callable[[Change], Iterable[str]] = _nothing
    """Ids of rows that this change removes."""
    events: frozenset[type[Event]] = frozenset()
    """Those that it reads, where no other ever says anything for it; empty: all."""
    about: Callable[[Change], Hashable | None] | None = None
    """What a change's rows are of, None where it has none: of changes about the same, the last has all that there is to
    say, whatever came between. Where it is not given, every change's rows count."""

    @property
    def rising(self) -> bool:
        """Whether a row of the same id says more the higher its version is, and none goes away."""
        return self.about is not None and self.gone is _nothing

    def column(self, name: str) -> Column | None:
        """The column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)


def aggregate(change: Change) -> str | None:
    """For views with one row an aggregate, made of its state alone."""
    return change.key.id if change.after is not None else None


Operator = Literal["=", "in", "!=", ">=", "<=", "contains"]


@dataclass(frozen=True)
class Condition:
    """A column compared with a value (a list for `in`)."""

    column: str
    operator: Operator
    value: Any

    def holds(self, row: Row) -> bool:
        """Whether it does for this row."""
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
    """One of these conditions at least."""

    conditions: tuple[Condition, ...]

    def holds(self, row: Row) -> bool:
        """Whether one does for this row."""
        return any(each.holds(row) for each in self.conditions)


@dataclass(frozen=True)
class Query:
    """A page wanted: the newest first, `limit` rows after the row `marker`."""

    where: tuple[Condition | Either, ...] = ()
    limit: int = 50
    marker: str = ""
    skip: int = 0
    """Rows left out after the marker; for people, bounded by the API."""


@dataclass(frozen=True)
class Page:
    """Documents as JSON text, and whether there are more."""

    docs: list[bytes]
    last_id: str
    more: bool


@dataclass(frozen=True)
class Found:
    """One document with its version, for an ETag."""

    id: str
    version: int
    doc: bytes


class UnknownMarker(Exception):
    """The marker names no row of the list."""
