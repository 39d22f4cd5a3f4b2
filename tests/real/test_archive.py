"""Kafka is lost and made again from an archive by the commands of docs/operations.md; everything goes on."""

import asyncio
import shutil
from typing import Any

import httpx
import psycopg
import pytest
from aiokafka import AIOKafkaProducer

from domain.core.messages import Record, Topic
from infra.log.kafka import KafkaLog
from infra.log.log import TopicPartition
from infra.log.records import records
from tests.real.cluster import SERVICES, Cluster, Process, running
from tests.real.page import done, run, steps
from tests.real.test_crashes import boot, instances, prepare

pytestmark = pytest.mark.real

SETTINGS = {
    "GOSTACK_AGENT__KEEP_GUESTS": "true",
    # The agent is away while what was restored is compared, and no host may be shown suspect for that.
    "GOSTACK_SCHEDULING__BEAT_GRACE": "3600",
}
BOOTS = 3
KILLED = -9
FOREIGN = TopicPartition(Topic.REPORTS, 5)
"""Where somebody else writes with transactions."""


def start(cluster: Cluster, names: list[str]) -> None:
    for name in names:
        cluster.processes[name] = Process(name, cluster.processes[name].environment, cluster.directory / f"{name}.log")


def stop(cluster: Cluster) -> None:
    for name in reversed(SERVICES):
        cluster.processes[name].stop()


def throw_kafka_away(cluster: Cluster) -> None:
    cluster.kafka.stop()
    shutil.rmtree(cluster.kafka.directory / "data")
    cluster.kafka.start()


def booted(cluster: Cluster, *names: str) -> None:
    """Boot these; all there are are active."""
    for name in names:
        boot(cluster.url, name)
    cluster.wait("all are active", lambda: {each["status"] for each in instances(cluster.url)} == {"active"})
    cluster.check()


def listed(cluster: Cluster) -> dict[str, Any]:
    """All that users see, and as it was at a position of the log."""
    found = {}
    with httpx.Client(base_url=f"{cluster.url}/v1", timeout=30) as api:
        paths = ["instances", "hosts", "networks", "flavors", "images", "tasks", "events"]
        event = next(
            each
            for each in api.get("/events", params={"limit": 1000}).json()["events"]
            if each["type"] == "gostack.instance.created.v6"
        )
        moment = "{topic}/{partition}/{offset}".format(**event["place"])
        paths += [f"{event['subject'].replace('instance', 'instances')}?at={moment}"]
        for path in paths:
            answer = api.get(f"/{path}", params={"limit": 1000} if "?" not in path else None)
            assert answer.status_code == 200, answer.text
            found[path] = answer.json()
    return found


def everything(cluster: Cluster) -> list[tuple[Record, int]]:
    """Every record, and when the log took it."""

    async def read() -> list[Record]:
        log = KafkaLog(cluster.kafka.address)
        try:
            return [record for topic in Topic async for record in records(log, topic)]
        finally:
            await log.close()

    found = sorted(asyncio.run(read()), key=lambda each: (each.topic, each.partition or 0, each.offset))
    return [(each, each.timestamp) for each in found]


async def transactions(cluster: Cluster) -> None:
    """One that is committed, one that is taken back, one that is committed: a log with gaps, also at its end."""
    producer = AIOKafkaProducer(bootstrap_servers=cluster.kafka.address, transactional_id="somebody")
    await producer.start()
    try:
        for number, keep in enumerate([True, False, True]):
            await producer.begin_transaction()
            for _ in range(3):
                await producer.send_and_wait(FOREIGN.topic, b"%d" % number, b"k", FOREIGN.partition)
            await (producer.commit_transaction() if keep else producer.abort_transaction())
    finally:
        await producer.stop()


def test_a_lost_log_is_made_again_from_its_archive() -> None:
    with running(2, SETTINGS) as cluster:
        prepare(cluster)
        asyncio.run(transactions(cluster))
        backup, restore = steps("Backup"), steps("Kafka is lost")
        booted(cluster, *(f"before-{number}" for number in range(BOOTS)))
        assert run(cluster, backup[0], "archive-named:8").returncode == KILLED
        for line in backup:
            done(cluster, line)
        booted(cluster, *(f"more-{number}" for number in range(BOOTS)))
        assert {path.stat().st_mode & 0o077 for path in (cluster.directory / "archive").iterdir()} == {0}
        was = listed(cluster)
        stop(cluster)
        for line in backup:
            done(cluster, line)
        before = everything(cluster)

        throw_kafka_away(cluster)
        assert run(cluster, restore[0], "restore-put:9").returncode == KILLED
        for line in restore:
            done(cluster, line)
        assert everything(cluster) == before
        foreign = [each for each, _ in before if (each.topic, each.partition) == tuple(FOREIGN)]
        assert {each.value for each in foreign} >= {b"0", b"2"}
        assert b"1" not in {each.value for each in foreign}
        start(cluster, [name for name in SERVICES if name != "agent"])
        cluster.wait_for_hosts()
        assert listed(cluster) == was
        start(cluster, ["agent"])
        booted(cluster, *(f"after-{number}" for number in range(BOOTS)))

        done(cluster, backup[0])
        httpx.post(f"{cluster.url}/v1/flavors", json={"name": "lost", "core": 1, "memory": 1 << 27}).raise_for_status()
        stop(cluster)
        refused = run(cluster, restore[0])
        assert (refused.returncode, "is not empty" in refused.stderr) == (1, True), refused.stdout + refused.stderr
        throw_kafka_away(cluster)
        server, _, database = cluster.postgres.dsn.rpartition("/")
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f"drop database {database} with (force)".encode())
            connection.execute(f"create database {database}".encode())
        for line in [*restore, *steps("PostgreSQL is lost")]:
            done(cluster, line)
        start(cluster, list(SERVICES))
        cluster.wait_for_hosts()
        booted(cluster, "after-all-was-lost")
        assert len(instances(cluster.url)) == 3 * BOOTS + 1
