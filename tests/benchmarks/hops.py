"""What the log alone takes for a boot: as many records as follow one from another, each produced, and consumed before
the next.

How many that are is read off the log: from the fact that ends the task back to the command, cause by cause.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from domain.core.messages import Record
from tests.benchmarks.processes import percentile

TOPIC = "bench.hops"
FINISHED = b"gostack.task.finished.v2"


def longest(records: Iterable[Record]) -> int:
    """The most records that follow one from another until a task is finished, the command among them."""
    causes: dict[bytes, bytes] = {}
    ends: list[bytes] = []
    for record in records:
        headers = dict(record.headers)
        ident = headers["ce_id"]
        causes[ident] = headers.get("ce_causationid", b"")
        if headers["ce_type"] == FINISHED:
            ends.append(ident)
    return max((_length(causes, end) for end in ends), default=0)


def _length(causes: dict[bytes, bytes], ident: bytes) -> int:
    length = 0
    while ident in causes:
        length, ident = length + 1, causes[ident]
    return length


async def measure(bootstrap: str, hops: int, rounds: int = 50) -> dict[str, Any]:
    """Milliseconds for so many hops, one after another."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, 1, 1)])
    await admin.close()
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_min_bytes=1)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all")
    await asyncio.gather(consumer.start(), producer.start())
    times = []
    try:
        partition = KafkaPartition(TOPIC, 0)
        consumer.assign([partition])
        await consumer.seek_to_end(partition)
        await consumer.position(partition)
        for _ in range(rounds):
            begin = time.perf_counter()
            for _ in range(hops):
                await producer.send_and_wait(TOPIC, b"x" * 1000, partition=0)
                while not await consumer.getmany(timeout_ms=1000):
                    pass
            times.append(time.perf_counter() - begin)
    finally:
        await asyncio.gather(consumer.stop(), producer.stop())
    return {"hops": hops, "ms": {p: round(percentile(times, p) * 1000, 1) for p in (50, 95, 99)}}
