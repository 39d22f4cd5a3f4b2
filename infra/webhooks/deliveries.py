"""How far each webhook has been told, and who tells it: a port with PostgreSQL behind it, and a twin in memory.

Why a lease and not a lock: whoever holds it may stand still or be cut off, and then another goes on after some time.
Both may send meanwhile, which a receiver knows by the message's id; but only the holder moves the position.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class DeliveriesUnavailable(Exception):
    """The database did not answer."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook's, as it was kept last."""

    id: str
    offsets: tuple[int, ...]
    """Of gostack.events, by partition: the next to be looked at."""
    turn: int = 0
    """Of the webhook, that the failures were counted in."""
    delivered: int = 0
    """Events that were taken, since it was created."""
    failures: int = 0
    """Attempts in a row that failed for the event that it now waits for."""
    failing: str = ""
    """Place of that event."""
    next_at: datetime | None = None
    """Not to be tried before."""
    last_event: str = ""
    """Id of the event that was sent last."""
    last_at: datetime | None = None
    last_status: int = 0
    """HTTP status of the answer; 0 where none came."""
    last_error: str = ""
    """Why it was none that takes the event; empty where it was."""


class Deliveries(Protocol):
    """All webhooks'."""

    async def take(
        self, ident: str, begins: Sequence[int], holder: str, now: datetime, until: datetime
    ) -> Delivery | None:
        """Hold a webhook's until then, from `begins` on where it is new; None while another holds it.
        Raises DeliveriesUnavailable."""

    async def keep(self, delivery: Delivery, holder: str, until: datetime) -> bool:
        """Keep how far it is, and hold it until then; False where another holds it, and nothing was kept.
        Raises DeliveriesUnavailable."""

    async def leave(self, ident: str, holder: str) -> None:
        """Let another have it at once. Raises DeliveriesUnavailable."""

    async def get(self, idents: Sequence[str]) -> dict[str, Delivery]:
        """Those of these webhooks; one that was not told yet has none. Raises DeliveriesUnavailable."""

    async def forget(self, ident: str) -> None:
        """The webhook is gone. Raises DeliveriesUnavailable."""

    async def close(self) -> None:
        """Let go of all connections."""
