"""Secrets in PostgreSQL, each sealed before it leaves the process: a copy of the database opens none."""

from collections.abc import Sequence
from datetime import datetime

from infra.db.pool import Connections
from infra.secrets.encryption import Encryption
from infra.secrets.secrets import SecretsUnavailable

# A reference that is taken keeps what it has: a repeated request must not change a password that was told already.
PUT = "insert into secrets (id, instance_id, sealed) values (%s, %s, %s) on conflict do nothing"

GET = "select sealed from secrets where id = %s"

DROP = "delete from secrets where id = %s"

FORGET = "delete from secrets where instance_id = any(%s)"

HELD = "select instance_id from secrets where at < %s group by instance_id order by min(at) limit %s"


class PostgresSecrets:
    """Secrets in the table of that name."""

    def __init__(self, dsn: str, encryption: Encryption, pool_size: int = 4) -> None:
        self._encryption = encryption
        self._connections = Connections(dsn, pool_size, SecretsUnavailable)

    async def open(self) -> None:
        """Connect; a database that is not there yet is waited for at use."""
        await self._connections.open()

    async def put(self, ref: str, instance_id: str, value: str) -> str | None:
        """Keep a value, unless the reference is taken; what is kept. Raises ValueError, SecretsUnavailable."""
        sealed = self._encryption.encrypt(value)
        async with self._connections.lend() as connection:
            made = await connection.execute(PUT, (ref, instance_id, sealed))
        return value if made.rowcount else await self.get(ref)

    async def get(self, ref: str) -> str | None:
        """The value, or None. Raises SecretsUnavailable, cryptography.fernet.InvalidToken for another key's."""
        async with self._connections.lend() as connection:
            rows = await connection.execute(GET, (ref,))
            row = await rows.fetchone()
        return self._encryption.decrypt(bytes(row[0])) if row else None

    async def forget(self, instance_ids: Sequence[str]) -> None:
        """Remove all that is kept for these instances. Raises SecretsUnavailable."""
        async with self._connections.lend() as connection:
            await connection.execute(FORGET, (list(instance_ids),))

    async def drop(self, ref: str) -> None:
        """Remove what is behind one reference. Raises SecretsUnavailable."""
        async with self._connections.lend() as connection:
            await connection.execute(DROP, (ref,))

    async def held(self, before: datetime, most: int) -> list[str]:
        """Instances for which something is kept since before this moment, longest first. Raises SecretsUnavailable."""
        async with self._connections.lend() as connection:
            rows = await connection.execute(HELD, (before, most))
            return [instance_id for (instance_id,) in await rows.fetchall()]

    def digest(self, value: str) -> str:
        """A keyed digest."""
        return self._encryption.digest(value)

    async def close(self) -> None:
        """Let go of all connections."""
        await self._connections.close()
