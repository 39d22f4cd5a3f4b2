"""All that knows Faust: group membership, rebalancing and fetching are its work; records go from it to a processor.

What is used of it: one app that has the processor's topics with equal partition counts (so that one worker has the
same partitions of each), at-least-once, raw bytes. What is not: tables, windows, exactly-once, its producer, its
notion of where to go on. Three things are done differently from its defaults:

- The consumer continues from PostgreSQL's positions, whatever the group has committed; nothing is committed there.
- Records are taken from the consumer as they were fetched, many at a time. Faust's streams would make an event of
  each, with queues and acknowledgements that the positions make needless, at twice the cost of the step itself.
- An exception never leaves the worker: a record that cannot be applied is dealt with by the processor; anything else
  ends the process, and its supervisor starts it again.

A worker with a name of its own (`worker.instance`) is a static member of its group: when it is started again it has
its partitions back at once, without waiting until the group has given its former life up.
"""

import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import faust
from faust.types import TP

from commands.processor import Processor
from commands.startup_guard import DatabaseLost
from domain.core.messages import Record
from infra.log.fetch_batching import FetchBatching
from infra.log.kafka import COMMITTED
from infra.log.lag import total_lag
from infra.log.log import LogUnavailable, TopicPartition
from infra.process.health_server import HealthState, measure_health
from infra.process.loops import every
from infra.process.settings import Settings

logger = logging.getLogger(__name__)

FAILED = 1
"""Exit status of a worker that could not go on; its supervisor starts it again."""
HANDOVER_SECONDS = 5.0
"""Seconds for which the group waits for a step that is under way when partitions go to another worker."""
FETCH_SECONDS = 0.1
"""Seconds for which a fetch waits for its first record, and with it partitions that are assigned."""
GATHER = 0.01
"""Seconds for which the broker holds records back while many come, to send them together."""
BUSY = 4
"""Records in a step from which on there is load, so that waiting a little makes the next step cheaper."""


class FaustWorker:
    """A Faust app around one processor."""

    def __init__(self, name: str, processor: Processor, settings: Settings, health: HealthState | None = None) -> None:
        """Make the app. With a health, the worker measures how many records wait."""
        self._processor = processor
        self._health = health
        self._settings = settings.worker
        self._topics = set(map(str, processor.topics))
        self._fetched: asyncio.Queue[list[Record]] = asyncio.Queue(1)
        self._taken: list[Record] = []
        self._last_step = time.monotonic()
        self._fetching, self._stepping = asyncio.Lock(), asyncio.Lock()
        self._going = False
        """True from the message that partitions go until the one that says which are this worker's now."""
        self._leaving: asyncio.Task[None] | None = None
        self.app = faust.App(
            f"gostack-{name}",
            broker=";".join(f"kafka://{each}" for each in settings.log.bootstrap.split(",")),
            store="memory://",
            datadir=tempfile.mkdtemp(prefix="gostack-faust-"),
            value_serializer="raw",
            key_serializer="raw",
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            broker_session_timeout=settings.worker.session_timeout,
            broker_heartbeat_interval=3.0,
            broker_max_poll_records=settings.worker.batch,
            consumer_group_instance_id=f"{name}-{settings.worker.instance}" if settings.worker.instance else None,
            stream_wait_empty=False,
            consumer_auto_offset_reset="earliest",
            processing_guarantee="at_least_once",
            loghandlers=[],
            debug=False,
        )
        self._batching = FetchBatching(GATHER)
        self._take_over_consumer()
        topic = self.app.topic(*map(str, processor.topics), value_type=bytes, key_type=bytes)
        # Nothing reaches it: an agent is how Faust is told what to subscribe to.
        self.app.agent(topic, concurrency=1, name=f"gostack-{name}")(_nothing)
        self.app.on_partitions_revoked.connect(self._revoked)
        self.app.on_partitions_assigned.connect(self._settled)
        self.app.task(self._work)
        self.app.task(self._watch)
        if health is not None:
            self.app.task(self._measure)

    def run(self) -> None:
        """Process records until a signal comes."""
        worker = faust.Worker(self.app, loglevel="WARNING", quiet=True, redirect_stdouts=False, override_logging=False)
        # Else it draws at standard output, between the lines of the log.
        worker.spinner = None
        worker.execute_from_commandline()

    def _take_over_consumer(self) -> None:
        create = self.app._new_consumer

        def consumer() -> Any:
            made: Any = create()

            async def seek_to_committed() -> Mapping[TP, int]:
                return await self._assigned(made)

            async def drain(fetcher: Any) -> None:
                await self._drain(made, fetcher)

            async def verify() -> None:
                """Do nothing: Faust would miss its own acknowledgements; progress is watched here."""

            connect = made._thread._create_consumer

            def committed(*arguments: Any, **named: Any) -> Any:
                """Make the consumer read committed records only.

                Other programs may write commands in transactions. Faust leaves out what was rolled back only where it
                writes transactions itself.
                """
                aiokafkas = connect(*arguments, **named)
                aiokafkas._isolation_level = COMMITTED
                return aiokafkas

            made._thread._create_consumer = committed
            made.seek_to_committed = seek_to_committed
            made._drain_messages = drain
            made.verify_all_partitions_active = verify
            return made

        self.app._new_consumer = consumer  # type: ignore[method-assign]

    async def _revoked(self, *_: Any, **__: Any) -> None:
        """Let the step under way end, and begin none: the next owner asks for the positions as soon as the group lets
        it."""
        self._going = True
        with suppress(TimeoutError):
            async with asyncio.timeout(HANDOVER_SECONDS), self._stepping:
                pass

    async def _settled(self, *arguments: Any, **_: Any) -> None:
        """Note the assignment where it is empty: Faust calls seek_to_committed only where there are partitions."""
        _, assigned = arguments
        if not assigned:
            # Behind the group, which waits for this.
            self._leaving = asyncio.create_task(self._left_with_none())

    async def _left_with_none(self) -> None:
        consumer = self.app.consumer
        if not consumer.assignment():
            await self._assigned(consumer)

    async def _assigned(self, consumer: Any) -> Mapping[TP, int]:
        # Not while a fetch is on its way: it would go on where its partitions were sought to, and come before the flow.
        async with self._fetching, self._stepping:
            # What was fetched from where they were is fetched again, if it is to be.
            self._taken.clear()
            while not self._fetched.empty():
                self._fetched.get_nowait()
            assigned = [
                TopicPartition(each.topic, each.partition)
                for each in consumer.assignment()
                if each.topic in self._topics
            ]
            try:
                positions = await self._processor.assigned(assigned)
            except DatabaseLost as error:
                logger.critical("%s", error)
                _end()
            except Exception:
                logger.exception("cannot read the positions")
                _end()
            seek = {TP(each.topic, each.partition): offset for each, offset in positions.items()}
            if seek:
                await consumer.seek_wait(seek)
            self._last_step = time.monotonic()
            self._going = False
            logger.info("assigned %s partitions", len(seek))
            return seek

    async def _drain(self, consumer: Any, fetcher: Any) -> None:
        """Fetch records, in place of the loop that makes events of them. A rebalance does not end the loop: what was
        fetched is queued, and `_assigned` drops it where it has to."""
        while not (consumer.should_stop or fetcher.should_stop):
            async with self._fetching:
                if flows := consumer.flow_active and consumer._get_active_partitions():
                    found, _ = await consumer._wait_next_records(FETCH_SECONDS)
                    if aiokafkas := consumer._thread._consumer:
                        self._batching.fetched(aiokafkas, sum(map(len, (found or {}).values())))
                    if found:
                        await self._fetched.put([_record(each) for records in found.values() for each in records])
            if not flows:
                await asyncio.sleep(FETCH_SECONDS / 10)

    async def _work(self) -> None:
        busy = False
        while True:
            self._taken.extend(await self._fetched.get())
            if busy and (rest := self._last_step + self._settings.pace - time.monotonic()) > 0:
                await asyncio.sleep(rest)
            while len(self._taken) < self._settings.batch and not self._fetched.empty():
                self._taken.extend(self._fetched.get_nowait())
                await asyncio.sleep(0)
            self._last_step = time.monotonic()
            async with self._stepping:
                records, self._taken = self._taken, []
                if self._going:
                    continue
                try:
                    await self._processor.step(records)
                except Exception:
                    logger.exception("a step failed; ending, to start again from the positions")
                    _end()
            busy = len(records) >= BUSY

    async def _watch(self) -> None:
        period = self._settings.stall_timeout / 4
        await every(period, self._end_if_stalled, name="stall-watch", first=period)

    async def _end_if_stalled(self) -> None:
        if time.monotonic() - self._last_step > self._settings.stall_timeout and await self._waits():
            logger.error("records wait, and none was processed for %s s; ending", self._settings.stall_timeout)
            _end()

    async def _waits(self) -> bool:
        """Say whether a record has waited for too long.

        How many records wait does not say it: the log has places without a record, and what came just now is about to
        be taken.
        """
        if self._fetched.qsize():
            return True
        try:
            return total_lag(await self._processor.look()).seconds > self._settings.stall_timeout
        except LogUnavailable:
            return False

    async def _measure(self) -> None:
        assert self._health is not None
        await measure_health(self._health, self._processor.look, (LogUnavailable,))


async def _nothing(stream: Any) -> None:
    async for _ in stream:
        pass


def _record(fetched: Any) -> Record:
    """Return a record of aiokafka as one of ours."""
    return Record(
        topic=fetched.topic,
        key=fetched.key or b"",
        value=fetched.value or b"",
        headers=tuple((name, value or b"") for name, value in fetched.headers),
        partition=fetched.partition,
        offset=fetched.offset,
    )


def _end() -> None:
    """End the process at once: a clean stop would acknowledge what was not done."""
    sys.stderr.flush()
    os._exit(FAILED)
