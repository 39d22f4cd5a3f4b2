"""How a process made of asyncio coroutines begins and ends: the one place that handles its signals.

Why one place: that no part goes on when another has ended, that a signal ends all of them, and that connections are
closed only after the parts that use them, is true of every process, and is easily forgotten in one.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)

Part = Callable[[], Awaitable[object]]


async def run_until_signal(*parts: Part, opening: Sequence[Part] = (), closing: Sequence[Part] = ()) -> None:
    """Run the parts of a process until SIGTERM or SIGINT comes, or until one of the parts ends.

    First each of `opening` is awaited, in order; a signal ends this, too. Then all parts are started together. In the
    end each part is cancelled and awaited before the next one is, in the order given: a part may use those behind it
    until it has ended, and may take its time to end by catching the cancellation. At last each of `closing` is awaited,
    in order, whatever happened before: so it must also work for what was not opened.

    Raises the exception that `opening` or a part ended with, or else the first one raised by `closing`; others are
    logged. A signal raises nothing.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for each in SIGNALS:
        loop.add_signal_handler(each, stop.set)
    stopping = asyncio.create_task(stop.wait(), name="signal")
    running: list[asyncio.Task[object]] = []
    errors: list[BaseException] = []
    try:
        running = [asyncio.create_task(_each(opening))]
        await asyncio.wait([*running, stopping], return_when=asyncio.FIRST_COMPLETED)
        if running[0].done() and not _failure(running[0]):
            running = [asyncio.create_task(_run(part)) for part in parts]
            await asyncio.wait([*running, stopping], return_when=asyncio.FIRST_COMPLETED)
        logger.info("stopped after %s", "a signal" if stop.is_set() else "a part ended")
    finally:
        errors += [error for task in running if task.done() and (error := _failure(task))]
        errors += await _end([task for task in running if not task.done()])
        errors += await _close(closing)
        stopping.cancel()
        for each in SIGNALS:
            loop.remove_signal_handler(each)
    for error in errors[1:]:
        logger.error("failed as well while the process ended", exc_info=error)
    if errors:
        raise errors[0]


async def _run(part: Part) -> object:
    return await part()


async def _each(parts: Sequence[Part]) -> None:
    for part in parts:
        await part()


async def _end(tasks: Sequence["asyncio.Task[object]"]) -> list[BaseException]:
    for task in tasks:
        task.cancel()
        await asyncio.wait([task])
    return [error for task in tasks if (error := _failure(task))]


async def _close(closing: Sequence[Part]) -> list[BaseException]:
    errors: list[BaseException] = []
    for close in closing:
        try:
            await close()
        except Exception as error:
            errors.append(error)
    return errors


def _failure(task: "asyncio.Task[object]") -> BaseException | None:
    """Return the exception that a task ended with, or None where it ended well or was cancelled."""
    return None if task.cancelled() else task.exception()
