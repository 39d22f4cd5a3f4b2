"""Secrets in memory: the twin of PostgreSQL's, for fast tests; encrypted as well, so that both fail alike."""

from collections.abc import Sequence
from datetime import UTC, datetime

from infra.secrets.encryption import Encryption


class MemorySecrets:
    """A SecretStore that keeps encrypted values in a dictionary."""

    def __init__(self) -> None:
        self._encryption = Encryption.with_new_key()
        self._kept: dict[str, tuple[str, bytes, datetime]] = {}

    async def put(self, ref: str, instance_id: str, value: str) -> str:
        """Keep a value, unless there is one under `ref`; return the one that is kept. Raises ValueError."""
        _, encrypted, _ = self._kept.setdefault(ref, (instance_id, self._encryption.encrypt(value), datetime.now(UTC)))
        return self._encryption.decrypt(encrypted)

    async def get(self, ref: str) -> str | None:
        """Return the value under a reference, or None."""
        found = self._kept.get(ref)
        return self._encryption.decrypt(found[1]) if found else None

    async def forget(self, instance_ids: Sequence[str]) -> None:
        """Delete all secrets of these instances."""
        self._kept = {ref: kept for ref, kept in self._kept.items() if kept[0] not in instance_ids}

    async def drop(self, ref: str) -> None:
        """Delete the secret under a reference."""
        self._kept.pop(ref, None)

    async def held(self, before: datetime, most: int) -> list[str]:
        """Return instances with secrets that were stored before `before`, oldest first, at most `most`."""
        oldest = sorted(self._kept.values(), key=lambda kept: kept[2])
        return list(dict.fromkeys(owner for owner, _, at in oldest if at < before))[:most]

    def digest(self, value: str) -> str:
        """Return the keyed digest of a value, in hexadecimal."""
        return self._encryption.digest(value)

    async def close(self) -> None:
        """Do nothing: there is no connection to close."""
