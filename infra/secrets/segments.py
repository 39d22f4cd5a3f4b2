"""Numbers of network segments (VXLAN network identifiers, 24 bits): each is assigned once, by a sequence of
the database.

Why not by the network's own stream: two networks are two streams, so neither could know that a number is taken. The
sequence of a new database begins again; the API raises it above the numbers in the read model.
"""

from typing import Protocol

import psycopg
from psycopg import AsyncConnection

from infra.db.pool import CONNECTION_TIMEOUTS
from infra.process.error_text import text_of
from infra.secrets.secrets import SecretsUnavailable

NEXT = "select nextval('network_segments')"

# Forward only: a sequence that is ahead already stays there.
RAISE = """
select setval('network_segments', %(least)s, false) from network_segments s
 where s.last_value + case when s.is_called then 1 else 0 end < %(least)s
"""


class Segments(Protocol):
    """A source of segment numbers, each of which is returned once."""

    async def next(self) -> int:
        """Return a number that was never returned before. Raises SecretsUnavailable."""

    async def raise_to(self, least: int) -> None:
        """Return no number below `least` from now on. Raises SecretsUnavailable."""


class MemorySegments:
    """Segments by a counter in memory: the twin of PostgreSQL's, for fast tests."""

    def __init__(self) -> None:
        self._next = 1

    async def next(self) -> int:
        """Return a number that was never returned before."""
        self._next += 1
        return self._next - 1

    async def raise_to(self, least: int) -> None:
        """Return no number below `least` from now on."""
        self._next = max(self._next, least)


class PostgresSegments:
    """Segments by the sequence `network_segments`, with a connection a call: networks are made rarely."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def _run(self, text: bytes, values: dict[str, int]) -> int:
        try:
            async with await AsyncConnection.connect(self._dsn, autocommit=True, **CONNECTION_TIMEOUTS) as connection:
                rows = await connection.execute(text, values)
                row = await rows.fetchone()
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise SecretsUnavailable(text_of(error)) from error
        return int(row[0]) if row else 0

    async def next(self) -> int:
        """Return a number that was never returned before. Raises SecretsUnavailable."""
        return await self._run(NEXT.encode(), {})

    async def raise_to(self, least: int) -> None:
        """Return no number below `least` from now on. Raises SecretsUnavailable."""
        await self._run(RAISE.encode(), {"least": least})
