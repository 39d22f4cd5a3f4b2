"""All that knows Faust: it carries records from Kafka to a processor, and nothing else.

What is used of it: one app, one agent over the processor's topics with equal partition counts (so that one worker
has the same partitions of each), at-least-once, concurrency 1, raw bytes. What is not: tables, windows, exactly-once,
its producer, its notion of where to go on. Two things are done differently from its defaults:

- The consumer continues from PostgreSQL's positions, whatever the group has committed.
- An exception never leaves the agent, since that would acknowledge the record: a record that cannot be applied is
  dealt with by the processor; anything else ends the process before anything is acknowledged, and its supervisor
  starts it again.
"""

import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import faust
from faust.types import TP, EventT

from commands.processor import Processor
from domain.messages import Record
from infra.log.log import TopicPartition
from infra.settings import Settings

logger = logging.getLogger(__name__)

FAILED = 1
"""Exit status of a worker that could not go on; its supervisor starts it again."""


class Worker:
    """A Faust app around one processor."""

    def __init__(self, name: str, processor: Processor, settings: Settings) -> None:
        self._processor = processor
        self._settings = settings.worker
        self._waiting: asyncio.Queue[EventT[Any]] = asyncio.Queue(settings.worker.batch * 2)
        self._last_step = time.monotonic()
        self._stepping = asyncio.Lock()
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
            broker_commit_interval=1.0,
            broker_max_poll_records=settings.worker.batch,
            stream_buffer_maxsize=settings.worker.batch,
            stream_wait_empty=False,
            consumer_auto_offset_reset="earliest",
            processing_guarantee="at_least_once",
            loghandlers=[],
            debug=False,
        )
        self._continue_from_positions()
        topic = self.app.topic(*map(str, processor.topics), value_type=bytes, key_type=bytes)
        self.app.agent(topic, concurrency=1, name=f"gostack-{name}")(self._receive)
        self.app.task(self._work)
        self.app.task(self._watch)

    def run(self) -> None:
        """Work until a signal comes."""
        faust.Worker(
            self.app, loglevel="WARNING", redirect_stdouts=False, override_logging=False
        ).execute_from_commandline()

    def _continue_from_positions(self) -> None:
        create = self.app._new_consumer

        def consumer() -> Any:
            made: Any = create()

            async def seek_to_committed() -> Mapping[TP, int]:
                return await self._assigned(made)

            made.seek_to_committed = seek_to_committed
            return made

        self.app._new_consumer = consumer  # type: ignore[method-assign]

    async def _assigned(self, consumer: Any) -> Mapping[TP, int]:
        async with self._stepping:
            assigned = [
                TopicPartition(each.topic, each.partition)
                for each in consumer.assignment()
                if each.topic in set(map(str, self._processor.topics))
            ]
            try:
                positions = await self._processor.assigned(assigned)
            except Exception:
                logger.exception("cannot read the positions")
                _end()
            seek = {TP(each.topic, each.partition): offset for each, offset in positions.items()}
            if seek:
                await consumer.seek_wait(seek)
            self._last_step = time.monotonic()
            logger.info("assigned %s partitions", len(seek))
            return seek

    async def _receive(self, stream: Any) -> None:
        async for event in stream.noack().events():
            await self._waiting.put(event)

    async def _work(self) -> None:
        while True:
            events = [await self._waiting.get()]
            if self._settings.linger and self._waiting.empty():
                await asyncio.sleep(self._settings.linger)
            while len(events) < self._settings.batch and not self._waiting.empty():
                events.append(self._waiting.get_nowait())
            async with self._stepping:
                try:
                    await self._processor.step([_record(event) for event in events])
                except Exception:
                    logger.exception("a step failed; ending, to start again from the positions")
                    _end()
            self._last_step = time.monotonic()
            for event in events:
                event.ack()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._settings.stall_timeout / 4)
            stalled = time.monotonic() - self._last_step > self._settings.stall_timeout
            if stalled and (self._waiting.qsize() or await self._processor.lag()):
                logger.error("records wait, and none was processed for %s s; ending", self._settings.stall_timeout)
                _end()


def _record(event: EventT[Any]) -> Record:
    message = event.message
    headers = message.headers
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    return Record(
        topic=message.topic,
        key=message.key or b"",
        value=message.value or b"",
        headers=tuple((name, bytes(value or b"")) for name, value in pairs),
        partition=message.partition,
        offset=message.offset,
    )


def _end() -> None:
    """Leave at once: a clean stop would acknowledge what was not done."""
    sys.stderr.flush()
    os._exit(FAILED)
