"""The topics: one table declares them, `gostack topics apply` makes them so.

Counts never change: a key's partition is its hash modulo the count, so growing a topic would break the order of
every key in it. They start generous instead.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code
from aiokafka.partitioner import murmur2

from domain.core.messages import Topic
from infra.log.durability import Durability, Replication
from infra.log.log import TopicPartition
from infra.log.reassignment import plan

DAY = 24 * 3600 * 1000
FOREVER = -1
TIME, LOGS_TIME, RECORDS_TIME = "message.timestamp.type", "LogAppendTime", "CreateTime"
INSYNC = "min.insync.replicas"
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


class ReplicasImpossible(Exception):
    """There are fewer brokers than replicas, or fewer replicas than those that must be in sync."""


@dataclass(frozen=True)
class Applied:
    """The outcome of applying the declarations."""

    lines: list[str]
    """A line of text for each topic."""
    durability: Durability
    """The durability of the log as it is now."""
    plan: dict[TopicPartition, list[int]]
    """The brokers that partitions with another number of replicas have to be given; empty where there are none."""


@dataclass(frozen=True)
class _Cluster:
    """The brokers and our topics as they are."""

    brokers: list[int]
    replicas: dict[TopicPartition, list[int]]
    """The brokers that have a replica, by partition."""
    in_sync: dict[TopicPartition, int]
    """How many of them are there and in sync, by partition."""
    configs: dict[str, dict[str, str]]
    """Configuration in force, by topic."""
    own: dict[str, dict[str, str]]
    """Configuration of the topic itself, without the broker's and the defaults, by topic."""

    @property
    def replication(self) -> dict[str, Replication]:
        """Replicas, and those in sync that are asked for and that are there, by topic."""
        found = {}
        for topic, config in self.configs.items():
            partitions = [each for each in self.replicas if each.topic == topic]
            replicas = min(len(self.replicas[each]) for each in partitions)
            in_sync = min(self.in_sync[each] for each in partitions)
            found[topic] = Replication(replicas, int(config[INSYNC]), in_sync)
        return found


async def apply(bootstrap: str, replicas: int | None = None, min_insync: int | None = None) -> Applied:
    """Create the topics that are missing, and bring the others to what is declared and asked for.

    `replicas` is how many each partition is to have, `min_insync` how many of them must be in sync for a record to be
    taken, of `replicas` more than half unless it is given. Where nothing is asked for, existing topics stay as they
    are, and new ones are made like them, the first with one replica. Other replicas of existing topics are planned, and
    not made.

    Where a restore was interrupted, its topics keep the timestamps of records; that is undone here, too. Raises
    PartitionCountDiffers, ReplicasImpossible, KafkaError, TimeoutError."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        before = await _cluster(admin)
        _must_have_declared_counts(before)
        missing = [each for each in TOPICS.values() if each.topic not in before.configs]
        copies = replicas or min((each.replicas for each in before.replication.values()), default=1)
        if copies > len(before.brokers) and (replicas or missing):
            has = f"there {'is' if len(before.brokers) == 1 else 'are'} {len(before.brokers)}"
            raise ReplicasImpossible(f"{copies} replicas need as many brokers, and {has}")
        insync = min_insync or (majority(replicas) if replicas else None)
        if insync and insync > copies:
            raise ReplicasImpossible(f"of {copies} replicas there are never {insync} in sync")
        lines = await _mend(admin, bootstrap, before, insync)
        if missing:
            usual = min((int(own[INSYNC]) for own in before.own.values() if INSYNC in own), default=None)
            lines += await _create(admin, missing, copies, insync or usual)
        now = await _with_all(admin)
        planned = plan(now.replicas, now.brokers, copies) if replicas else {}
        return Applied(sorted(lines), Durability.of(now.replication, len(now.brokers)), planned)
    finally:
        await admin.close()


def majority(replicas: int) -> int:
    """Return how many are more than half of so many replicas."""
    return replicas // 2 + 1


async def durability(bootstrap: str) -> Durability | None:
    """Return how durable the log is, or None where it has no topics yet. Raises KafkaError."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        now = await _cluster(admin)
        return Durability.of(now.replication, len(now.brokers)) if now.replicas else None
    finally:
        await admin.close()


def _must_have_declared_counts(cluster: _Cluster) -> None:
    for topic, count in Counter(each.topic for each in cluster.replicas).items():
        if count != (declared := TOPICS[Topic(topic)].partitions):
            raise PartitionCountDiffers(
                f"{topic} has {count} partitions, {declared} are declared: "
                "a count cannot be changed without breaking the order of keys"
            )


async def _mend(admin: AIOKafkaAdminClient, bootstrap: str, cluster: _Cluster, insync: int | None) -> list[str]:
    """Bring the configuration of existing topics to what is declared and asked for; return a line for each."""
    done: dict[str, list[str]] = {topic: [] for topic in cluster.configs}
    astray = [Topic(topic) for topic, own in cluster.own.items() if own.get(TIME) != LOGS_TIME]
    if astray:
        await keep_times(bootstrap, False, astray)
    for topic in astray:
        done[topic].append("mended")
    # Asked for more than there are, a topic would take nothing until its replicas are made.
    asked = [
        Topic(topic)
        for topic, now in cluster.replication.items()
        if insync and now.min_insync != insync and now.replicas >= insync
    ]
    if asked:
        await _configure(admin, asked, {INSYNC: str(insync)})
    for topic in asked:
        done[topic].append(f"{INSYNC} is {insync} now")
    return [f"{topic}: {', '.join(what) or 'as declared'}" for topic, what in done.items()]


async def _create(
    admin: AIOKafkaAdminClient, missing: Sequence[Declared], replicas: int, insync: int | None
) -> list[str]:
    """Create topics; return a line for each. Raises KafkaError."""
    answer = await admin.create_topics(
        [
            NewTopic(
                name=declared.topic,
                num_partitions=declared.partitions,
                replication_factor=replicas,
                topic_configs={
                    "retention.ms": str(declared.retention_ms),
                    "cleanup.policy": "delete",
                    TIME: LOGS_TIME,
                    **({INSYNC: str(insync)} if insync else {}),
                },
            )
            for declared in missing
        ]
    )
    lines = []
    for topic, code, *_ in answer.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise error(topic)
        lines.append(f"{topic}: created")
    return lines


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
        await _configure(admin, topics, {TIME: time})
        await asyncio.sleep(ACT_SECONDS)
    finally:
        await admin.close()


async def _cluster(admin: AIOKafkaAdminClient) -> _Cluster:
    """Look at the brokers and at our topics. Raises KafkaError."""
    brokers = sorted(each["node_id"] for each in (await admin.describe_cluster())["brokers"])
    partitions = {
        TopicPartition(found["topic"], each["partition"]): each
        for found in await admin.describe_topics()
        if found["topic"] in set(TOPICS)
        for each in found["partitions"]
    }
    topics = sorted({Topic(each.topic) for each in partitions})
    return _Cluster(
        brokers,
        replicas={partition: list(each["replicas"]) for partition, each in partitions.items()},
        # Where the last one is away, the log still counts it as in sync.
        in_sync={partition: len(set(each["isr"]) & set(brokers)) for partition, each in partitions.items()},
        configs=await _configs(admin, topics),
        own=await _configs(admin, topics, own=True),
    )


async def _with_all(admin: AIOKafkaAdminClient) -> _Cluster:
    """Look until the brokers tell of every topic, which they do a moment after one was created. Raises KafkaError,
    TimeoutError."""
    async with asyncio.timeout(KNOWN_SECONDS):
        while True:
            with suppress(UnknownTopicOrPartitionError):
                found = await _cluster(admin)
                if set(TOPICS) <= set(found.configs):
                    return found
            await asyncio.sleep(LOOK_SECONDS)


async def _configure(admin: AIOKafkaAdminClient, topics: Sequence[Topic], wanted: Mapping[str, str]) -> None:
    """Add these to the configuration of topics, and wait until brokers know it. Raises KafkaError, TimeoutError."""
    resources = [
        ConfigResource(ConfigResourceType.TOPIC, topic, {**own, **wanted})
        for topic, own in (await _configs(admin, topics, own=True)).items()
    ]
    for answer in await admin.alter_configs(resources):
        for code, _, _, topic in answer.resources:
            if code:
                raise for_code(code)(topic)
    async with asyncio.timeout(KNOWN_SECONDS):
        known = False
        while not known:
            await asyncio.sleep(LOOK_SECONDS)
            found = await _configs(admin, topics, own=True)
            known = all(wanted.items() <= own.items() for own in found.values())


async def _configs(admin: AIOKafkaAdminClient, topics: Sequence[Topic], own: bool = False) -> dict[str, dict[str, str]]:
    """Return the configuration of each topic that is in force, or only its own. Raises KafkaError."""
    asked = [ConfigResource(ConfigResourceType.TOPIC, str(topic)) for topic in topics]
    found = {}
    for answer in await admin.describe_configs(asked) if asked else ():
        for code, _, _, topic, entries in answer.resources:
            if code:
                raise for_code(code)(topic)
            found[topic] = {name: value for name, value, _, source, *_ in entries if not own or source == OWN_CONFIG}
    return found
