"""Secrets in memory: the twin of PostgreSQL's, for fast tests. Sealed all the same, so that both fail alike."""

from collections.abc import Sequence
from datetime import UTC, datetime

from infra.secrets.encryption import Encryption


class MemorySecrets:
    """A dictionary of sealed values."""

    def __init__(self) -> None:
        self._encryption = Encryption.with_new_key()
        self._kept: dict[str, tuple[str, bytes, datetime]] = {}

    async def put(self, ref: str, instance_id: str, value: str) -> str:
        """Keep a value, unless the reference is taken; what is kept. Raises ValueError."""
        _, sealed, _ = self._kept.setdefault(ref, (instance_id, self._encryption.encrypt(value), datetime.now(UTC)))
        return self._encryption.decrypt(sealed)

    async def get(self, ref: str) -> str | None:
        """The value, or None."""
        found = self._kept.get(ref)
        return self._encryption.decrypt(found[1]) if found else None

    async def forget(self, instance_ids: Sequence[str]) -> None:
        """Remove all that is kept for these instances."""
        self._kept = {ref: kept for ref, kept in self._kept.items() if kept[0] not in instance_ids}

    async def drop(self, ref: str) -> None:
        """Remove what is behind one reference."""
        self._kept.pop(ref, None)

    async def held(self, before: datetime, most: int) -> list[str]:
        """Instances for which something is kept since before this moment, longest first."""
        oldest = sorted(self._kept.values(), key=lambda kept: kept[2])
        return list(dict.fromkeys(owner for owner, _, at in oldest if at < before))[:most]

    def digest(self, value: str) -> str:
        """A keyed digest."""
        return self._encryption.digest(value)

    async def close(self) -> None:
        """Nothing to let go of."""
