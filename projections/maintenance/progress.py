"""How work on the read models as a whole reports how far it is."""

from collections.abc import Awaitable, Callable

ProgressReport = Callable[[int, int], Awaitable[None]]
"""Receives the events that are done and the events in all."""


PhaseReport = Callable[[str], None]
"""Receives the name of a phase whose progress no count of events shows, as "making indexes"."""


async def ignore_progress(done: int, total: int) -> None:
    """Take a report of progress and do nothing."""


def ignore_phase(phase: str) -> None:
    """Take the name of a phase and do nothing."""
