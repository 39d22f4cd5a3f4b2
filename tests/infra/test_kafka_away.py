"""The log's clients while the broker is away: nobody waits for those before him, and what is given up is over."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import NodeNotReadyError

from domain.core.messages import Record, Topic
from infra.log import client_shutdown
from infra.log.kafka import KafkaLog, KafkaReader
from infra.log.log import LogUnavailable

SAID = Record(Topic.COMMANDS, b"k", b"v")


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """The address of a broker that takes connections, and says nothing."""

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(read, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_those_who_ask_together_are_refused_together(silent: str) -> None:
    log = KafkaLog(silent, 0.4)
    began = time.monotonic()
    refused = await asyncio.gather(*(log.publish([SAID]) for _ in range(6)), return_exceptions=True)
    assert {type(each) for each in refused} == {LogUnavailable}
    assert time.monotonic() - began < 1.2
    await log.close()


def cut_off(client: Any, answers: Any) -> None:
    """Give an aiokafka client somebody else to talk to."""

    async def nothing(*_: Any) -> None: ...

    async def partitions(topic: str) -> set[int]:
        return {0}

    client.bootstrap, client.send = nothing, answers
    client._wait_on_metadata, client._maybe_wait_metadata = partitions, nothing
    client.force_metadata_update = lambda: asyncio.ensure_future(asyncio.sleep(0.01))
    client.set_topics = lambda topics: None
    client.cluster.leader_for_partition = lambda partition: 0
    client.cluster.partitions_for_topic = lambda topic: {0}


@pytest.mark.parametrize("hangs", [False, True])
async def test_what_was_given_up_is_not_sent_when_the_broker_is_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, hangs: bool
) -> None:
    """Whether the broker refuses, or takes what it is sent and does not answer."""
    monkeypatch.setattr(client_shutdown, "SECONDS", 0.1)
    away, sent, made = True, [], []

    closed = asyncio.Event()

    async def answers(node: int, request: Any, group: Any = None) -> Any:
        await asyncio.sleep(0.01)
        if away:
            if hangs:
                await closed.wait()
            raise NodeNotReadyError("away")
        sent.append(request)
        return type("Answer", (), {"API_VERSION": 7, "topics": []})()

    async def start(producer: AIOKafkaProducer) -> None:
        made.append(producer)
        cut_off(producer.client, answers)

        async def close() -> None:
            closed.set()

        producer.client.close = close
        producer._txn_manager.set_pid_and_epoch(1, 0)
        await producer._sender.start()

    monkeypatch.setattr(AIOKafkaProducer, "start", start)
    log = KafkaLog("nowhere:1", 0.2)
    before = asyncio.all_tasks()
    with pytest.raises(LogUnavailable):
        await log.publish([SAID])
    began = time.monotonic()
    await log.close()
    assert time.monotonic() - began < 1
    away = False
    await asyncio.sleep(0.1)
    assert sent == []
    assert asyncio.all_tasks() == before
    made.clear()
    gc.collect()
    assert [each for each in caplog.records if each.name == "asyncio"] == []


async def test_a_reader_is_closed_while_its_fetch_rests_after_an_error() -> None:
    async def answers(node: int, request: Any, group: Any = None) -> Any:
        raise NodeNotReadyError("away")

    before = asyncio.all_tasks()
    consumer = AIOKafkaConsumer(bootstrap_servers="nowhere:1", enable_auto_commit=False)
    cut_off(consumer._client, answers)
    await consumer.start()
    where = TopicPartition("t", 0)
    consumer.assign([where])
    consumer.seek(where, 0)
    await asyncio.sleep(0.05)
    await KafkaReader(consumer).close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
