"""Secrets, such as passwords and user data for guests: kept encrypted beside the log, never in it.

Why a port: the log is kept for ever and read by many, so it holds a reference only; the secret under the reference can
be deleted as soon as the guest has it. PostgreSQL and the twin in memory pass the same contract in
tests/contract/test_secrets.py.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

LONGEST = 128 * 1024
"""Bytes that a secret may have."""


class SecretsUnavailable(Exception):
    """The database of secrets did not answer in time."""


class KeyInvalid(Exception):
    """The key file does not hold a key: 32 bytes as urlsafe base64."""


class SecretStore(Protocol):
    """A store of secrets, each under a reference and of an instance (or a webhook).

    A secret with a time to live is nobody's: it is deleted when that has passed, and by nothing else but drop().
    """

    async def put(self, ref: str, instance_id: str, value: str, keep_for: timedelta | None = None) -> str | None:
        """Keep a text under a reference, as put_bytes() does."""

    async def put_bytes(
        self, ref: str, instance_id: str, value: bytes, keep_for: timedelta | None = None
    ) -> bytes | None:
        """Keep a value under a reference, for this time or until it is deleted, and return the value that is kept.

        An existing value stays, so that a repeated request changes nothing. Returns None where the existing value was
        deleted meanwhile. Raises ValueError where the value is longer than LONGEST bytes, SecretsUnavailable.
        """

    async def get(self, ref: str) -> str | None:
        """Return the text under a reference, as get_bytes() does."""

    async def get_bytes(self, ref: str) -> bytes | None:
        """Return the value under a reference, or None where there is none (any more). Raises SecretsUnavailable."""

    async def forget(self, instance_ids: Sequence[str]) -> None:
        """Delete all secrets of these instances, if there are any, but those with a time to live.

        Raises SecretsUnavailable."""

    async def drop(self, ref: str) -> None:
        """Delete the secret under a reference, if there is one. Raises SecretsUnavailable."""

    async def expire(self) -> int:
        """Delete all secrets whose time to live has passed, which nobody can read any more; return how many.

        Raises SecretsUnavailable."""

    async def held(self, before: datetime, most: int) -> list[str]:
        """Return at most `most` instances with secrets without a time to live that were stored before `before`, oldest
        first.

        Raises SecretsUnavailable."""

    def digest(self, value: str) -> str:
        """Return a keyed digest of a value: equal values have equal ones, which reveal nothing without the key."""

    async def close(self) -> None:
        """Close all connections to the database."""
