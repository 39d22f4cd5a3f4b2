"""How a pooled connection is known to be alive: asked only where it has lain idle.

Why not each time: the question costs as much as most queries that follow it, and under load a connection that worked
a moment ago works. After a restart of PostgreSQL those that lay idle are found dead before they are used.
"""

import time
from typing import Any
from weakref import WeakKeyDictionary

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

IDLE_SECONDS = 1.0
MOST_WAITING = 1000
"""Who may wait for a connection of a pool; others are refused at once, as if the database were away."""

_used: WeakKeyDictionary[AsyncConnection[Any], float] = WeakKeyDictionary()


async def alive_if_idle(connection: AsyncConnection[Any]) -> None:
    """The `check` of a pool. Raises psycopg.OperationalError for a connection that is dead."""
    now = time.monotonic()
    if now - _used.get(connection, 0.0) > IDLE_SECONDS:
        await AsyncConnectionPool.check_connection(connection)
    _used[connection] = now
