"""How work on the read models as a whole says how far it is."""

from collections.abc import Awaitable, Callable

Told = Callable[[int, int], Awaitable[None]]
"""Is told events done and events in all."""


Begun = Callable[[str], None]
"""Is told what it does now that no count of events tells."""


async def nobody(done: int, total: int) -> None:
    """Nobody is told."""


def unheard(phase: str) -> None:
    """Nobody is told."""
