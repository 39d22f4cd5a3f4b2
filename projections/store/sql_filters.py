"""Translates queries of read models and history into conditions of SQL."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from projections.store.port import HistoryQuery, kinds_and_id
from projections.views.view import CREATED, Condition, Either, Query, View

MOST_ALTERNATIVES = 16
OPERATORS = {"=": "=", "!=": "<>", ">=": ">=", "<=": "<="}
LAST_CHARACTER = "\U0010ffff"
"""No character of any text comes after it."""


class Conditions:
    """Conditions that must all hold, with their values in order."""

    def __init__(self, texts: Iterable[sql.Composable] = (), values: Iterable[Any] = ()) -> None:
        self.texts = list(texts)
        self.values = list(values)

    def add(self, text: str | sql.Composable, *values: Any) -> None:
        """Add a condition, with the values of its placeholders."""
        self.texts.append(sql.SQL(text) if isinstance(text, str) else text)
        self.values += values

    def add_all(self, other: "Conditions") -> None:
        """Add all conditions and values of the other."""
        self.texts += other.texts
        self.values += other.values

    @property
    def clause(self) -> sql.Composable:
        """Return the conditions as a where clause, or an empty text where there are none."""
        return sql.SQL("where ") + sql.SQL(" and ").join(self.texts) if self.texts else sql.SQL("")


def of_history(query: HistoryQuery) -> tuple[Conditions, Conditions, sql.SQL]:
    """Return the conditions that an index serves, those that are checked on what it finds, and the order.

    Raises ValueError for a text that is no subject.
    """
    driving, other = Conditions(), Conditions()
    if query.subject:
        kinds, ident = kinds_and_id(query.subject)
        # Of one kind, the index has them in order.
        driving.add("kind = %s" if len(kinds) == 1 else "kind = any(%s)", kinds[0] if len(kinds) == 1 else list(kinds))
        driving.add("subject_id = %s", ident)
    rest = other if query.subject else driving
    if query.task:
        rest.add("(correlation = %s or (task = %s and task <> '' and task <> correlation))", query.task, query.task)
    if query.since:
        rest.add("at >= %s", query.since)
    if query.until:
        rest.add("at <= %s", query.until)
    if query.types:
        names = [each for each in query.types if "*" not in each]
        patterns = [like(each) for each in query.types if "*" in each]
        other.add("(type = any(%s) or type like any(%s))", names, patterns)
    if query.actor:
        other.add("actor = %s", query.actor)
    if query.project:
        other.add("project = %s", query.project)
    if query.versioned:
        other.add("version > 0")
    # One subject's events lie in one partition: their order there is theirs, whatever the clocks said.
    return driving, other, sql.SQL('partition, "offset"' if query.subject else 'at, partition, "offset"')


def like(pattern: str) -> str:
    """Turn a pattern with * into one for SQL's like."""
    return re.sub(r"([\\%_])", r"\\\1", pattern).replace("*", "%")


def alternatives(view: View, conditions: Sequence[Condition | Either]) -> list[Sequence[Condition | Either]]:
    """Return the conditions once for each value of a column that may have several. Each is then read off its index in
    order, and no more of it than a page, however rare the value is. Together they find the same rows, each once."""
    for number, each in enumerate(conditions):
        if isinstance(each, Either):
            continue
        column = view.column(each.column)
        if each.operator == "in" and column is not None and column.indexed and len(each.value) <= MOST_ALTERNATIVES:
            return [
                (*conditions[:number], Condition(each.column, "=", value), *conditions[number + 1 :])
                for value in dict.fromkeys(each.value)
            ] or [conditions]
    return [conditions]


def of_view(conditions: Iterable[Condition | Either]) -> Conditions:
    """Return the conditions under which a row of a view matches."""
    whole = Conditions()
    for each in conditions:
        if isinstance(each, Either):
            one = of_view(each.conditions)
            whole.add(sql.SQL("({})").format(sql.SQL(" or ").join(one.texts)), *one.values)
            continue
        column = sql.Identifier(each.column)
        if each.operator == "in":
            whole.add(sql.SQL("{} = any(%s)").format(column), each.value)
        elif each.operator == "like":
            whole.add(sql.SQL("{} like %s").format(column), like(each.value))
            if beginning := each.value.partition("*")[0]:
                # What the index is searched by: a pattern alone says nothing while it is a parameter.
                limits = sql.SQL("{0} ~>=~ %s and {0} ~<=~ %s").format(column)
                whole.add(limits, beginning, beginning + LAST_CHARACTER)
        elif each.operator == "contains":
            whole.add(sql.SQL("{} @> array[%s]").format(column), each.value)
        else:
            whole.add(sql.SQL("{} {} %s").format(column, sql.SQL(OPERATORS[each.operator])), each.value)
    return whole


@dataclass(frozen=True)
class RowOrder:
    """The order of a page's rows, as an index has it, forwards or backwards."""

    by: str
    """Column that goes before the time of creation; empty: none does."""
    comparison: tuple[str, str]
    """Operators by which a value of that column comes later, and no earlier."""
    ascending: bool
    """Whether, of rows with the same value, the oldest comes first."""
    using: str
    """How SQL says the order of that column."""

    @property
    def columns(self) -> sql.Composable:
        """Return the columns that the order needs."""
        own = sql.SQL(", {} as sorted").format(sql.Identifier(self.by)) if self.by else sql.SQL("")
        return sql.SQL("created, id{}").format(own)

    def clause(self, by: str) -> sql.Composable:
        """Return the clause of SQL, where the column that goes first has this name."""
        time = sql.SQL("created, id" if self.ascending else "created desc, id desc")
        return sql.SQL("{} {}, {}").format(sql.Identifier(by), sql.SQL(self.using), time) if self.by else time

    def add_after(self, conditions: Conditions, created: Any, ident: str, value: Any = None) -> None:
        """Add the condition that a row comes after the one with these values."""
        later = sql.SQL("(created, id) > (%s, %s)" if self.ascending else "(created, id) < (%s, %s)")
        if not self.by:
            conditions.add(later, created, ident)
            return
        column = sql.Identifier(self.by)
        beyond, not_before = (sql.SQL(each) for each in self.comparison)
        # The first alone is what the index is searched by.
        conditions.add(sql.SQL("{} {} %s").format(column, not_before), value)
        conditions.add(sql.SQL("({} {} %s or {})").format(column, beyond, later), value, created, ident)


def order_of(view: View, query: Query) -> RowOrder:
    """Return the order of a query's rows."""
    if query.sort in ("", CREATED):
        # Sorted by creation, the oldest come first, and turned round the newest: which they are, unless sorted.
        return RowOrder("", ("", ""), ascending=query.sort == CREATED and not query.reverse, using="")
    column = view.column(query.sort)
    bytewise = "~" if column is not None and column.patterns else ""
    sign = "<" if query.reverse else ">"
    beyond, not_before = f"{bytewise}{sign}{bytewise}", f"{bytewise}{sign}={bytewise}"
    first = f"{bytewise}{'>' if query.reverse else '<'}{bytewise}"
    return RowOrder(query.sort, (beyond, not_before), ascending=query.reverse, using=f"using {first}")
