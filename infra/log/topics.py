"""The topics: one table declares them, `gostack topics apply` makes them so.

Counts never change: a key's partition is its hash modulo the count, so growing a topic would break the order of
every key in it. They start generous instead.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code
from aiokafka.partitioner import murmur2

from domain.core.messages import Topic

DAY = 24 * 3600 * 1000
FOREVER = -1
TIME, LOGS_TIME, RECORDS_TIME = "message.timestamp.type", "LogAppendTime", "CreateTime"
OWN_CONFIG = 1
"""The number by which Kafka's protocol tells a topic's own configuration from the broker's and the defaults."""
HASHES = 1 << 14
"""Keys whose hash is cached: most records belong to an aggregate that had other records a moment ago."""
KNOWN_SECONDS = 15.0
LOOK_SECONDS = 0.02
ACT_SECONDS = 0.5
"""Seconds after which a broker that knows of a changed configuration applies it."""


@dataclass(frozen=True)
class Declared:
    """The declaration of a topic: its partitions, its retention in milliseconds, and what it is for."""

    topic: Topic
    partitions: int
    retention_ms: int
    why: str


TOPICS = {
    declared.topic: declared
    for declared in (
        Declared(Topic.COMMANDS, 12, FOREVER, "who asked for what; read by the engine"),
        Declared(Topic.SCHEDULING, 12, FOREVER, "host commands and placements, a cell a key; read by its scheduler"),
        Declared(Topic.EVENTS, 12, FOREVER, "everything that happened; never compacted"),
        Declared(Topic.JOBS, 96, 7 * DAY, "what hosts are to do; many hosts may share a partition"),
        Declared(Topic.RESULTS, 12, 7 * DAY, "what became of jobs; partitioned like the commands"),
        Declared(Topic.REPORTS, 12, DAY, "heartbeats"),
        Declared(Topic.DEAD, 1, FOREVER, "records nobody could read or apply; for people"),
    )
}


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition, of so many, for records with this key, as Kafka's own clients choose it."""
    return _hash(key) % partitions


@lru_cache(HASHES)
def _hash(key: bytes) -> int:
    return int(murmur2(key) & 0x7FFFFFFF)


class PartitionCountDiffers(Exception):
    """A topic exists with another number of partitions than declared; it cannot be changed in place."""


async def apply(bootstrap: str, replication: int = 1) -> list[str]:
    """Create the topics that are missing, and return a line of text for each topic.

    Where a restore was interrupted, its topics keep the timestamps of records; that is undone here, too. Raises
    PartitionCountDiffers, KafkaError, TimeoutError."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        existing = {
            found["topic"]: len(found["partitions"])
            for found in await admin.describe_topics()
            if found["topic"] in set(TOPICS)
        }
        lines = []
        missing = []
        existed: list[Topic] = []
        for declared in TOPICS.values():
            count = existing.get(declared.topic)
            if count is None:
                missing.append(declared)
            elif count != declared.partitions:
                raise PartitionCountDiffers(
                    f"{declared.topic} has {count} partitions, {declared.partitions} are declared: "
                    "a count cannot be changed without breaking the order of keys"
                )
            else:
                existed.append(declared.topic)
        if existed:
            configured = await _own_configs(admin, existed)
            astray = [topic for topic in existed if configured[topic].get(TIME) != LOGS_TIME]
            if astray:
                await keep_times(bootstrap, False, astray)
            lines += [f"{topic}: {'mended' if topic in astray else 'as declared'}" for topic in existed]
        if missing:
            answer = await admin.create_topics(
                [
                    NewTopic(
                        name=declared.topic,
                        num_partitions=declared.partitions,
                        replication_factor=replication,
                        topic_configs={
                            "retention.ms": str(declared.retention_ms),
                            "cleanup.policy": "delete",
                            TIME: LOGS_TIME,
                        },
                    )
                    for declared in missing
                ]
            )
            for topic, code, *_ in answer.topic_errors:
                error = for_code(code)
                if code and error is not TopicAlreadyExistsError:
                    raise error(topic)
                lines.append(f"{topic}: created")
        return sorted(lines)
    finally:
        await admin.close()


async def keep_times(bootstrap: str, keep: bool, topics: Sequence[Topic] = tuple(TOPICS)) -> None:
    """Let records appended to these topics keep their own timestamps, or get the log's time, as is declared.

    Kafka replaces the whole configuration of a topic, so all of it is read and written again. It answers when its
    controller has the change, while a broker uses the old configuration until it has received the new one: so the
    brokers are asked until they have it, and given time to apply it. Raises KafkaError, TimeoutError.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    time = RECORDS_TIME if keep else LOGS_TIME
    try:
        wanted = [
            ConfigResource(ConfigResourceType.TOPIC, topic, {**own, TIME: time})
            for topic, own in (await _own_configs(admin, topics)).items()
        ]
        for answer in await admin.alter_configs(wanted):
            for code, _, _, topic in answer.resources:
                if code:
                    raise for_code(code)(topic)
        async with asyncio.timeout(KNOWN_SECONDS):
            known = False
            while not known:
                await asyncio.sleep(LOOK_SECONDS)
                known = all(own.get(TIME) == time for own in (await _own_configs(admin, topics)).values())
        await asyncio.sleep(ACT_SECONDS)
    finally:
        await admin.close()


async def _own_configs(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> dict[str, dict[str, str]]:
    """Return the own configuration of each topic, without the broker's and the defaults. Raises KafkaError."""
    asked = [ConfigResource(ConfigResourceType.TOPIC, str(topic)) for topic in topics]
    found = {}
    for answer in await admin.describe_configs(asked):
        for code, _, _, topic, entries in answer.resources:
            if code:
                raise for_code(code)(topic)
            found[topic] = {name: value for name, value, _, source, *_ in entries if source == OWN_CONFIG}
    return found
