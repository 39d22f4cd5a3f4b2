"""Secrets in memory: the twin of PostgreSQL's, for fast tests; encrypted as well, so that both fail alike."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from infra.secrets.encryption import Encryption


@dataclass(frozen=True)
class _Kept:
    owner: str
    encrypted: bytes
    until: datetime | None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def expired(self) -> bool:
        return self.until is not None and self.until <= datetime.now(UTC)


class MemorySecrets:
    """A SecretStore that keeps encrypted values in a dictionary."""

    def __init__(self) -> None:
        self._encryption = Encryption.with_new_key()
        self._kept: dict[str, _Kept] = {}

    async def put(self, ref: str, instance_id: str, value: str, keep_for: timedelta | None = None) -> str | None:
        """Keep a text, unless there is one under `ref`; return the one that is kept. Raises ValueError."""
        kept = await self.put_bytes(ref, instance_id, value.encode(), keep_for)
        return None if kept is None else kept.decode()

    async def put_bytes(
        self, ref: str, instance_id: str, value: bytes, keep_for: timedelta | None = None
    ) -> bytes | None:
        """Keep a value, unless there is one under `ref`; return the one that is kept. Raises ValueError."""
        until = None if keep_for is None else datetime.now(UTC) + keep_for
        made = _Kept(instance_id, self._encryption.encrypt(value), until)
        return value if self._kept.setdefault(ref, made) is made else await self.get_bytes(ref)

    async def get(self, ref: str) -> str | None:
        """Return the text under a reference, or None."""
        found = await self.get_bytes(ref)
        return None if found is None else found.decode()

    async def get_bytes(self, ref: str) -> bytes | None:
        """Return the value under a reference, or None."""
        found = self._kept.get(ref)
        return self._encryption.decrypt(found.encrypted) if found and not found.expired else None

    async def forget(self, instance_ids: Sequence[str]) -> None:
        """Delete all secrets of these instances but those with a time to live."""
        self._kept = {
            ref: kept for ref, kept in self._kept.items() if kept.until is not None or kept.owner not in instance_ids
        }

    async def drop(self, ref: str) -> None:
        """Delete the secret under a reference."""
        self._kept.pop(ref, None)

    async def expire(self) -> int:
        """Delete what nobody can read any more."""
        before = len(self._kept)
        self._kept = {ref: kept for ref, kept in self._kept.items() if not kept.expired}
        return before - len(self._kept)

    async def held(self, before: datetime, most: int) -> list[str]:
        """Return instances with secrets that were stored before `before`, oldest first, at most `most`."""
        oldest = sorted((kept for kept in self._kept.values() if kept.until is None), key=lambda kept: kept.at)
        return list(dict.fromkeys(kept.owner for kept in oldest if kept.at < before))[:most]

    def digest(self, value: str) -> str:
        """Return the keyed digest of a value, in hexadecimal."""
        return self._encryption.digest(value)

    async def close(self) -> None:
        """Do nothing: there is no connection to close."""
