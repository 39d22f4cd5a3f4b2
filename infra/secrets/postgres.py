"""Secrets in PostgreSQL, each encrypted before it leaves the process: a copy of the database reveals none."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from infra.db.pool import Connections
from infra.secrets.encryption import Encryption
from infra.secrets.secrets import SecretsUnavailable

# An existing value stays: a repeated request must not change a password that was returned already.
PUT = """
insert into secrets (id, instance_id, sealed, until) values (%s, %s, %s, now() + %s::interval) on conflict do nothing
"""

GET = "select sealed from secrets where id = %s and (until is null or until > now())"

EXPIRE = "delete from secrets where until <= now()"

DROP = "delete from secrets where id = %s"

FORGET = "delete from secrets where instance_id = any(%s) and until is null"

HELD = """
select instance_id from secrets where at < %s and until is null group by instance_id order by min(at) limit %s
"""


class PostgresSecrets:
    """A SecretStore in the table `secrets`."""

    def __init__(self, dsn: str, encryption: Encryption, pool_size: int = 4) -> None:
        """Make a store without connections; open() makes them."""
        self._encryption = encryption
        self._connections = Connections(dsn, pool_size, SecretsUnavailable)

    async def open(self) -> None:
        """Start connecting, and return at once: where the database is away, each use waits for it."""
        await self._connections.open()

    async def put(self, ref: str, instance_id: str, value: str, keep_for: timedelta | None = None) -> str | None:
        """Keep a text, unless there is one under `ref`; return the one that is kept.

        Raises ValueError where the text is too long, SecretsUnavailable."""
        return _text(await self.put_bytes(ref, instance_id, value.encode(), keep_for))

    async def put_bytes(
        self, ref: str, instance_id: str, value: bytes, keep_for: timedelta | None = None
    ) -> bytes | None:
        """Keep a value, unless there is one under `ref`; return the one that is kept.

        Raises ValueError where the value is too long, SecretsUnavailable."""
        encrypted = self._encryption.encrypt(value)
        async with self._connections.lend() as connection:
            made = await connection.execute(PUT, (ref, instance_id, encrypted, keep_for))
        return value if made.rowcount else await self.get_bytes(ref)

    async def get(self, ref: str) -> str | None:
        """Return the text under a reference, or None. Raises as get_bytes() does."""
        return _text(await self.get_bytes(ref))

    async def get_bytes(self, ref: str) -> bytes | None:
        """Return the value under a reference, or None.

        Raises SecretsUnavailable, cryptography.fernet.InvalidToken where it was encrypted with another key."""
        async with self._connections.lend() as connection:
            rows = await connection.execute(GET, (ref,))
            row = await rows.fetchone()
        return self._encryption.decrypt(bytes(row[0])) if row else None

    async def forget(self, instance_ids: Sequence[str]) -> None:
        """Delete all secrets of these instances. Raises SecretsUnavailable."""
        async with self._connections.lend() as connection:
            await connection.execute(FORGET, (list(instance_ids),))

    async def drop(self, ref: str) -> None:
        """Delete the secret under a reference. Raises SecretsUnavailable."""
        async with self._connections.lend() as connection:
            await connection.execute(DROP, (ref,))

    async def expire(self) -> int:
        """Delete what nobody can read any more. Raises SecretsUnavailable."""
        async with self._connections.lend() as connection:
            return (await connection.execute(EXPIRE)).rowcount

    async def held(self, before: datetime, most: int) -> list[str]:
        """Return instances with secrets that were stored before `before`, oldest first. Raises SecretsUnavailable."""
        async with self._connections.lend() as connection:
            rows = await connection.execute(HELD, (before, most))
            return [instance_id for (instance_id,) in await rows.fetchall()]

    def digest(self, value: str) -> str:
        """Return the keyed digest of a value, in hexadecimal."""
        return self._encryption.digest(value)

    async def close(self) -> None:
        """Close all connections to the database."""
        await self._connections.close()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()
