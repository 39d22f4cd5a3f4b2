"""Deliveries in memory: the twin of PostgreSQL's, for fast tests."""

from collections.abc import Sequence
from datetime import datetime

from infra.webhooks.deliveries import Delivery


class MemoryDeliveries:
    """Deliveries that are kept in dictionaries."""

    def __init__(self) -> None:
        self._kept: dict[str, Delivery] = {}
        self._held: dict[str, tuple[str, datetime]] = {}

    async def take(
        self, ident: str, begins: Sequence[int], holder: str, now: datetime, until: datetime
    ) -> Delivery | None:
        """Take the lease of a delivery, and return it; None while another process holds it."""
        by, end = self._held.get(ident, (holder, until))
        if by != holder and end > now:
            return None
        self._held[ident] = (holder, until)
        return self._kept.setdefault(ident, Delivery(ident, tuple(begins)))

    async def keep(self, delivery: Delivery, holder: str, until: datetime) -> bool:
        """Store how far a delivery is; return False where another process holds it."""
        if self._held.get(delivery.id, ("", until))[0] != holder:
            return False
        self._held[delivery.id] = (holder, until)
        self._kept[delivery.id] = delivery
        return True

    async def leave(self, ident: str, holder: str) -> None:
        """Give up the lease of `holder`."""
        if self._held.get(ident, ("", None))[0] == holder:
            del self._held[ident]

    async def get(self, idents: Sequence[str]) -> dict[str, Delivery]:
        """Return the deliveries to these webhooks, without those that have none yet."""
        return {ident: self._kept[ident] for ident in idents if ident in self._kept}

    async def forget(self, ident: str) -> None:
        """Delete the delivery to a webhook that was deleted."""
        self._kept.pop(ident, None)
        self._held.pop(ident, None)

    async def close(self) -> None:
        """Do nothing: there is no connection to close."""
