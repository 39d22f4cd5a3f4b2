"""Periodic work: one loop for whatever a process does again and again, each with a name, a status and metrics.

Why one loop: what happens when the log or the database is away, what is logged then, and how an operator sees that a
loop stands still must not differ from loop to loop. A loop that reads a stream without a pause is no periodic work, and
has its own.

Time is the event loop's, never the machine's, so that a simulated event loop runs these loops in simulated time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from infra.process import metrics
from infra.process.error_text import named, text_of

logger = logging.getLogger(__name__)


@dataclass
class LoopStatus:
    """How a loop fares. The caller of `every` keeps this object and reads it; the loop writes to it."""

    runs: int = 0
    """Runs that ended, well or not."""
    succeeded_at: float | None = None
    """When the last successful run ended, in seconds of the event loop's time; None before the first."""
    problem: str = ""
    """Why the last run failed; empty where it did not."""


async def every(
    period: float,
    work: Callable[[], Awaitable[object]],
    *,
    name: str,
    failures: tuple[type[Exception], ...] = (),
    first: float = 0.0,
    status: LoopStatus | None = None,
) -> None:
    """Run `work` again and again until cancelled, with a pause of `period` seconds after each run.

    `first` is the pause before the first run, in seconds. `name` names the loop in the log and in metrics. An exception
    of the types in `failures` (the log or the database is away) is logged as a warning, once for as long as its text
    stays the same, and the work is tried again after the pause. Raises any other exception of `work`, which ends the
    loop.
    """
    status = status or LoopStatus()
    time = asyncio.get_running_loop().time
    if first:
        await asyncio.sleep(first)
    while True:
        began, problem, result = time(), "", "error"
        try:
            await work()
            result = "success"
        except failures as error:
            problem, result = text_of(error) or named(error), "failure"
        except asyncio.CancelledError:
            result = "cancelled"
            raise
        finally:
            metrics.LOOP_RUNS.labels(name, result).inc()
            metrics.LOOP_SECONDS.labels(name).observe(time() - began)
        _note(status, problem, name)
        if not problem:
            status.succeeded_at = time()
            metrics.LOOP_SUCCESS.labels(name).set_to_current_time()
        await asyncio.sleep(period)


def _note(status: LoopStatus, problem: str, name: str) -> None:
    status.runs += 1
    if problem and problem != status.problem:
        logger.warning("the loop %s failed and is tried again: %s", name, problem)
    elif status.problem and not problem:
        logger.info("the loop %s works again", name)
    status.problem = problem
