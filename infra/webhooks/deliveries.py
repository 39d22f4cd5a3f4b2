"""Deliveries: up to which event each webhook has been sent, and which process sends to it.

A process holds a delivery by a lease. Why not by a lock: the holder may stand still or be cut off, and then another
process goes on after some time. Both may send meanwhile, which a receiver recognizes by the message's id; but only the
holder moves the position.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class DeliveriesUnavailable(Exception):
    """The database of deliveries did not answer in time."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far the delivery to a webhook is, as it was stored last; `id` is the webhook's."""

    id: str
    offsets: tuple[int, ...]
    """For each partition of gostack.events, the offset of the next event to look at."""
    turn: int = 0
    """The webhook's `turn` in which `failures` were counted: a webhook that is enabled again begins a new one."""
    delivered: int = 0
    """Events that the receiver accepted since the webhook was created."""
    failures: int = 0
    """Attempts in a row that failed for the event at `failing`."""
    failing: str = ""
    """Place on the log of the event that is tried again; empty where none is."""
    next_at: datetime | None = None
    """When the next attempt may be made; None is at once."""
    last_event: str = ""
    """Id of the event that was sent last; empty before the first."""
    last_at: datetime | None = None
    last_status: int = 0
    """HTTP status of the last answer; 0 where none came."""
    last_error: str = ""
    """Why the last attempt failed; empty where the receiver accepted the event."""


class Deliveries(Protocol):
    """The deliveries to all webhooks, by the webhook's id."""

    async def take(
        self, ident: str, begins: Sequence[int], holder: str, now: datetime, until: datetime
    ) -> Delivery | None:
        """Take the lease of a delivery for `holder` until `until`, and return the delivery.

        A new one starts at the offsets `begins`. Returns None while another process holds it. Raises
        DeliveriesUnavailable."""

    async def keep(self, delivery: Delivery, holder: str, until: datetime) -> bool:
        """Store how far a delivery is, and extend the lease of `holder` to `until`.

        Returns False, and stores nothing, where another process holds it. Raises DeliveriesUnavailable."""

    async def leave(self, ident: str, holder: str) -> None:
        """Give up the lease of `holder`, so that another process can take it. Raises DeliveriesUnavailable."""

    async def get(self, idents: Sequence[str]) -> dict[str, Delivery]:
        """Return the deliveries to these webhooks, without those that have none yet. Raises DeliveriesUnavailable."""

    async def forget(self, ident: str) -> None:
        """Delete the delivery to a webhook that was deleted. Raises DeliveriesUnavailable."""

    async def close(self) -> None:
        """Close all connections to the database."""
