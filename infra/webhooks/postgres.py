"""Deliveries in PostgreSQL."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import astuple, fields
from datetime import datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from infra.db.pool import MOST_WAITING, alive_if_idle
from infra.webhooks.deliveries import DeliveriesUnavailable, Delivery

COLUMNS = ", ".join(each.name for each in fields(Delivery))

TAKE = f"""
insert into webhook_deliveries as d (id, offsets, holder, held_until) values (%(id)s, %(begins)s, %(holder)s, %(until)s)
on conflict (id) do update set holder = excluded.holder, held_until = excluded.held_until
 where d.holder in ('', excluded.holder) or d.held_until <= %(now)s
returning {COLUMNS}
"""  # noqa: S608

KEEP = """
update webhook_deliveries
   set offsets = %s, turn = %s, delivered = %s, failures = %s, failing = %s, next_at = %s, last_event = %s,
       last_at = %s, last_status = %s, last_error = %s, held_until = %s
 where id = %s and holder = %s
"""

LEAVE = "update webhook_deliveries set holder = '' where id = %s and holder = %s"

GET = f"select {COLUMNS} from webhook_deliveries where id = any(%s)"  # noqa: S608

FORGET = "delete from webhook_deliveries where id = %s"


class PostgresDeliveries:
    """The table of that name."""

    def __init__(self, dsn: str, pool_size: int = 4) -> None:
        self._pool: AsyncConnectionPool[AsyncConnection[Any]] = AsyncConnectionPool(
            dsn,
            min_size=1,
            max_size=pool_size,
            open=False,
            timeout=10,
            max_waiting=MOST_WAITING,
            kwargs={"autocommit": True, "prepare_threshold": 2, "options": "-c statement_timeout=10000"},
            check=alive_if_idle,
        )

    async def open(self) -> None:
        """Connect; a database that is not there yet is waited for at use."""
        await self._pool.open()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[AsyncConnection[Any]]:
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise DeliveriesUnavailable(str(error)) from error

    async def take(
        self, ident: str, begins: Sequence[int], holder: str, now: datetime, until: datetime
    ) -> Delivery | None:
        """Hold a webhook's until then; None while another holds it. Raises DeliveriesUnavailable."""
        given = {"id": ident, "begins": list(begins), "holder": holder, "now": now, "until": until}
        async with self._connect() as connection:
            rows = await connection.execute(TAKE, given)
            row = await rows.fetchone()
        return _delivery(row) if row else None

    async def keep(self, delivery: Delivery, holder: str, until: datetime) -> bool:
        """Keep how far it is; False where another holds it. Raises DeliveriesUnavailable."""
        ident, offsets, *rest = astuple(delivery)
        async with self._connect() as connection:
            kept = await connection.execute(KEEP, (list(offsets), *rest, until, ident, holder))
            return kept.rowcount == 1

    async def leave(self, ident: str, holder: str) -> None:
        """Let another have it at once. Raises DeliveriesUnavailable."""
        async with self._connect() as connection:
            await connection.execute(LEAVE, (ident, holder))

    async def get(self, idents: Sequence[str]) -> dict[str, Delivery]:
        """Those of these webhooks. Raises DeliveriesUnavailable."""
        async with self._connect() as connection:
            rows = await connection.execute(GET, (list(idents),))
            return {row[0]: _delivery(row) for row in await rows.fetchall()}

    async def forget(self, ident: str) -> None:
        """The webhook is gone. Raises DeliveriesUnavailable."""
        async with self._connect() as connection:
            await connection.execute(FORGET, (ident,))

    async def close(self) -> None:
        """Let go of all connections."""
        await self._pool.close()


def _delivery(row: tuple[Any, ...]) -> Delivery:
    ident, offsets, *rest = row
    return Delivery(ident, tuple(offsets), *rest)
