"""Each of many hosts once an interval, and spread over it: done one after another without a pause, what a thousand
hosts have to say or to be asked would hold up the answers to their jobs."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

SOON = 0.25
"""Seconds whose turns go together: what is said one by one is a request to the log each."""


async def in_turn(of: Sequence[T], every: float, do: Callable[[T], Awaitable[None]]) -> None:
    """Do it with each of these, again and again, once in `every` seconds."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    while True:
        for number, each in enumerate(of, 1):
            await do(each)
            rest = begin + every * number / len(of) - loop.time()
            if rest > min(SOON, every / 2) or rest <= 0:
                # Whoever is late lets others go on, too.
                await asyncio.sleep(max(rest, 0))
        begin = max(begin + every, loop.time())
