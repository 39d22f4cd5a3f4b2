"""Waiting in a test for what another task brings about."""

import asyncio
from collections.abc import Callable

PATIENCE = 20.0


async def until(holds: Callable[[], bool]) -> None:
    """Look again and again until it holds. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)
