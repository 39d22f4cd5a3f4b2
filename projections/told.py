"""How work that reads the whole log says how far it is."""

from collections.abc import Awaitable, Callable

Told = Callable[[int, int], Awaitable[None]]
"""Is told events done and events in all."""


async def nobody(done: int, total: int) -> None:
    """Nobody is told."""
