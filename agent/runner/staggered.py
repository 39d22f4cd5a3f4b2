"""Visits each of many hosts once an interval, spread over it.

Why spread: a thousand hosts visited without a pause would all report at once, and hold up the answers to their jobs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from infra.process.loops import every

T = TypeVar("T")

SOON = 0.25
"""Seconds within which visits are made together: records sent one by one would each be a request to the log."""


async def take_turns(
    of: Sequence[T], period: float, do: Callable[[T], Awaitable[None]], *, name: str, rest: float = 0.0
) -> None:
    """Call `do` with each of these once in `period` seconds, again and again; return at once where there are none.

    A round that took longer than `period` is followed by a rest of `rest` seconds. `name` names the loop in the log and
    in metrics. Raises what `do` raises.
    """
    if not of:
        return
    loop = asyncio.get_running_loop()
    begin = loop.time()

    async def go_round() -> None:
        nonlocal begin
        for number, each in enumerate(of, 1):
            await do(each)
            early = begin + period * number / len(of) - loop.time()
            if early > min(SOON, period / 2) or early <= 0:
                # Whoever is late lets others go on, too.
                await asyncio.sleep(max(early, 0))
        begin += period
        if loop.time() > begin:
            await asyncio.sleep(rest)
            begin = loop.time()

    await every(0.0, go_round, name=name)
