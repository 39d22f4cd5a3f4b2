"""Timers: a deadline that has passed becomes a command on the log, for the aggregate that has it.

Deadlines are a column of the aggregates, written by the step that set them. The timers only look; running two does no
harm, since a deadline's command has an id made of what was due.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from domain.core.messages import Envelope, Topic, derived_id, to_record
from domain.tasks.events import DeadlinePassed
from infra.db.write_store import Due, WriteStore, WriteStoreUnavailable
from infra.log.lag import NO_LAG, Lag
from infra.log.log import Log, LogUnavailable
from infra.process import failpoints, log_context, metrics, traces
from infra.process.loops import LoopStatus, every

logger = logging.getLogger(__name__)

MOST = 500
EVERY_SECONDS = 0.5
PRUNE_SECONDS = 600.0
REPEAT_SECONDS = 30.0
"""Seconds after which the command about a deadline that still stands is sent again, under a new id."""


Address = Callable[[Due], tuple[Topic, str]]
"""Returns topic and key of the command about a deadline."""


def to_the_engine(due: Due) -> tuple[Topic, str]:
    """Return the engine's topic, and the aggregate's own id as the key."""
    return Topic.COMMANDS, due.key.id


def to_the_scheduler(due: Due) -> tuple[Topic, str]:
    """Return the schedulers' topic, and the host's cell as the key, which is the id of its deadline."""
    return Topic.SCHEDULING, due.due_id


class Timers:
    """Looks for deadlines that have passed, and sends a command about each."""

    def __init__(
        self,
        write_store: WriteStore,
        log: Log,
        clock: Callable[[], datetime],
        inbox_keep: float,
        address: Address = to_the_engine,
        *,
        name: str = "deadlines",
    ) -> None:
        """Make the timers of one write store.

        `inbox_keep`: seconds for which ids of handled messages are remembered; `address`: where the command about a
        deadline is sent; `name`: of the loop, in the log and in metrics.
        """
        self._write_store = write_store
        self._log = log
        self._clock = clock
        self._address = address
        self._inbox_keep = timedelta(seconds=inbox_keep)
        self._last_commands: set[str] = set()
        """Ids of the commands of the last look. They are sent at each look until they are done, and logged once."""
        self.late = NO_LAG
        """Deadlines that had passed at the last look, at most as many as one look takes."""
        self._name = name
        self._pruned = 0.0
        self.status = LoopStatus()

    async def look(self) -> int:
        """Send a command about each deadline that has passed; return how many there were.

        Raises WriteStoreUnavailable, LogUnavailable.
        """
        now = self._clock()
        # A clock that jumps ahead would have everything fire that is on its way: two have to say so.
        due = await self._write_store.due(now, MOST, sure=True)
        self.late = Lag(len(due), (now - min(each.due_at for each in due)).total_seconds() if due else 0.0)
        if due:
            failpoints.point("timers-looked")
            commands = [self._command(each, now) for each in due]
            spans = {each.id: self._span(each) for each in commands if each.id not in self._last_commands}
            traced = [traces.under(each, spans.get(each.id, traces.NONE)) for each in commands]
            places = [self._address(each) for each in due]
            await self._log.publish(
                [to_record(each, topic, key=key) for each, (topic, key) in zip(traced, places, strict=True)]
            )
            failpoints.point("timers-told")
            self._last_commands = {each.id for each in commands}
            for command in traced:
                if command.id in spans:
                    spans[command.id].end()
                    with log_context.handling(command):
                        logger.info("a deadline has passed; the command about it is sent")
            metrics.DEADLINES.inc(len(due))
        return len(due)

    def _span(self, command: Envelope) -> traces.Span:
        # Whatever it waited for does not come: this begins a trace of its own.
        about = {f"gostack.{name}": text for name, text in log_context.described(command).items()}
        return traces.begin("tell deadline", traces.PRODUCER, root=True, about=about)

    def _command(self, due: Due, now: datetime) -> Envelope:
        turn = int((now - due.due_at).total_seconds() // REPEAT_SECONDS)
        command_id = derived_id(due.key.id, "deadline", due.due_id, due.due_at.isoformat(), turn)
        return Envelope(
            id=command_id,
            data=DeadlinePassed(due_id=due.due_id),
            subject=due.key,
            time=now,
            source="gostack/timers",
            correlation=command_id,
        )

    async def run(self) -> None:
        """Look for deadlines until cancelled; while the log or the database is away, look again and again."""
        away = (WriteStoreUnavailable, LogUnavailable)
        await every(EVERY_SECONDS, self._look_and_prune, name=self._name, failures=away, status=self.status)

    async def _look_and_prune(self) -> None:
        await self.look()
        now = asyncio.get_running_loop().time()
        if now - self._pruned > PRUNE_SECONDS:
            await self._write_store.prune(self._clock(), self._inbox_keep)
            self._pruned = now
