"""The write store in PostgreSQL: one connection, and a transaction a step with few round trips (libpq's pipeline
mode)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import cache

import psycopg
from psycopg import AsyncConnection, sql

from domain.core.messages import Key, Record
from infra.db.outbox import pack, unpack
from infra.db.pool import CONNECTION_TIMEOUTS
from infra.db.write_store import AggregateWrite, Conflict, Due, Move, Opened, StoredAggregate, WriteStoreUnavailable
from infra.log.log import TopicPartition
from infra.process.error_text import named, text_of

# A position moves only from where this step believes it to be: no row moved means that another worker owns the
# partition, or that the records were done already.
MOVE = """
update {schema}.positions p set next_offset = m.upto
  from unnest(%s::text[], %s::int[], %s::bigint[], %s::bigint[]) as m (topic, partition, since, upto)
 where p.topic = m.topic and p.partition = m.partition and p.next_offset = m.since
returning p.topic, p.partition
"""

SEEN = "select id::text from {schema}.inbox where id = any(%s::uuid[])"

LOAD = """
select a.kind, a.id, a.version, a.state, case when a.tail = 0 then '{{}}' else array(
       select t.records from {schema}.tails t where t.kind = a.kind and t.id = a.id order by t.version) end
  from {schema}.aggregates a
  join unnest(%s::text[], %s::text[]) as k (kind, id) on a.kind = k.kind and a.id = k.id
"""

ALL = """
select a.id, a.version, a.state, case when a.tail = 0 then '{{}}' else array(
       select t.records from {schema}.tails t where t.kind = a.kind and t.id = a.id order by t.version) end
  from {schema}.aggregates a
 where a.kind = %s
"""

PARKED = """
select p.kind, p.id, p.why
  from {schema}.parked p
  join unnest(%s::text[], %s::text[]) as k (kind, id) on p.kind = k.kind and p.id = k.id
"""

# An aggregate is replaced only if it is still at the version that the decision was made on.
STORE = """
insert into {schema}.aggregates as a (kind, id, previous, version, state, due_at, due_id, tail)
select * from unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bytea[], %s::timestamptz[], %s::text[],
                     %s::int[])
on conflict (kind, id) do update
   set previous = excluded.previous, version = excluded.version,
       state = case when excluded.tail = 0 then excluded.state else a.state end,
       due_at = excluded.due_at, due_id = excluded.due_id, tail = excluded.tail
 where a.version = excluded.previous
"""

GROW = """
insert into {schema}.tails (kind, id, version, records)
select * from unnest(%s::text[], %s::text[], %s::bigint[], %s::bytea[])
"""

SHED = """
delete from {schema}.tails t using unnest(%s::text[], %s::text[]) as k (kind, id)
 where t.kind = k.kind and t.id = k.id
"""

REMEMBER = "insert into {schema}.inbox (id) select unnest(%s::uuid[]) on conflict do nothing"

PARK = "insert into {schema}.parked (kind, id, why) values (%s, %s, %s) on conflict do nothing"

RELEASE = """
delete from {schema}.parked p using unnest(%s::text[], %s::text[]) as k (kind, id)
 where p.kind = k.kind and p.id = k.id
"""

SEND = "insert into {schema}.outbox (records) values (%s) returning id"

WAITING = "select coalesce(sum(json_array_length(convert_from(records, 'UTF8')::json)), 0) from {schema}.outbox"

DUE = """
select a.kind, a.id, a.due_id, a.due_at from {schema}.aggregates a
 where a.due_at <= %s and (not %s or a.due_at <= clock_timestamp())
   and not exists (select from {schema}.parked p where p.kind = a.kind and p.id = a.id)
 order by a.due_at limit %s
"""

# Whoever takes partitions over ends steps that have been open for longer than any takes: their process stands still,
# and would hold its rows for as long. Should it go on, it finds its connection closed, and begins anew. It may have
# lost its partitions 3 s after it stopped: the shortest session, 6 s, began with its last heartbeat, up to 3 s before.
EVICT = """
select pg_terminate_backend(pid) from pg_stat_activity
 where application_name = %s and pid <> pg_backend_pid() and xact_start < clock_timestamp() - interval '2 seconds'
"""

# Its own clock has stamped them; an index finds what is before a time that stands still while it is looked for.
PRUNE = "delete from {schema}.inbox where at < least(%s, now()) - %s"

ENSURE = """
insert into {schema}.positions (topic, partition, next_offset)
select topic, partition, 0 from unnest(%s::text[], %s::int[]) as k (topic, partition)
on conflict do nothing
"""

EMPTY = """
select not exists (select from {schema}.positions where next_offset > 0)
   and not exists (select from {schema}.aggregates)
   and not exists (select from {schema}.inbox)
"""

POSITIONS = "select topic, partition, next_offset from {schema}.positions"


@cache
def _in_schema(text: str, schema: str) -> bytes:
    """Return the statement for a schema as bytes, made once: composing it costs more than sending it."""
    return sql.SQL(text).format(schema=sql.Identifier(schema)).as_bytes(None)


def _rows(found: Sequence[tuple[str, str, int, bytes, list[bytes]]]) -> dict[Key, StoredAggregate]:
    return {
        Key(kind, ident): StoredAggregate(version, state, tuple(tail)) for kind, ident, version, state, tail in found
    }


class PostgresTransaction:
    """A transaction on a PostgresWriteStore, committed by the store's step()."""

    def __init__(self, connection: AsyncConnection, schema: str) -> None:
        self._connection = connection
        self._schema = schema

    def _sql(self, text: str) -> bytes:
        return _in_schema(text, self._schema)

    async def open(self, moves: Sequence[Move], ids: Sequence[str], keys: Sequence[Key]) -> Opened:
        """Make the moves that can be made; return which were, which of `ids` were handled, and the aggregates of
        `keys`."""
        opened = Opened()
        kinds, names = [key.kind for key in keys], [key.id for key in keys]
        async with self._connection.pipeline():
            moved = await self._connection.execute(
                self._sql(MOVE),
                (
                    [move.partition.topic for move in moves],
                    [move.partition.partition for move in moves],
                    [move.start for move in moves],
                    [move.end for move in moves],
                ),
            )
            seen = await self._connection.execute(self._sql(SEEN), (list(ids),))
            rows = await self._connection.execute(self._sql(LOAD), (kinds, names)) if keys else None
            parked = await self._connection.execute(self._sql(PARKED), (kinds, names)) if keys else None
            opened.moved = {TopicPartition(topic, number) for topic, number in await moved.fetchall()}
            opened.seen = {ident for (ident,) in await seen.fetchall()}
            if rows and parked:
                opened.rows = _rows(await rows.fetchall())
                opened.parked = {Key(kind, ident): why for kind, ident, why in await parked.fetchall()}
        return opened

    async def load(self, keys: Sequence[Key]) -> dict[Key, StoredAggregate]:
        """Return the aggregates of these keys, without those that do not exist."""
        rows = await self._connection.execute(self._sql(LOAD), ([key.kind for key in keys], [key.id for key in keys]))
        return _rows(await rows.fetchall())

    async def close(
        self,
        changes: Sequence[AggregateWrite],
        ids: Sequence[str],
        outbox: Sequence[Record],
        parked: Sequence[tuple[Key, str]],
        released: Sequence[Key] = (),
    ) -> int:
        """Store all of it; return the number of the outbox row, or 0 where `outbox` is empty. Raises Conflict."""
        number = 0
        async with self._connection.pipeline():
            stored = None
            if changes:
                stored = await self._connection.execute(
                    self._sql(STORE),
                    (
                        [change.key.kind for change in changes],
                        [change.key.id for change in changes],
                        [change.before for change in changes],
                        [change.after for change in changes],
                        [change.state for change in changes],
                        [change.due_at for change in changes],
                        [change.due_id for change in changes],
                        [change.tail for change in changes],
                    ),
                )
                if shed := [change.key for change in changes if change.shed]:
                    await self._connection.execute(
                        self._sql(SHED), ([key.kind for key in shed], [key.id for key in shed])
                    )
                if grown := [change for change in changes if change.tail]:
                    await self._connection.execute(
                        self._sql(GROW),
                        (
                            [change.key.kind for change in grown],
                            [change.key.id for change in grown],
                            [change.after for change in grown],
                            [change.records for change in grown],
                        ),
                    )
            if ids:
                await self._connection.execute(self._sql(REMEMBER), (list(ids),))
            if released:
                await self._connection.execute(
                    self._sql(RELEASE), ([key.kind for key in released], [key.id for key in released])
                )
            for key, why in parked:
                await self._connection.execute(self._sql(PARK), (key.kind, key.id, why))
            sent = await self._connection.execute(self._sql(SEND), (pack(outbox),)) if outbox else None
            if sent:
                row = await sent.fetchone()
                number = row[0] if row else 0
        if stored is not None and stored.rowcount != len(changes):
            raise Conflict(f"{len(changes) - stored.rowcount} of {len(changes)} aggregates had changed")
        return number


class PostgresWriteStore:
    """The WriteStore of one kind of processor, in a schema of its own."""

    def __init__(self, dsn: str, schema: str, timeout: float = 30.0) -> None:
        """Connect at first use. `timeout` is how many seconds a statement or transaction may take."""
        self._dsn = dsn
        self._schema = schema
        self._timeout = timeout
        self._connection: AsyncConnection | None = None
        self._lock = asyncio.Lock()
        self._forgetter: AsyncConnection | None = None
        self._forgetting = asyncio.Lock()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[AsyncConnection]:
        async with self._lock:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = await AsyncConnection.connect(
                        self._dsn,
                        options=f"-c statement_timeout={int(self._timeout * 1000)}",
                        application_name=f"gostack-{self._schema}",
                        prepare_threshold=2,
                        **CONNECTION_TIMEOUTS,
                    )
                async with asyncio.timeout(self._timeout), self._connection.transaction():
                    yield self._connection
            except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError) as error:
                if self._connection is not None:
                    await self._connection.close()
                raise WriteStoreUnavailable(text_of(error) or named(error)) from error

    def _sql(self, text: str) -> bytes:
        return _in_schema(text, self._schema)

    @asynccontextmanager
    async def step(self) -> AsyncIterator[PostgresTransaction]:
        """Begin a transaction, which is committed where the block ends without an exception.

        Raises WriteStoreUnavailable."""
        async with self._open() as connection:
            yield PostgresTransaction(connection, self._schema)

    async def positions(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset to read each partition from, and end transactions that another process left open.

        Raises WriteStoreUnavailable."""
        async with self._open() as connection:
            await connection.execute(EVICT, (f"gostack-{self._schema}",))
            await connection.execute(
                self._sql(ENSURE), ([each.topic for each in partitions], [each.partition for each in partitions])
            )
            rows = await connection.execute(self._sql(POSITIONS))
            known = {TopicPartition(topic, number): offset for topic, number, offset in await rows.fetchall()}
        return {each: known[each] for each in partitions}

    async def reached(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset that each partition is processed up to. Raises WriteStoreUnavailable."""
        async with self._open() as connection:
            rows = await connection.execute(self._sql(POSITIONS))
            known = {TopicPartition(topic, number): offset for topic, number, offset in await rows.fetchall()}
        return {each: known.get(each, 0) for each in partitions}

    async def empty(self) -> bool:
        """Return whether the store is as it was created. Raises WriteStoreUnavailable."""
        async with self._open() as connection:
            found = await (await connection.execute(self._sql(EMPTY))).fetchone()
            return bool(found and found[0])

    async def all(self, kind: str) -> dict[Key, StoredAggregate]:
        """Return every aggregate of a kind, by its key. Raises WriteStoreUnavailable."""
        async with self._open() as connection:
            rows = await connection.execute(self._sql(ALL), (kind,))
            return {
                Key(kind, ident): StoredAggregate(version, state, tuple(tail))
                for ident, version, state, tail in await rows.fetchall()
            }

    async def unsent(self) -> list[tuple[int, list[Record]]]:
        """Return the outbox rows that are not acknowledged, oldest first. Raises WriteStoreUnavailable."""
        async with self._open() as connection:
            rows = await connection.execute(self._sql("select id, records from {schema}.outbox order by id"))
            return [(number, unpack(records)) for number, records in await rows.fetchall()]

    async def waiting(self) -> int:
        """Return how many records wait in the outbox; the database counts them. Raises WriteStoreUnavailable."""
        async with self._open() as connection:
            row = await (await connection.execute(self._sql(WAITING))).fetchone()
            return int(row[0]) if row else 0

    async def sent(self, numbers: Sequence[int]) -> None:
        """Delete these outbox rows, without waiting for the disk: a row that comes back after a crash is sent again,
        which does no harm.

        Raises WriteStoreUnavailable."""
        async with self._forgetting:
            try:
                if self._forgetter is None or self._forgetter.closed:
                    self._forgetter = await AsyncConnection.connect(
                        self._dsn,
                        autocommit=True,
                        options=f"-c statement_timeout={int(self._timeout * 1000)} -c synchronous_commit=off",
                        prepare_threshold=2,
                        **CONNECTION_TIMEOUTS,
                    )
                async with asyncio.timeout(self._timeout):
                    await self._forgetter.execute(
                        self._sql("delete from {schema}.outbox where id = any(%s)"), (list(numbers),)
                    )
            except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError) as error:
                if self._forgetter is not None:
                    await self._forgetter.close()
                raise WriteStoreUnavailable(text_of(error) or named(error)) from error

    async def due(self, now: datetime, most: int, sure: bool = False) -> list[Due]:
        """Return deadlines that passed before `now`, oldest first; with `sure`, by the database's clock, too.

        Raises WriteStoreUnavailable."""
        async with self._open() as connection:
            rows = await connection.execute(self._sql(DUE), (now, sure, most))
            return [Due(Key(kind, ident), due_id, due_at) for kind, ident, due_id, due_at in await rows.fetchall()]

    async def parked(self) -> dict[Key, str]:
        """Return the keys of parked aggregates, and why each is parked. Raises WriteStoreUnavailable."""
        async with self._open() as connection:
            rows = await connection.execute(self._sql("select kind, id, why from {schema}.parked order by at"))
            return {Key(kind, ident): why for kind, ident, why in await rows.fetchall()}

    async def prune(self, now: datetime, keep: timedelta) -> int:
        """Delete handled ids that are older than `keep` by both clocks; return how many.

        Raises WriteStoreUnavailable."""
        async with self._open() as connection:
            gone = await connection.execute(self._sql(PRUNE), (now, keep))
            return gone.rowcount

    async def close(self) -> None:
        """Close the connections to the database."""
        for connection in (self._connection, self._forgetter):
            if connection is not None:
                await connection.close()
