"""The newest records, read once for all: whoever is within the window misses nothing, and who is not is told so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from domain.core.messages import Record, Topic
from infra.log.memory import MemoryLog
from infra.log.recent import Recent

COUNTS = {str(Topic.EVENTS): 2}


def record(partition: int, value: str) -> Record:
    return Record(Topic.EVENTS, b"k", value.encode(), partition=partition)


@asynccontextmanager
async def running(recent: Recent) -> AsyncIterator[None]:
    task = asyncio.create_task(recent.run())
    try:
        async with asyncio.timeout(5):
            while recent.after([99, 99], 1) is None:
                await recent.wait(0.01)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def values(recent: Recent, offsets: list[int], count: int, most: int = 100) -> list[str]:
    async with asyncio.timeout(5):
        while len(found := recent.after(offsets, most) or []) < count:
            await recent.wait(1.0)
    return [each.value.decode() for each in found]


async def test_what_comes_is_given_from_any_offset_in_the_window() -> None:
    log = MemoryLog(COUNTS)
    await log.publish([record(0, "before")])
    recent = Recent(log, Topic.EVENTS)
    assert recent.after([1, 0], 10) is None
    async with running(recent):
        assert recent.after([0, 0], 10) is None
        assert recent.after([1, 0], 10) == []
        await log.publish([record(0, "a"), record(1, "b"), record(0, "c")])
        assert await values(recent, [1, 0], 3) == ["a", "c", "b"]
        assert await values(recent, [2, 0], 2) == ["c", "b"]
        assert await values(recent, [3, 1], 0) == []
        assert await values(recent, [1, 0], 2, most=2) == ["a", "b"]
        assert recent.after([1], 10) is None
    assert recent.after([3, 1], 10) is None


async def test_the_window_is_bounded() -> None:
    log = MemoryLog(COUNTS)
    recent = Recent(log, Topic.EVENTS, most=2)
    async with running(recent):
        await log.publish([record(0, str(number)) for number in range(5)])
        assert await values(recent, [3, 0], 2) == ["3", "4"]
        assert recent.after([2, 0], 10) is None


async def test_nobody_waits_for_ever() -> None:
    recent = Recent(MemoryLog(COUNTS), Topic.EVENTS)
    async with running(recent):
        await recent.wait(0.01)
