"""Runs in PostgreSQL, beside the generations of read models that they make."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, cast

import psycopg
from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation
from psycopg.rows import dict_row

from infra.db.pool import CONNECTION_TIMEOUTS
from infra.process.error_text import text_of
from projections.maintenance.runs import LOST, MOST_PROBLEMS, SILENCE, Run, RunUnderWay
from projections.store.port import StoreUnavailable
from projections.views.view import UnknownMarker

ASK = "insert into projection_runs (id, kind, status, actor, asked) values (%s, %s, 'asked', %s, %s)"
UNDER_WAY = "select id from projection_runs where status in ('asked', 'running')"
FAIL_LOST = """
update projection_runs set status = 'failed', finished = %s, error = %s where status = 'running' and seen < %s
"""
TAKE = "update projection_runs set status = 'running', started = %s, seen = %s where status = 'asked' returning *"
TELL = "update projection_runs set seen = %s, done = %s, total = %s where id = %s and status = 'running'"
END = """
update projection_runs set status = %s, finished = %s, problems = %s, error = %s where id = %s and status = 'running'
"""
GET = "select * from projection_runs where id = %s"
PAGE = "select * from projection_runs"
NEWEST = " order by asked desc, id desc limit %s"


class PostgresRuns:
    """Runs in a table. Each call makes a connection of its own: calls are few."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[AsyncConnection[dict[str, Any]]]:
        try:
            async with await AsyncConnection.connect(
                self._dsn, autocommit=True, row_factory=dict_row, **CONNECTION_TIMEOUTS
            ) as connection:
                yield connection
        except psycopg.Error as error:
            # Of whatever kind: one that only reads, until another has taken over, says so by an error of its own.
            raise StoreUnavailable(text_of(error)) from error

    async def request(self, run: Run) -> None:
        """Store a new run. Raises RunUnderWay, StoreUnavailable."""
        async with self._connect() as connection:
            try:
                await connection.execute(ASK, (run.id, run.kind, run.actor, run.asked))
            except UniqueViolation as error:
                found = await (await connection.execute(UNDER_WAY)).fetchone()
                raise RunUnderWay(found["id"] if found else "") from error

    async def take(self, now: datetime) -> Run | None:
        """Mark the requested run as running and return it, or None; a run whose process was lost becomes failed.

        Raises StoreUnavailable.
        """
        async with self._connect() as connection:
            await connection.execute(FAIL_LOST, (now, LOST, now - SILENCE))
            found = await (await connection.execute(TAKE, (now, now))).fetchone()
        return _run(found) if found else None

    async def report_progress(self, ident: str, now: datetime, done: int, total: int) -> None:
        """Record how many events of a running run are done. Raises StoreUnavailable."""
        async with self._connect() as connection:
            await connection.execute(TELL, (now, done, total, ident))

    async def end(self, ident: str, now: datetime, problems: tuple[str, ...] = (), error: str = "") -> None:
        """Mark a running run as finished, or as failed where there is an error. Raises StoreUnavailable."""
        status = "failed" if error else "finished"
        async with self._connect() as connection:
            await connection.execute(END, (status, now, list(problems[:MOST_PROBLEMS]), error, ident))

    async def get(self, ident: str) -> Run | None:
        """Return the run with this id, or None. Raises StoreUnavailable."""
        async with self._connect() as connection:
            found = await (await connection.execute(GET, (ident,))).fetchone()
        return _run(found) if found else None

    async def page(self, limit: int, marker: str = "") -> list[Run]:
        """Return the newest runs, at most `limit`, requested before the one with the id `marker`.

        Raises UnknownMarker, StoreUnavailable.
        """
        async with self._connect() as connection:
            if not marker:
                rows = await connection.execute(PAGE + NEWEST, (limit,))
            else:
                last = await (await connection.execute(GET, (marker,))).fetchone()
                if last is None:
                    raise UnknownMarker(marker)
                before = PAGE + " where (asked, id) < (%s, %s)" + NEWEST
                rows = await connection.execute(before, (last["asked"], last["id"], limit))
            return [_run(each) for each in await rows.fetchall()]


def _run(row: dict[str, Any]) -> Run:
    return Run(**cast(dict[str, Any], row | {"problems": tuple(row["problems"])}))
