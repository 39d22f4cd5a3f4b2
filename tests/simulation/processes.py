"""Processes of a simulation: they die with every task that they began, stand still when they are stopped, have clocks
of their own, and are started again."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

START = datetime(2026, 1, 1, tzinfo=UTC)

_here: "ContextVar[Process]" = ContextVar("process")


def now() -> datetime:
    """The time, as log and database tell it."""
    return START + timedelta(seconds=asyncio.get_running_loop().time())


class Process:
    """One, under a supervisor."""

    def __init__(self, name: str, random: Random, run: Callable[["Process"], Awaitable[None]]) -> None:
        self.name = name
        self.ahead = timedelta()
        """How far its clock is before the others'."""
        self.starts = 0
        self.failures: list[Exception] = []
        """What it ended of."""
        self.tasks: set[asyncio.Task[Any]] = set()
        self._random = random
        self._run = run
        self._go = asyncio.Event()
        self._go.set()
        self._keeper: asyncio.Task[None] | None = None

    def clock(self) -> datetime:
        """Its time."""
        return now() + self.ahead

    def start(self) -> None:
        """From now on it is kept running."""
        self._keeper = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            self.starts += 1
            context = copy_context()
            context.run(_here.set, self)
            await asyncio.wait([asyncio.create_task(self._live(), context=context)])
            self._end()
            await asyncio.sleep(0.1 + self._random.random())

    async def _live(self) -> None:
        try:
            await self._run(self)
        except Exception as error:
            self.failures.append(error)

    def _end(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.tasks.clear()

    def kill(self) -> None:
        """Nothing of it goes on."""
        self._go.set()
        self._end()

    def stop(self) -> None:
        """It stands still where it is next."""
        self._go.clear()

    def resume(self) -> None:
        """It goes on, and does not know how long it stood."""
        self._go.set()

    async def unstopped(self) -> None:
        """Pass, unless it is stopped."""
        await self._go.wait()


def here() -> Process | None:
    """The process in which this runs; None outside of all."""
    return _here.get(None)


def factory(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **about: Any) -> "asyncio.Task[Any]":
    """Makes tasks that belong to the process in which they begin."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **about)
    context: Context | None = about.get("context")
    process = context.get(_here) if context else here()
    if process is not None:
        process.tasks.add(task)
        task.add_done_callback(process.tasks.discard)
    return task
