"""The read models' tables and indexes in PostgreSQL: what they are follows from the views' columns.

Every one lies in a schema of its own, so that a new generation can be filled beside the one that serves.
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
"""A notice has no version to be known again by, and may have come twice while nothing looked."""

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
    """Make the tables of all views, and what they are found by, where they are missing. Raises psycopg.Error."""
    # A statement is a transaction: a projector that works meanwhile locks tables too, in its own order.
    with connect(dsn) as connection:
        create_bare_tables(connection, schema)
        create_indexes(connection, schema)


def create_bare_tables(connection: psycopg.Connection[Any], schema: str) -> None:
    """Tables with what filling them needs, and no more. Raises psycopg.Error."""
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
    """What pages and documents are found by. Raises psycopg.Error."""
    connection.execute(repeated_notices(schema))
    for statements in index_statements(schema).values():
        for statement in statements:
            connection.execute(statement)


def repeated_notices(schema: str) -> sql.Composed:
    """The statement that leaves every notice in history once."""
    return in_schema(REPEATED_NOTICES, schema)


def index_statements(schema: str) -> dict[str, list[sql.Composed]]:
    """What makes each table's indexes; a statement does not wait for another."""
    of_views = {view.name: list(_indexes(view, schema)) for view in VIEWS.values()}
    return {HISTORY: [in_schema(text, schema) for text in HISTORY_INDEXES], **of_views}


def analyze_statements(schema: str) -> dict[str, sql.Composed]:
    """What makes the planner know each table, without its documents, which it never compares."""
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
    for column in view.columns:
        if column.indexed:
            text = "using gin ({})" if column.type == "text[]" else "({}, {})"
            indexes.append((column.name, sql.SQL(text).format(sql.Identifier(column.name), order)))
    for name, how in indexes:
        yield sql.SQL("create index if not exists {} on {} {}").format(
            sql.Identifier(f"{view.name}_{name}"), sql.Identifier(schema, view.name), how
        )


def in_schema(text: str, schema: str) -> sql.Composed:
    """A statement for the tables of this schema."""
    return sql.SQL(text).format(schema=sql.Identifier(schema))
