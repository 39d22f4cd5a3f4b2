"""How work on the read models as a whole says how far it is."""

from collections.abc import Awaitable, Callable

ProgressReport = Callable[[int, int], Awaitable[None]]
"""Is report events done and events in all."""


PhaseReport = Callable[[str], None]
"""Is report what it does now that no count of events tells."""


async def ignore_progress(done: int, total: int) -> None:
    """Nobody is report."""


def ignore_phase(phase: str) -> None:
    """Nobody is report."""
