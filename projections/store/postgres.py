"""The store of read models in PostgreSQL."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import orjson
from psycopg import AsyncConnection, AsyncCursor, sql

from domain.core.messages import Key
from infra.db.pool import Connections
from infra.log.log import TopicPartition
from infra.process import failpoints
from projections.store.arrays import BigintArray, ByteaArray, EncodedTextArray, TextArray, TimestampArray
from projections.store.port import (
    LONG_AGO,
    HistoryEntry,
    HistoryQuery,
    Milestone,
    NotMoved,
    ProjectionBatch,
    SearchResult,
    Snapshot,
    StoredState,
    StoreUnavailable,
)
from projections.store.schema import SCHEMA, in_schema
from projections.store.sql_filters import Conditions, alternatives, of_history, of_view, order_of
from projections.store.statements import (
    ENSURE,
    ENTRY,
    LAST_MILESTONES,
    MILESTONE,
    MILESTONES,
    MOVE,
    READABLE,
    REMEMBER,
    SINCE,
    STATE,
    STATES,
)
from projections.views.table import VIEWS
from projections.views.view import (
    Condition,
    Found,
    Page,
    Query,
    Row,
    UnknownMarker,
    View,
)

FOUND_AT_MOST = 20
OPTIONS = "-c statement_timeout=30000 -c synchronous_commit=off"
ROWS_AT_ONCE = 1000


class PostgresFrozen:
    """The read models as one transaction of PostgreSQL sees them."""

    def __init__(self, connection: AsyncConnection[Any], schema: str, positions: dict[TopicPartition, int]) -> None:
        self.positions = positions
        self._connection = connection
        self._schema = schema

    async def rows(self, view: str) -> AsyncIterator[Row]:
        """Yield every row of a view, its document as its JSON reads."""
        names = [column.name for column in VIEWS[view].columns]
        columns = sql.SQL("").join(sql.SQL(", {}").format(sql.Identifier(name)) for name in names)
        every = sql.SQL("select id, version, created, doc{} from {}")
        async for ident, version, created, doc, *values in self._all(
            every.format(columns, sql.Identifier(self._schema, view))
        ):
            yield Row(ident, version, created, dict(zip(names, values, strict=True)), orjson.loads(doc))

    async def history(self) -> AsyncIterator[HistoryEntry]:
        """Yield every entry of history."""
        async for row in self._all(in_schema(ENTRY + " {schema}.history", self._schema)):
            yield _entry(row)

    async def states(self) -> AsyncIterator[tuple[Key, Snapshot]]:
        """Yield every stored snapshot, by aggregate."""
        async for kind, ident, *snapshot in self._all(
            in_schema('select kind, id, version, "offset", state, at from {schema}.states', self._schema)
        ):
            yield Key(kind, ident), Snapshot(*snapshot)

    async def milestones(self) -> AsyncIterator[Milestone]:
        """Yield every milestone of every aggregate."""
        every = 'select kind, id, version, at, partition, "offset", event, state from {schema}.milestones'
        async for kind, ident, *milestone in self._all(in_schema(every, self._schema)):
            yield Milestone(Key(kind, ident), *milestone)

    async def _all(self, query: sql.Composed) -> AsyncIterator[Any]:
        """Yield the rows that a query finds, and fetch some at a time."""
        async with self._connection.cursor("frozen") as cursor:
            cursor.itersize = ROWS_AT_ONCE
            await cursor.execute(query)
            async for row in cursor:
                yield row


class PostgresStore:
    """Read models in one schema of a PostgreSQL database."""

    def __init__(self, dsn: str, pool_size: int = 10, schema: str = SCHEMA) -> None:
        self._schema = schema
        self._connections = Connections(dsn, pool_size, StoreUnavailable, OPTIONS)
        self._upserts = {view.name: self._upsert(view) for view in VIEWS.values()}

    async def open(self) -> None:
        """Open the connections; a database that is away is waited for when one is used."""
        await self._connections.open()

    async def close(self) -> None:
        """Close all connections to the database."""
        await self._connections.close()

    def _table(self, view: View) -> sql.Identifier:
        return sql.Identifier(self._schema, view.name)

    def _upsert(self, view: View) -> sql.Composed:
        names = [sql.Identifier(name) for name in ("id", "version", "created", "doc")]
        names += [sql.Identifier(column.name) for column in view.columns]
        types = ["text", "bigint", "timestamptz", "text", *(column.type for column in view.columns)]
        # An array of arrays would have to be a rectangle, so a list goes as the text of one.
        arrays = [sql.SQL("%b::{}[]").format(sql.SQL(each.replace("[]", ""))) for each in types]
        values = [
            sql.SQL("{}::text[]").format(name) if each.endswith("[]") else name
            for name, each in zip(names, types, strict=True)
        ]
        return sql.SQL(
            "insert into {table} as t ({names}) select {values} from unnest({arrays}) as new ({names}) "
            "on conflict (id) do update set {sets} where t.version <= excluded.version"
        ).format(
            table=self._table(view),
            names=sql.SQL(", ").join(names),
            values=sql.SQL(", ").join(values),
            arrays=sql.SQL(", ").join(arrays),
            sets=sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(name) for name in names[1:]),
        )

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[PostgresFrozen]:
        """Open the read models as they are at this moment, until the block ends. Raises StoreUnavailable."""
        async with self._connections.lend() as connection, connection.transaction():
            await connection.execute("set transaction isolation level repeatable read read only")
            rows = await connection.execute(
                in_schema("select topic, partition, next_offset from {schema}.positions", self._schema)
            )
            at = {TopicPartition(topic, number): offset for topic, number, offset in await rows.fetchall()}
            yield PostgresFrozen(connection, self._schema, at)

    async def positions(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset from which each partition is to be read. Raises StoreUnavailable."""
        async with self._connections.lend() as connection:
            await connection.execute(
                in_schema(ENSURE, self._schema),
                ([each.topic for each in partitions], [each.partition for each in partitions]),
            )
            rows = await connection.execute(
                in_schema("select topic, partition, next_offset from {schema}.positions", self._schema)
            )
            found = {TopicPartition(topic, number): offset for topic, number, offset in await rows.fetchall()}
        return {each: found[each] for each in partitions}

    async def states(self, keys: Sequence[Key]) -> dict[Key, StoredState]:
        """Return the last snapshot of each aggregate that is stored, and the events since. Raises StoreUnavailable."""
        pairs = ([key.kind for key in keys], [key.id for key in keys])
        tails: dict[Key, list[tuple[str, bytes]]] = {}
        times: dict[Key, datetime] = {}
        async with self._connections.lend() as connection:
            rows = await connection.execute(in_schema(STATES, self._schema), pairs)
            snapshots = {Key(kind, ident): last for kind, ident, *last in await rows.fetchall()}
            for kind, ident, type_name, data, at in await self._since(connection, pairs):
                key = Key(kind, ident)
                tails.setdefault(key, []).append((type_name, data))
                times[key] = max(times.get(key, at), at)
        return {
            key: StoredState(version, state, tuple(tails.get(key, ())), max(time, times.get(key, time)))
            for key in {**snapshots, **tails}
            for version, state, time in (snapshots.get(key, (0, b"", LONG_AGO)),)
        }

    async def last_milestones(self, keys: Sequence[Key]) -> dict[Key, tuple[int, int]]:
        """Return version and bytes of the last milestone of each aggregate that has one. Raises StoreUnavailable."""
        pairs = ([key.kind for key in keys], [key.id for key in keys])
        async with self._connections.lend() as connection:
            rows = await connection.execute(in_schema(LAST_MILESTONES, self._schema), pairs)
            return {Key(kind, ident): (version, size) for kind, ident, version, size in await rows.fetchall()}

    async def milestone(
        self,
        subject: Key,
        time: datetime | None = None,
        place: tuple[int, int] | None = None,
        version: int | None = None,
    ) -> Milestone | None:
        """Return the newest milestone that is no later than each limit that is set, or None. Raises
        StoreUnavailable."""
        text, order = MILESTONE, "version desc"
        values: list[Any] = [*subject]
        if version is not None:
            text += " and version <= %s"
            values.append(version)
        if time is not None:
            text, order = text + " and at <= %s", "at desc, version desc"
            values.append(time)
        if place is not None:
            text, order = text + ' and partition = %s and "offset" <= %s', '"offset" desc'
            values += place
        async with self._connections.lend() as connection:
            rows = await connection.execute(in_schema(f"{text} order by {order} limit 1", self._schema), values)
            row = await rows.fetchone()
        return Milestone(subject, *row) if row else None

    async def apply(self, batch: ProjectionBatch) -> None:
        """Write the whole batch in one transaction, with the positions. Raises NotMoved, StoreUnavailable."""
        # What the database loses in a fall it loses with the positions: it is read again.
        async with self._connections.lend() as connection, connection.transaction(), connection.cursor() as cursor:
            moves = list(batch.end)
            await cursor.execute(
                in_schema(MOVE, self._schema),
                (
                    [each.topic for each in moves],
                    [each.partition for each in moves],
                    [batch.start[each] for each in moves],
                    [batch.end[each] for each in moves],
                ),
            )
            if cursor.rowcount != len(moves):
                raise NotMoved(f"{len(moves) - cursor.rowcount} of {len(moves)} positions were not where expected")
            if batch.states:
                await cursor.execute(
                    in_schema(STATE, self._schema),
                    (
                        [key.kind for key in batch.states],
                        [key.id for key in batch.states],
                        [each.version for each in batch.states.values()],
                        [each.offset for each in batch.states.values()],
                        [each.state for each in batch.states.values()],
                        TimestampArray(each.time for each in batch.states.values()),
                    ),
                )
            for milestone in batch.milestones:
                await cursor.execute(in_schema(MILESTONES, self._schema), (*milestone.subject, *milestone[1:]))
            for name, rows in batch.rows.items():
                if rows:
                    await self._put(cursor, VIEWS[name], list(rows.values()))
            for name, idents in batch.gone.items():
                await cursor.execute(
                    sql.SQL("delete from {} where id = any(%s)").format(self._table(VIEWS[name])), (list(idents),)
                )
            if batch.history:
                await self._remember(cursor, batch.history)
            failpoints.point("projector-written")

    async def _since(self, connection: AsyncConnection[Any], pairs: tuple[list[str], list[str]]) -> list[Any]:
        """Return the events of each of these aggregates since its last snapshot, in order."""
        return await (await connection.execute(in_schema(SINCE, self._schema), pairs)).fetchall()

    async def _put(self, cursor: AsyncCursor[Any], view: View, rows: Sequence[Row]) -> None:
        """Insert these rows, or put them in the place of lower versions of the same rows."""
        await cursor.execute(self._upserts[view.name], _columns(view, rows))

    async def _remember(self, cursor: AsyncCursor[Any], entries: Sequence[HistoryEntry]) -> None:
        """Add to history those of these entries that it does not have."""
        await cursor.execute(in_schema(REMEMBER, self._schema), _history(entries))

    async def get(self, view: str, ident: str) -> Found | None:
        """Return the document with this id, or None. Raises StoreUnavailable."""
        async with self._connections.lend() as connection:
            rows = await connection.execute(
                sql.SQL("select id, version, doc from {} where id = %s").format(self._table(VIEWS[view])), (ident,)
            )
            row = await rows.fetchone()
        return Found(row[0], row[1], row[2].encode()) if row else None

    async def find(self, view: str, name: str, where: dict[str, Any]) -> list[Found]:
        """Return the documents with this name (at most 20), newest first; `where` narrows them by columns.

        Raises StoreUnavailable.
        """
        conditions = (Condition("name", "=", name), *(Condition(key, "=", value) for key, value in where.items()))
        filters = of_view(conditions)
        async with self._connections.lend() as connection:
            rows = await connection.execute(
                sql.SQL("select id, version, doc from {} {} order by created desc, id desc limit {}").format(
                    self._table(VIEWS[view]), filters.clause, sql.Literal(FOUND_AT_MOST)
                ),
                filters.values,
            )
            return [Found(ident, version, doc.encode()) for ident, version, doc in await rows.fetchall()]

    async def page(self, view: str, query: Query) -> Page:
        """Return a page of documents in the query's order. Raises UnknownMarker, StoreUnavailable."""
        shape = VIEWS[view]
        order = order_of(shape, query)
        after: tuple[Any, ...] | None = None
        async with self._connections.lend() as connection:
            if query.marker:
                rows = await connection.execute(
                    sql.SQL("select {} from {} where id = %s").format(order.columns, self._table(shape)),
                    (query.marker,),
                )
                after = await rows.fetchone()
                if after is None:
                    raise UnknownMarker(query.marker)
            parts, values = [], []
            for conditions in alternatives(shape, query.where):
                filters = of_view(conditions)
                if after is not None:
                    order.add_after(filters, *after)
                parts.append(
                    sql.SQL("(select {}, doc from {} {} order by {} limit %s)").format(
                        order.columns, self._table(shape), filters.clause, order.clause(order.by)
                    )
                )
                values += [*filters.values, query.limit + 1 + query.skip]
            rows = await connection.execute(
                sql.SQL("select id, doc from ({}) as p order by {} limit %s offset %s").format(
                    sql.SQL(" union all ").join(parts), order.clause("sorted")
                ),
                [*values, query.limit + 1, query.skip],
            )
            found = await rows.fetchall()
        shown = found[: query.limit]
        return Page(
            docs=[doc.encode() for _, doc in shown],
            last_id=shown[-1][0] if shown else "",
            more=len(found) > query.limit,
        )

    async def count(self, view: str) -> int:
        """Return the number of rows of a view. Raises StoreUnavailable."""
        async with self._connections.lend() as connection:
            rows = await connection.execute(sql.SQL("select count(*) from {}").format(self._table(VIEWS[view])))
            row = await rows.fetchone()
        return int(row[0]) if row else 0

    async def totals(
        self, view: str, by: str, where: Sequence[Condition], sums: Sequence[Sequence[str]] = ()
    ) -> dict[str, tuple[int, ...]]:
        """Return, for each value of a text column, the number of matching rows, and the sums of the whole numbers that
        their documents have at these paths. Reads every matching row. Raises StoreUnavailable."""
        filters = of_view(where)
        numbers = [sql.SQL(f", sum(({READABLE} #>> %s)::bigint)")] * len(sums)
        async with self._connections.lend() as connection:
            rows = await connection.execute(
                sql.SQL("select {0}, count(*){1} from {2} {3} group by {0}").format(
                    sql.Identifier(by), sql.SQL("").join(numbers), self._table(VIEWS[view]), filters.clause
                ),
                [*map(list, sums), *filters.values],
            )
            return {str(value): tuple(map(int, counted)) for value, *counted in await rows.fetchall()}

    async def history(self, query: HistoryQuery) -> list[HistoryEntry]:
        """Return the entries that match, oldest first.

        Raises UnknownMarker, ValueError for a text that is no subject, StoreUnavailable.
        """
        driving, other, order = of_history(query)
        async with self._connections.lend() as connection:
            await self._go_on_after(connection, query.marker, driving, order)
            driving.add_all(other)
            return await self._entries(
                connection, in_schema("{schema}.history", self._schema), driving, order, query.limit
            )

    async def search(self, query: HistoryQuery, most: int) -> SearchResult:
        """Return the matching entries that are found by looking at `most` entries.

        Raises UnknownMarker, ValueError for a text that is no subject, StoreUnavailable.
        """
        driving, other, order = of_history(query)
        looked_at = sql.SQL("select {} from {} {} order by {}")
        table = sql.Identifier(self._schema, "history")
        async with self._connections.lend() as connection:
            await self._go_on_after(connection, query.marker, driving, order)
            source = looked_at.format(sql.SQL("*"), table, driving.clause, order) + sql.SQL(" limit {}").format(most)
            whole = Conditions(other.texts, [*driving.values, *other.values])
            rows = sql.SQL("({}) as looked_at").format(source)
            found = await self._entries(connection, rows, whole, order, query.limit + 1)
            if len(found) > query.limit:
                return SearchResult(found[: query.limit], found[query.limit - 1].id)
            last = looked_at.format(sql.SQL("id"), table, driving.clause, order)
            answer = await connection.execute(last + sql.SQL(" offset {} limit 2").format(most - 1), driving.values)
            bound = await answer.fetchall()
        return SearchResult(found, bound[0][0] if len(bound) > 1 else "")

    async def _go_on_after(
        self, connection: AsyncConnection[Any], marker: str, conditions: Conditions, order: sql.SQL
    ) -> None:
        if marker:
            table = sql.Identifier(self._schema, "history")
            rows = await connection.execute(sql.SQL("select {} from {} where id = %s").format(order, table), (marker,))
            after = await rows.fetchone()
            if after is None:
                raise UnknownMarker(marker)
            places = sql.SQL(", ").join([sql.Placeholder()] * len(after))
            conditions.add(sql.SQL("({}) > ({})").format(order, places), *after)

    async def _entries(
        self,
        connection: AsyncConnection[Any],
        source: sql.Composed,
        conditions: Conditions,
        order: sql.SQL,
        limit: int,
    ) -> list[HistoryEntry]:
        rows = await connection.execute(
            sql.SQL("{} {} {} order by {} limit {}").format(sql.SQL(ENTRY), source, conditions.clause, order, limit),
            conditions.values,
        )
        return [_entry(row) for row in await rows.fetchall()]

    async def event(self, ident: str) -> HistoryEntry | None:
        """Return the entry with this event id, or None. Raises StoreUnavailable."""
        async with self._connections.lend() as connection:
            rows = await connection.execute(
                in_schema(ENTRY + " {schema}.history where id = %s", self._schema), (ident,)
            )
            row = await rows.fetchone()
        return _entry(row) if row else None


def _columns(view: View, rows: Sequence[Row]) -> list[Any]:
    values: list[Any] = [
        TextArray(row.id for row in rows),
        BigintArray(row.version for row in rows),
        TimestampArray(row.created for row in rows),
        EncodedTextArray(orjson.dumps(row.doc) for row in rows),
    ]
    for column in view.columns:
        own = [row.columns[column.name] for row in rows]
        match column.type:
            case "text":
                values.append(TextArray(own))
            case "text[]":
                values.append(TextArray(map(_literal, own)))
            case _:
                values.append(own)
    return values


def _history(entries: Sequence[HistoryEntry]) -> list[Any]:
    of = HistoryEntry(*zip(*entries, strict=True))  # type: ignore[arg-type]  # of every field, what all entries have there
    subjects: Sequence[Key] = of.subject  # type: ignore[assignment]
    return [
        TextArray(each.kind for each in subjects),
        TextArray(each.id for each in subjects),
        BigintArray(of.version),  # type: ignore[call-overload]
        TextArray(of.id),
        TextArray(of.type),
        TimestampArray(of.time),  # type: ignore[call-overload]
        TextArray(of.topic),
        list(of.partition),  # type: ignore[call-overload]
        BigintArray(of.offset),  # type: ignore[call-overload]
        *(TextArray(each) for each in (of.actor, of.project, of.task, of.correlation, of.causation, of.verdict)),
        ByteaArray(of.data),  # type: ignore[arg-type]
    ]


def _literal(words: Iterable[str]) -> str:
    """Return a list as the text by which PostgreSQL writes an array."""
    quoted = (each.replace("\\", "\\\\").replace('"', '\\"') for each in words)
    return "{" + ",".join(f'"{each}"' for each in quoted) + "}"


def _entry(row: tuple[Any, ...]) -> HistoryEntry:
    kind, ident, *rest = row
    return HistoryEntry(Key(kind, ident), *rest)
