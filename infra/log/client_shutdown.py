"""Closing aiokafka's clients reliably, also while the broker is away.

Their own stop() does not do that. A producer's stop() waits until all its records are sent, which an idempotent
producer tries for ever; cancelled meanwhile, it goes on in the background, and sends records that were reported as lost
when the broker is back. A consumer's stop() raises CancelledError where a fetch pauses after an error: the task that it
waits for was cancelled, which looks as if the caller were.
"""

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError

SECONDS = 5.0
"""Seconds that a producer has for sending the records it holds."""

_ending: set[asyncio.Task[None]] = set()
"""Clients that are being closed: they are closed even where the caller is cancelled meanwhile."""


async def end_producer(producer: AIOKafkaProducer) -> None:
    """Close a producer that was started; records it holds are sent within SECONDS, or never."""
    await _for_certain(_end_producer(producer))


async def end_consumer(consumer: AIOKafkaConsumer) -> None:
    """Close a consumer: it fetches no more, and has no connection."""
    await _for_certain(_end_consumer(consumer))


async def _for_certain(ending: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(ending, context=Context())
    _ending.add(task)
    task.add_done_callback(_ending.discard)
    await asyncio.wait({task})
    task.result()


async def _end_producer(producer: AIOKafkaProducer) -> None:
    # What is used of it here is not public, which is why its version is pinned.
    flushing = asyncio.create_task(producer.flush())
    sending = producer._sender.sender_task
    await asyncio.wait({flushing, sending}, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)
    flushing.cancel()
    producer._closed = True
    producer._message_accumulator._exception = KafkaConnectionError("given up")
    sending.cancel()
    # It waits for the answers to what is under way, which end with their connections.
    await producer.client.close()
    await asyncio.wait({sending})


async def _end_consumer(consumer: AIOKafkaConsumer) -> None:
    stopping = asyncio.create_task(consumer.stop())
    await asyncio.wait({stopping})
    if stopping.cancelled() or isinstance(stopping.exception(), KafkaError):
        await consumer._client.close()
    else:
        stopping.result()
