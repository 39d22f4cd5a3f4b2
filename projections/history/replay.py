"""Goes through a cell's past decisions again, beside the service that asks for it.

Why in a process of its own: the log is read from its beginning and thousands of decisions are made. Other requests must
not wait for that, it must end when its time is over, and the memory it took is given back.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Protocol

import uvloop

from domain import catalog
from domain.core.errors import Refusal
from domain.scheduling.replay import SchedulerPast
from domain.scheduling.scores import Look, Scored, scored
from domain.scheduling.simulation import Question, Simulated, simulate
from infra.log.kafka import KafkaLog
from infra.log.log import Log, LogUnavailable
from infra.process.logging import set_up
from infra.process.settings import load
from projections.history.scheduler_history import read_past
from projections.maintenance.rebuild import end_with_parent

GRACE = 5.0
"""Seconds beyond the limit in which the process may still deliver its answer."""
SHARE = 0.8
"""Share of the time limit in which the decisions must end, so that there is time for the answer."""


class ReplayBusy(Exception):
    """A replay is under way already, and only one runs at a time."""


class ReplayOverdue(Exception):
    """The log could not be read within the time limit."""


class PastWindow(Protocol):
    """A question about the decisions between two moments."""

    @property
    def since(self) -> datetime:
        """Return the moment at which the window begins."""

    @property
    def until(self) -> datetime:
        """Return the moment at which the window ends."""


class Replays(Protocol):
    """The port through which the API has past placements decided again."""

    async def simulate(self, question: Question) -> Simulated:
        """Decide the placements of the window by another policy.

        Raises PastMissing, PastTooLong, ReplayBusy, ReplayOverdue, LogUnavailable.
        """

    async def scores(self, look: Look) -> Scored | None:
        """Return how hosts scored in one past placement, or None where the window has no such placement. Raises what
        simulate() raises."""


class ThreadReplays:
    """Replays that run in a thread of this process, on any log; for tests."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def simulate(self, question: Question) -> Simulated:
        """Decide the placements of the window by another policy. Raises PastMissing, PastTooLong, LogUnavailable."""
        return await asyncio.to_thread(simulate, await read_past(self._log, question.since, question.until), question)

    async def scores(self, look: Look) -> Scored | None:
        """Return how hosts scored in one past placement, or None. Raises PastMissing, PastTooLong, LogUnavailable."""
        return await asyncio.to_thread(scored, await read_past(self._log, look.since, look.until), look)


class ProcessReplays:
    """Replays that each run in a process of their own, one at a time, with a time limit in seconds."""

    def __init__(self, bootstrap: str, seconds: float) -> None:
        self._bootstrap = bootstrap
        self._seconds = seconds
        self._running = asyncio.Lock()

    async def simulate(self, question: Question) -> Simulated:
        """Decide the placements of the window by another policy.

        Raises PastMissing, PastTooLong, ReplayBusy, ReplayOverdue, LogUnavailable.
        """
        found = await self._answer(simulate, question)
        assert isinstance(found, Simulated)
        return found

    async def scores(self, look: Look) -> Scored | None:
        """Return how hosts scored in one past placement, or None. Raises what simulate() raises."""
        found = await self._answer(scored, look)
        assert found is None or isinstance(found, Scored)
        return found

    async def _answer(self, answer: Callable[..., Any], window: PastWindow) -> Any:
        if self._running.locked():
            raise ReplayBusy
        async with self._running:
            context = get_context("spawn")
            receiver, sender = context.Pipe(duplex=False)
            arguments = (sender, self._bootstrap, answer, window, self._seconds)
            process = context.Process(target=_process, args=arguments)
            await asyncio.to_thread(process.start)
            sender.close()
            try:
                if not await asyncio.to_thread(receiver.poll, self._seconds + GRACE):
                    raise ReplayOverdue
                found, error = await asyncio.to_thread(_received, receiver)
            finally:
                process.kill()
                await asyncio.to_thread(process.join)
                receiver.close()
        match error:
            case type(), dict():
                raise error[0](**error[1])
            case str():
                raise LogUnavailable(error)
        return found


def _received(receiver: Connection) -> Any:
    try:
        return receiver.recv()
    except EOFError as ended:
        raise RuntimeError("the process ended without an answer") from ended


def _process(
    sender: Connection, bootstrap: str, answer: Callable[..., Any], window: PastWindow, seconds: float
) -> None:
    """Send to the parent what `answer` returned, or what failed: a refusal as its class and values, an unavailable log
    as text."""
    end_with_parent()
    assert catalog.MESSAGES
    settings = load()
    set_up("api", settings.log.format, settings.log.level)
    until = time.monotonic() + seconds * SHARE
    found: Any = None
    error: tuple[type[Refusal], dict[str, Any]] | str | None = None
    try:
        found = answer(uvloop.run(_read(bootstrap, window.since, window.until)), window, _over(until))
    except Refusal as refusal:
        error = type(refusal), refusal.values
    except LogUnavailable as away:
        error = str(away)
    sender.send((found, error))
    sender.close()


def _over(until: float) -> Callable[[], bool]:
    return lambda: time.monotonic() > until


async def _read(bootstrap: str, since: datetime, until: datetime) -> SchedulerPast:
    log = KafkaLog(bootstrap)
    try:
        return await read_past(log, since, until)
    finally:
        await log.close()
