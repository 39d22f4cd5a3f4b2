"""Connections to PostgreSQL that are lent out, and known to be alive: asked only where one has lain idle.

Why not each time: the question costs as much as most queries that follow it, and under load a connection that worked
a moment ago works. After a restart of PostgreSQL those that lay idle are found dead before they are used.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

IDLE_SECONDS = 1.0
OPTIONS = "-c statement_timeout=10000"
MOST_WAITING = 1000
"""Who may wait for a connection of a pool; others are refused at once, as if the database were away."""

CONNECTION_TIMEOUTS: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}
"""For every connection: after some 15 seconds without a sign of the server's machine it counts as lost. The system's
own patience is hours, in which the statement's timeout helps nobody: it is the server's."""


def connect(dsn: str) -> psycopg.Connection[Any]:
    """A connection that commits each statement, for work that waits for it. Raises psycopg.OperationalError."""
    return psycopg.connect(dsn, autocommit=True, **CONNECTION_TIMEOUTS)


_used: WeakKeyDictionary[AsyncConnection[Any], float] = WeakKeyDictionary()


async def alive_if_idle(connection: AsyncConnection[Any]) -> None:
    """The `check` of a pool. Raises psycopg.OperationalError for a connection that is dead."""
    now = time.monotonic()
    if now - _used.get(connection, 0.0) > IDLE_SECONDS:
        await AsyncConnectionPool.check_connection(connection)
    _used[connection] = now


class Connections:
    """A pool, whose own errors and those of the server are told as the one that its owner promises."""

    def __init__(self, dsn: str, size: int, away: type[Exception], options: str = OPTIONS) -> None:
        """`away` is raised where the database does not answer; `options` are PostgreSQL's, of each connection."""
        self._away = away
        self._pool: AsyncConnectionPool[AsyncConnection[Any]] = AsyncConnectionPool(
            dsn,
            min_size=1,
            max_size=size,
            open=False,
            timeout=10,
            max_waiting=MOST_WAITING,
            kwargs={"autocommit": True, "prepare_threshold": 2, "options": options, **CONNECTION_TIMEOUTS},
            check=alive_if_idle,
        )

    async def open(self) -> None:
        """Connect; a database that is not there yet is waited for at use."""
        await self._pool.open()

    async def close(self) -> None:
        """Let go of all connections."""
        await self._pool.close()

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[AsyncConnection[Any]]:
        """One of them, for the time of a block."""
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise self._away(str(error)) from error
