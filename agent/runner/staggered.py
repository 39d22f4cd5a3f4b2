"""Each of many hosts once an interval, and spread over it: done one after another without a pause, what a thousand
hosts have to say or to be asked would hold up the answers to their jobs."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from infra.process.loops import every

T = TypeVar("T")

SOON = 0.25
"""Seconds whose turns go together: what is said one by one is a request to the log each."""


async def take_turns(
    of: Sequence[T], period: float, do: Callable[[T], Awaitable[None]], *, name: str, rest: float = 0.0
) -> None:
    """Do `do` for each of these, again and again, once in `period` seconds, and return at once where there are none.

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
