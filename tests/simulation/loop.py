"""An event loop whose time is not ours: when nobody has anything to do, it is at once the moment of the next timer.

Why: an hour of deadlines and retries takes as long as the work in it, and the same seed gives the same order of
everything, since neither threads nor sockets nor the real clock have a say.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class NothingWillHappen(Exception):
    """Every task waits for another: the history would never end."""


class _Jump(selectors.DefaultSelector):
    """Waits by moving the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise NothingWillHappen
        self.now += max(0.0, timeout)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """The loop."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Seconds since the beginning of the history."""
        return self._jump.now


def simulate(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it to its end in a time of its own."""
    loop = SimulatedLoop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
