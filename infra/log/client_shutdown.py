"""aiokafka's clients, ended for certain, also while the broker is away.

Their own stop() does not see to that. A producer's waits until all that it holds is sent, which an idempotent one tries
for ever: given up in the middle it goes on behind everybody's back, and sends when the broker is there again what was
reported as lost. A consumer's breaks off where a fetch rests after an error: what it waits for was cancelled, and that
looks as if the caller were.
"""

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError

SECONDS = 5.0
"""A producer has for sending what it holds."""

_ending: set[asyncio.Task[None]] = set()
"""What ends goes on doing so where whoever waited for it was cancelled."""


async def end_producer(producer: AIOKafkaProducer) -> None:
    """One that was started: what it holds is sent soon, or never."""
    await _for_certain(_end_producer(producer))


async def end_consumer(consumer: AIOKafkaConsumer) -> None:
    """It fetches no more, and is connected to nobody."""
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
