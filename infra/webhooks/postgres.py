"""Deliveries in PostgreSQL, with the lease in the same row."""

from collections.abc import Sequence
from dataclasses import astuple, fields
from datetime import datetime
from typing import Any

from infra.db.pool import Connections
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
    """Deliveries in the table `webhook_deliveries`."""

    def __init__(self, dsn: str, pool_size: int = 4) -> None:
        self._connections = Connections(dsn, pool_size, DeliveriesUnavailable)

    async def open(self) -> None:
        """Start connecting, and return at once: where the database is away, each use waits for it."""
        await self._connections.open()

    async def take(
        self, ident: str, begins: Sequence[int], holder: str, now: datetime, until: datetime
    ) -> Delivery | None:
        """Take the lease of a delivery, and return it; None while another process holds it.

        Raises DeliveriesUnavailable."""
        given = {"id": ident, "begins": list(begins), "holder": holder, "now": now, "until": until}
        async with self._connections.lend() as connection:
            rows = await connection.execute(TAKE, given)
            row = await rows.fetchone()
        return _delivery(row) if row else None

    async def keep(self, delivery: Delivery, holder: str, until: datetime) -> bool:
        """Store how far a delivery is; return False where another process holds it. Raises DeliveriesUnavailable."""
        ident, offsets, *rest = astuple(delivery)
        async with self._connections.lend() as connection:
            kept = await connection.execute(KEEP, (list(offsets), *rest, until, ident, holder))
            return kept.rowcount == 1

    async def leave(self, ident: str, holder: str) -> None:
        """Give up the lease of `holder`. Raises DeliveriesUnavailable."""
        async with self._connections.lend() as connection:
            await connection.execute(LEAVE, (ident, holder))

    async def get(self, idents: Sequence[str]) -> dict[str, Delivery]:
        """Return the deliveries to these webhooks, without those that have none yet. Raises DeliveriesUnavailable."""
        async with self._connections.lend() as connection:
            rows = await connection.execute(GET, (list(idents),))
            return {row[0]: _delivery(row) for row in await rows.fetchall()}

    async def forget(self, ident: str) -> None:
        """Delete the delivery to a webhook that was deleted. Raises DeliveriesUnavailable."""
        async with self._connections.lend() as connection:
            await connection.execute(FORGET, (ident,))

    async def close(self) -> None:
        """Close all connections to the database."""
        await self._connections.close()


def _delivery(row: tuple[Any, ...]) -> Delivery:
    ident, offsets, *rest = row
    return Delivery(ident, tuple(offsets), *rest)
