"""What a guest is told and nobody else may know: kept sealed beside the log, never in it, until the guest has it.

Why a port: the log is for ever and read by many, so it holds a reference only; what stands behind the reference can
be forgotten. PostgreSQL and the twin in memory pass the same contract in tests/contract/test_secrets.py.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

LONGEST = 128 * 1024
"""Bytes a secret may have."""


class SecretsUnavailable(Exception):
    """The database did not answer."""


class KeyInvalid(Exception):
    """The key file does not hold a key: 32 bytes as urlsafe base64."""


class SecretStore(Protocol):
    """Secrets by reference."""

    async def put(self, ref: str, instance_id: str, value: str) -> str | None:
        """Keep a value, and say what is kept: a reference that is taken keeps what it has, so that a repeated request
        changes nothing; None where that was forgotten meanwhile.

        Raises ValueError where the value is longer than LONGEST, SecretsUnavailable.
        """

    async def get(self, ref: str) -> str | None:
        """The value, or None where there is none (any more). Raises SecretsUnavailable."""

    async def forget(self, instance_ids: Sequence[str]) -> None:
        """Remove all that is kept for these instances; none is success. Raises SecretsUnavailable."""

    async def drop(self, ref: str) -> None:
        """Remove what is behind one reference; nothing is success. Raises SecretsUnavailable."""

    async def held(self, before: datetime, most: int) -> list[str]:
        """Instances for which something is kept since before this moment, longest first. Raises SecretsUnavailable."""

    def digest(self, value: str) -> str:
        """A keyed digest: tells two values apart, and tells nothing of them to whoever lacks the key."""

    async def close(self) -> None:
        """Let go of all connections."""
