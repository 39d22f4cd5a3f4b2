"""The read models' tables and indexes in PostgreSQL, made from the views' columns.

Each generation lies in a schema of its own, so that a new one can be filled beside the one that serves.
"""

from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql

from infra.db.pool import connect
from projections.views.table import VIEWS
from projections.views.view import View

SCHEMA = "read"

TABLES = (
    "create schema if not exists {schema}",
    """
    create table if not exists {schema}.positions (
        topic text not null, partition int not null, next_offset bigint not null, primary key (topic, partition)
    )""",
    """
    create table if not exists {schema}.states (
        kind text not null, id text not null, version bigint not null, "offset" bigint not null, state bytea not null,
        primary key (kind, id)
    )""",
    'alter table {schema}.states add column if not exists "offset" bigint not null default -1',
    "alter table {schema}.states add column if not exists at timestamptz not null default 'epoch'",
    """
    create table if not exists {schema}.milestones (
        kind text not null, id text not null, version bigint not null, at timestamptz not null, partition int not null,
        "offset" bigint not null, event text not null, state bytea not null, primary key (kind, id, version)
    )""",
    "create index if not exists milestones_at on {schema}.milestones (kind, id, at, version)",
    'create index if not exists milestones_place on {schema}.milestones (kind, id, partition, "offset")',
    """
    create table if not exists {schema}.history (
        id text not null, kind text not null, subject_id text not null, version bigint not null, type text not null,
        at timestamptz not null, topic text not null, partition int not null, "offset" bigint not null,
        actor text not null, project text not null, task text not null, correlation text not null,
        causation text not null, verdict text not null, data bytea not null
    )""",
)

REPEATED_NOTICES = """
delete from {schema}.history where version = 0 and ctid in (
    select ctid from (
        select ctid, row_number() over (partition by id order by partition, "offset") as time
          from {schema}.history where version = 0
    ) as notices where time > 1
)"""
"""Removes notices that came more than once: a notice is an event without a version to recognise it by, and nothing
checked for repetition while history was filled."""

HISTORY = "history"
HISTORY_INDEXES = (
    "create unique index if not exists history_pkey on {schema}.history (id)",
    # Ids first: of what begins alike PostgreSQL compares all, and kinds are few.
    'create index if not exists history_of on {schema}.history (subject_id, kind, partition, "offset")',
    'create index if not exists history_at on {schema}.history (at, partition, "offset")',
    'create index if not exists history_correlation on {schema}.history (correlation, at, partition, "offset")',
    # Nearly every task is what its events' request asked for, and that index finds them.
    'create index if not exists history_other_task on {schema}.history (task, at, partition, "offset") '
    "where task <> '' and task <> correlation",
    "drop index if exists {schema}.history_subject",
    "drop index if exists {schema}.history_place",
    "drop index if exists {schema}.history_task",
)


def create_tables(dsn: str, schema: str = SCHEMA) -> None:
    """Create the tables and indexes of all views, where they are missing. Raises psycopg.Error."""
    # A statement is a transaction: a projector that works meanwhile locks tables too, in its own order.
    with connect(dsn) as connection:
        create_bare_tables(connection, schema)
        create_indexes(connection, schema)


def create_bare_tables(connection: psycopg.Connection[Any], schema: str) -> None:
    """Create the tables with the indexes that filling them needs, and no more. Raises psycopg.Error."""
    for statement in TABLES:
        connection.execute(in_schema(statement, schema))
    for view in VIEWS.values():
        columns = sql.SQL("").join(
            sql.SQL(", {} {} not null").format(sql.Identifier(column.name), sql.SQL(column.type))
            for column in view.columns
        )
        connection.execute(
            sql.SQL(
                "create table if not exists {table} (id text primary key, version bigint not null, "
                "created timestamptz not null, doc text not null{columns})"
            ).format(table=sql.Identifier(schema, view.name), columns=columns)
        )
        for column in view.columns:
            if column.otherwise is not None:
                connection.execute(
                    sql.SQL("alter table {} add column if not exists {} {} not null default {}").format(
                        sql.Identifier(schema, view.name),
                        sql.Identifier(column.name),
                        sql.SQL(column.type),
                        sql.Literal(column.otherwise),
                    )
                )


def create_indexes(connection: psycopg.Connection[Any], schema: str) -> None:
    """Create the indexes by which pages and documents are found. Raises psycopg.Error."""
    connection.execute(repeated_notices(schema))
    for statements in index_statements(schema).values():
        for statement in statements:
            connection.execute(statement)


def repeated_notices(schema: str) -> sql.Composed:
    """Return the statement that leaves every notice in history once."""
    return in_schema(REPEATED_NOTICES, schema)


def index_statements(schema: str) -> dict[str, list[sql.Composed]]:
    """Return, by table, the statements that create its indexes; they may run in any order."""
    of_views = {view.name: list(_indexes(view, schema)) for view in VIEWS.values()}
    return {HISTORY: [in_schema(text, schema) for text in HISTORY_INDEXES], **of_views}


def analyze_statements(schema: str) -> dict[str, sql.Composed]:
    """Return, by table, the statement that updates the planner's statistics, without those of documents, which are
    never compared."""
    columns = {view.name: ["id", "created", *(column.name for column in view.columns)] for view in VIEWS.values()}
    columns["states"] = ["kind", "id"]
    columns["milestones"] = ["kind", "id", "version", "at", "partition", "offset"]
    columns[HISTORY] = ["id", "kind", "subject_id", "at", "task", "correlation", "partition", "offset"]
    return {
        table: sql.SQL("analyze {} ({})").format(
            sql.Identifier(schema, table), sql.SQL(", ").join(map(sql.Identifier, names))
        )
        for table, names in columns.items()
    }


def _indexes(view: View, schema: str) -> Iterator[sql.Composed]:
    order = sql.SQL("created desc, id desc")
    indexes: list[tuple[str, sql.Composed]] = [("order", sql.SQL("({})").format(order))]
    former: list[str] = []
    for column in view.columns:
        if column.indexed and column.patterns:
            text = "({} text_pattern_ops, {})"
            indexes.append((f"{column.name}_pattern", sql.SQL(text).format(sql.Identifier(column.name), order)))
            # Of an earlier release, in the database's own order of texts: no beginning is looked up in that.
            former.append(column.name)
        elif column.indexed:
            text = "using gin ({})" if column.type == "text[]" else "({}, {})"
            indexes.append((column.name, sql.SQL(text).format(sql.Identifier(column.name), order)))
    for name, how in indexes:
        yield sql.SQL("create index if not exists {} on {} {}").format(
            sql.Identifier(f"{view.name}_{name}"), sql.Identifier(schema, view.name), how
        )
    for name in former:
        yield sql.SQL("drop index if exists {}").format(sql.Identifier(schema, f"{view.name}_{name}"))


def in_schema(text: str, schema: str) -> sql.Composed:
    """Return a statement with the name of this schema in it."""
    return sql.SQL(text).format(schema=sql.Identifier(schema))
