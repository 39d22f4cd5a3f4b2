"""Each of many hosts once an interval, and spread over it: done one after another without a pause, what a thousand
hosts have to say or to be asked would hold up the answers to their jobs."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

SOON = 0.25
"""Seconds whose turns go together: what is said one by one is a request to the log each."""


async def take_turns(of: Sequence[T], every: float, do: Callable[[T], Awaitable[None]], rest: float = 0.0) -> None:
    """Do it with each of these, again and again, once in `every` seconds; after a round that took longer, only when
    `rest` seconds have passed."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    while of:
        for number, each in enumerate(of, 1):
            await do(each)
            early = begin + every * number / len(of) - loop.time()
            if early > min(SOON, every / 2) or early <= 0:
                # Whoever is late lets others go on, too.
                await asyncio.sleep(max(early, 0))
        begin += every
        if loop.time() > begin:
            await asyncio.sleep(rest)
            begin = loop.time()
