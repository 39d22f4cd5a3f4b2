"""The throw-away Kafka and PostgreSQL that other tests stand on: they must keep what was acknowledged over a kill."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from infra.local.kafka import Kafka, answers
from infra.local.postgres import Postgres

pytestmark = pytest.mark.real
TOPIC = "trial"
PATIENCE = 30


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that the servers' own user can reach, which pytest's tmp_path is not."""
    directory = Path(tempfile.mkdtemp(prefix="gostack-servers-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


async def _create_topic(address: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def _append(address: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        await producer.send_and_wait(TOPIC, value)
    finally:
        await producer.stop()


async def _read(address: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(TOPIC, 0)])
        return [(await asyncio.wait_for(consumer.getone(), PATIENCE)).value for _ in range(count)]
    finally:
        await consumer.stop()


def test_kafka_keeps_its_records_and_address_over_kill_and_stop(place: Path) -> None:
    with Kafka(place / "kafka") as kafka:
        address = kafka.address
        asyncio.run(_create_topic(address))
        asyncio.run(_append(address, b"before"))

        kafka.kill()
        assert not answers(address)
        kafka.start()
        assert kafka.address == address
        asyncio.run(_append(address, b"between"))

        kafka.stop()
        kafka.start()
        asyncio.run(_append(address, b"after"))
        assert asyncio.run(_read(address, 3)) == [b"before", b"between", b"after"]
    assert not answers(address)


def test_postgres_keeps_what_was_committed_over_kill_and_stop(place: Path) -> None:
    with Postgres(place / "postgres") as postgres:
        with psycopg.connect(postgres.dsn) as connection:
            connection.execute("create table trial (n int primary key)")
            connection.execute("insert into trial values (1)")

        held = psycopg.connect(postgres.dsn)
        held.execute("insert into trial values (2)")
        postgres.kill()
        postgres.start()
        with pytest.raises(psycopg.OperationalError):
            held.commit()
        with psycopg.connect(postgres.dsn) as connection:
            assert connection.execute("select n from trial").fetchall() == [(1,)]

        postgres.stop()
        postgres.start()
        with psycopg.connect(postgres.dsn) as connection:
            assert connection.execute("select n from trial").fetchall() == [(1,)]
            assert connection.execute("show fsync").fetchall() == [("on",)]


def test_postgres_lets_nobody_in_without_the_password(place: Path) -> None:
    with Postgres(place / "postgres") as postgres:
        password = postgres.password_file.read_text().strip()
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(postgres.dsn.replace(password, "guess"))
        assert postgres.password_file.stat().st_mode & 0o007 == 0
