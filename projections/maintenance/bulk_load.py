"""Fills a new generation of read models: rows are only appended, by COPY, and tables have no index that the filling
itself does not need.

Why: most of what a rebuild writes is written once. To look for a row that may be there, and to keep an index to find it
by, costs more than to remove repeated rows at the end.
"""

from collections.abc import Sequence
from typing import Any

import orjson
import psycopg
from psycopg import AsyncConnection, AsyncCursor, sql

from projections.store.port import HistoryEntry
from projections.store.postgres import PostgresStore
from projections.store.schema import HISTORY, create_bare_tables, repeated_notices
from projections.views.table import VIEWS
from projections.views.view import Row, View

APPENDED = [view for view in VIEWS.values() if view.rising]
"""Views of which no row is ever removed: of two rows with one id the one with the higher version counts, wherever they
lie."""
COLUMNS_OF_HISTORY = {
    "kind": "text",
    "subject_id": "text",
    "version": "int8",
    "id": "text",
    "type": "text",
    "at": "timestamptz",
    "topic": "text",
    "partition": "int4",
    "offset": "int8",
    "actor": "text",
    "project": "text",
    "task": "text",
    "correlation": "text",
    "causation": "text",
    "verdict": "text",
    "data": "bytea",
}
KEYS = """
delete from {table} where ctid in (
    select ctid from (
        select ctid, row_number() over (partition by id order by version desc) as place from {table}
    ) as rows where place > 1
);
alter table {table} add constraint {key} primary key (id)
"""


def create_unkeyed_tables(connection: psycopg.Connection[Any], schema: str) -> None:
    """Create the tables of a BulkLoadStore in this schema, without the keys of appended views. Raises psycopg.Error."""
    create_bare_tables(connection, schema)
    for view in APPENDED:
        drop = sql.SQL("alter table {} drop constraint {}")
        connection.execute(drop.format(sql.Identifier(schema, view.name), sql.Identifier(f"{view.name}_pkey")))


def settling_statements(schema: str) -> dict[str, sql.Composed]:
    """Return, by table, the statement that keeps the last of each row and adds the table's key."""
    keys = {
        view.name: sql.SQL(KEYS).format(
            table=sql.Identifier(schema, view.name), key=sql.Identifier(f"{view.name}_pkey")
        )
        for view in APPENDED
    }
    return {HISTORY: repeated_notices(schema), **keys}


class BulkLoadStore(PostgresStore):
    """A store that fills a new generation of read models. It never reads history for the tail of a state: each state is
    in a snapshot, or with the caller."""

    async def _since(self, connection: AsyncConnection[Any], pairs: tuple[list[str], list[str]]) -> list[Any]:
        return []

    async def _put(self, cursor: AsyncCursor[Any], view: View, rows: Sequence[Row]) -> None:
        if not view.rising:
            await super()._put(cursor, view, rows)
            return
        # Text and bytes are written alike, and the documents are UTF-8 already.
        types = {"id": "text", "version": "int8", "created": "timestamptz", "doc": "bytea"}
        own = {column.name: column.type for column in view.columns}
        types |= own
        values = (
            (row.id, row.version, row.created, orjson.dumps(row.doc), *map(row.columns.__getitem__, own))
            for row in rows
        )
        await self._copy(cursor, view.name, types, values)

    async def _remember(self, cursor: AsyncCursor[Any], entries: Sequence[HistoryEntry]) -> None:
        values = ((*each.subject, *each[1:]) for each in entries)
        await self._copy(cursor, HISTORY, COLUMNS_OF_HISTORY, values)

    async def _copy(self, cursor: AsyncCursor[Any], table: str, types: dict[str, str], rows: Any) -> None:
        names = sql.SQL(", ").join(map(sql.Identifier, types))
        into = sql.SQL("copy {} ({}) from stdin (format binary)").format(sql.Identifier(self._schema, table), names)
        async with cursor.copy(into) as copy:
            copy.set_types(list(types.values()))
            for row in rows:
                await copy.write_row(row)
