"""How durable a log of several brokers is, and how its topics come by more replicas."""

import json
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from domain.core.messages import Topic
from infra.log import topics
from infra.log.durability import Durability, Replication
from infra.log.log import TopicPartition
from infra.log.reassignment import as_json, plan
from infra.log.topics import INSYNC, LOGS_TIME, OWN_CONFIG, TIME, TOPICS, ReplicasImpossible, apply, majority


@pytest.mark.parametrize(
    ("brokers", "replicas", "insync", "away", "lost", "words"),
    [
        (1, 1, 1, 0, 0, "1 replica on 1 broker: a record is lost with the disk of its broker"),
        (3, 1, 1, 0, 0, "1 replica on 3 brokers: a record is lost with the disk of its broker"),
        (3, 3, 2, 1, 1, "2 or more in sync: 1 broker may be away while it takes records, and 1 broker be lost at any"),
        (3, 3, 1, 2, 0, "1 or more in sync: 2 brokers may be away while it takes records, and no broker be lost"),
        (5, 5, 3, 2, 2, "2 brokers may be away while it takes records, and 2 brokers be lost"),
        (2, 2, 2, 0, 1, "no broker may be away while it takes records, and 1 broker be lost"),
        (3, 1, 2, -1, 0, "2 or more in sync are asked for: it takes no records"),
    ],
)
def test_what_may_be_lost(brokers: int, replicas: int, insync: int, away: int, lost: int, words: str) -> None:
    found = Durability.of({"events": Replication(replicas, insync, replicas)}, brokers)
    assert (found.may_be_away, found.may_be_lost) == (away, lost)
    assert words in str(found)


def test_a_log_is_as_durable_as_its_weakest_topic() -> None:
    found = Durability.of({"events": Replication(3, 2, 3), "dead": Replication(2, 1, 2)}, brokers=3)
    assert (found.replicas, found.min_insync, found.may_be_away, found.may_be_lost) == (2, 1, 1, 0)


def test_what_is_away_now_cannot_be_away_once_more() -> None:
    one_gone = Durability.of({"events": Replication(3, 2, 2)}, brokers=2)
    assert (one_gone.may_be_away, one_gone.may_be_lost) == (0, 1)
    assert str(one_gone).startswith("3 replicas on 2 brokers (2 in sync now), 2 or more in sync: no broker may be away")
    two_gone = Durability.of({"events": Replication(3, 2, 1)}, brokers=1)
    assert (two_gone.may_be_away, two_gone.may_be_lost) == (-1, 0)
    assert str(two_gone).endswith("it takes no records")


def test_more_than_half() -> None:
    assert [majority(each) for each in (1, 2, 3, 4, 5)] == [1, 2, 2, 3, 3]


def test_a_plan_keeps_what_is_there_and_spreads_the_rest() -> None:
    now = {TopicPartition("events", number): [1] for number in range(12)}
    planned = plan(now, [1, 2, 3], 2)
    assert all(1 in brokers and len(set(brokers)) == 2 for brokers in planned.values())
    assert Counter(each for brokers in planned.values() for each in brokers) == {1: 12, 2: 6, 3: 6}
    assert Counter(brokers[0] for brokers in plan(now, [1, 2, 3], 3).values()) == {1: 4, 2: 4, 3: 4}
    assert plan(now, [1, 2, 3], 1) == {}
    assert plan({TopicPartition("events", 0): [3, 1, 2]}, [1, 2, 3], 1) == {TopicPartition("events", 0): [3]}


def test_the_plan_is_what_kafkas_tool_reads() -> None:
    told = json.loads(as_json({TopicPartition("events", 1): [2, 1], TopicPartition("dead", 0): [1, 2]}))
    assert told == {
        "version": 1,
        "partitions": [
            {"topic": "dead", "partition": 0, "replicas": [1, 2]},
            {"topic": "events", "partition": 1, "replicas": [2, 1]},
        ],
    }


@dataclass
class SeveralBrokers:
    """A cluster of several brokers as its administration shows it: what three real ones answered, and no more."""

    brokers: int
    replicas: dict[str, int] = field(default_factory=dict)
    """By topic; it changes as a reassignment would."""
    own: dict[str, dict[str, str]] = field(default_factory=dict)
    unheard: int = 0
    """How often topics that were just created are not told of."""

    def __call__(self, **_: Any) -> "SeveralBrokers":
        return self

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def describe_cluster(self) -> dict[str, Any]:
        return {"brokers": [{"node_id": each} for each in range(1, self.brokers + 1)]}

    async def describe_topics(self) -> list[dict[str, Any]]:
        if self.replicas and self.unheard:
            self.unheard -= 1
            return []
        return [
            {
                "topic": topic,
                "partitions": [
                    {"partition": number, "replicas": list(range(1, count + 1)), "isr": list(range(1, count + 1))}
                    for number in range(TOPICS[Topic(topic)].partitions)
                ],
            }
            for topic, count in self.replicas.items()
        ]

    async def describe_configs(self, asked: list[Any]) -> list[Any]:
        default = {INSYNC: "1", TIME: "CreateTime"}
        return [
            SimpleNamespace(
                resources=[
                    (
                        0,
                        "",
                        2,
                        each.name,
                        [(name, value, False, 5, False) for name, value in default.items() if name not in own]
                        + [(name, value, False, OWN_CONFIG, False) for name, value in own.items()],
                    )
                    for each in asked
                    for own in (self.own[each.name],)
                ]
            )
        ]

    async def alter_configs(self, wanted: list[Any]) -> list[Any]:
        for each in wanted:
            self.own[each.name] = dict(each.configs)
        return []

    async def create_topics(self, wanted: list[Any]) -> Any:
        for each in wanted:
            self.replicas[each.name] = each.replication_factor
            self.own[each.name] = dict(each.topic_configs)
        return SimpleNamespace(topic_errors=[(each.name, 0, "") for each in wanted])


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> SeveralBrokers:
    made = SeveralBrokers(brokers=3)
    monkeypatch.setattr(topics, "AIOKafkaAdminClient", made)
    return made


async def test_new_topics_get_the_replicas_that_are_asked_for(brokers: SeveralBrokers) -> None:
    done = await apply("", replicas=3)
    assert set(brokers.replicas.values()) == {3}
    assert {own[INSYNC] for own in brokers.own.values()} == {"2"}
    assert (done.plan, done.durability.may_be_away, done.durability.may_be_lost) == ({}, 1, 1)
    assert all(line.endswith(": created") for line in done.lines)


async def test_brokers_may_tell_of_new_topics_a_moment_later(brokers: SeveralBrokers) -> None:
    brokers.unheard = 3
    done = await apply("", replicas=3)
    assert (brokers.unheard, done.durability.replicas) == (0, 3)


async def test_a_topic_of_a_later_release_is_made_like_the_others(brokers: SeveralBrokers) -> None:
    await apply("", replicas=3)
    del brokers.replicas[Topic.DEAD], brokers.own[Topic.DEAD]
    done = await apply("")
    assert brokers.replicas[Topic.DEAD] == 3
    assert brokers.own[Topic.DEAD][INSYNC] == "2"
    assert "gostack.dead: created" in done.lines


async def test_existing_topics_are_planned_and_then_asked_for_more_in_sync(brokers: SeveralBrokers) -> None:
    await apply("")
    assert set(brokers.replicas.values()) == {1}
    waiting = await apply("", replicas=3)
    assert len(waiting.plan) == sum(each.partitions for each in TOPICS.values())
    assert all(sorted(each) == [1, 2, 3] for each in waiting.plan.values())
    # With one replica and two asked for the log would take nothing.
    assert waiting.durability.may_be_away == 0
    assert all(line.endswith(": as declared") for line in waiting.lines)
    brokers.replicas = dict.fromkeys(brokers.replicas, 3)
    done = await apply("", replicas=3)
    assert (done.plan, done.durability.may_be_lost) == ({}, 1)
    assert all(line.endswith("min.insync.replicas is 2 now") for line in done.lines)
    assert all(own[TIME] == LOGS_TIME for own in brokers.own.values()), "the rest of the configuration stays"
    again = await apply("", replicas=3)
    assert all(line.endswith(": as declared") for line in again.lines)


async def test_what_cannot_be_is_refused_before_anything_is_made(brokers: SeveralBrokers) -> None:
    with pytest.raises(ReplicasImpossible, match="4 replicas need as many brokers, and there are 3"):
        await apply("", replicas=4)
    with pytest.raises(ReplicasImpossible, match="of 3 replicas there are never 4 in sync"):
        await apply("", replicas=3, min_insync=4)
    assert brokers.replicas == {}


async def test_an_upgrade_while_a_broker_is_away_changes_nothing(brokers: SeveralBrokers) -> None:
    await apply("", replicas=3)
    brokers.brokers = 2
    assert all(line.endswith(": as declared") for line in (await apply("")).lines)
