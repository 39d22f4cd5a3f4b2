"""Secrets, such as passwords and user data for guests: kept encrypted beside the log, never in it.

Why a port: the log is kept for ever and read by many, so it holds a reference only; the secret under the reference can
be deleted as soon as the guest has it. PostgreSQL and the twin in memory pass the same contract in
tests/contract/test_secrets.py.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

LONGEST = 128 * 1024
"""Bytes that a secret may have."""


class SecretsUnavailable(Exception):
    """The database of secrets did not answer in time."""


class KeyInvalid(Exception):
    """The key file does not hold a key: 32 bytes as urlsafe base64."""


class SecretStore(Protocol):
    """A store of secrets, each under a reference and of an instance (or a webhook)."""

    async def put(self, ref: str, instance_id: str, value: str) -> str | None:
        """Keep a value under a reference, and return the value that is kept.

        An existing value stays, so that a repeated request changes nothing. Returns None where the existing value was
        deleted meanwhile. Raises ValueError where the value is longer than LONGEST bytes, SecretsUnavailable.
        """

    async def get(self, ref: str) -> str | None:
        """Return the value under a reference, or None where there is none (any more). Raises SecretsUnavailable."""

    async def forget(self, instance_ids: Sequence[str]) -> None:
        """Delete all secrets of these instances, if there are any. Raises SecretsUnavailable."""

    async def drop(self, ref: str) -> None:
        """Delete the secret under a reference, if there is one. Raises SecretsUnavailable."""

    async def held(self, before: datetime, most: int) -> list[str]:
        """Return at most `most` instances with secrets that were stored before `before`, oldest first.

        Raises SecretsUnavailable."""

    def digest(self, value: str) -> str:
        """Return a keyed digest of a value: equal values have equal ones, which reveal nothing without the key."""

    async def close(self) -> None:
        """Close all connections to the database."""
