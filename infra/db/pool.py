"""A pool of connections to PostgreSQL, which checks a connection before use only where it has been idle.

Why not each time: the check costs as much as most queries that follow it, and under load a connection that worked
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

from infra.process.error_text import text_of

IDLE_SECONDS = 1.0
OPTIONS = "-c statement_timeout=10000"
MOST_WAITING = 1000
"""Callers that may wait for a connection of a pool; more are refused at once, as if the database were away."""

CONNECTION_TIMEOUTS: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}
"""Options of every connection: after some 15 seconds without a packet from the server's machine it counts as lost. The
operating system would wait for hours; `statement_timeout` does not help, since the server enforces it."""


def connect(dsn: str) -> psycopg.Connection[Any]:
    """Open a connection that commits each statement, for code that may block. Raises psycopg.OperationalError."""
    return psycopg.connect(dsn, autocommit=True, **CONNECTION_TIMEOUTS)


_used: WeakKeyDictionary[AsyncConnection[Any], float] = WeakKeyDictionary()


async def alive_if_idle(connection: AsyncConnection[Any]) -> None:
    """Check a connection that was idle for IDLE_SECONDS or more. Raises psycopg.OperationalError where it is dead."""
    now = time.monotonic()
    if now - _used.get(connection, 0.0) > IDLE_SECONDS:
        await AsyncConnectionPool.check_connection(connection)
    _used[connection] = now


class Connections:
    """A pool of connections that turns all errors of pool and server into one exception that its owner documents."""

    def __init__(self, dsn: str, size: int, away: type[Exception], options: str = OPTIONS) -> None:
        """Make a pool of at most `size` connections, closed until open() is called.

        `away` is the exception raised where the database does not answer; `options` are PostgreSQL's, for each
        connection."""
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
        """Start connecting, and return at once: where the database is away, lend() waits for it."""
        await self._pool.open()

    async def close(self) -> None:
        """Close all connections of the pool."""
        await self._pool.close()

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Lend a connection for the time of a block. Raises the exception `away` where none can be had."""
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise self._away(text_of(error)) from error
