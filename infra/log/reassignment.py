"""A plan for other replicas of partitions: what Kafka's own tool `kafka-reassign-partitions` carries out.

Why a plan and not the change itself: copying all that was ever logged takes hours, wants a throttle, and has to be
looked after until it is complete, which that tool does. A partition keeps the replicas that it has, so that no more is
copied than is missing; new ones go to the brokers that have the fewest.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from infra.log.log import TopicPartition

Assignment = Mapping[TopicPartition, Sequence[int]]
"""Per partition, the ids of the brokers that have a replica, the preferred leader first."""


def plan(now: Assignment, brokers: Sequence[int], replicas: int) -> dict[TopicPartition, list[int]]:
    """Return the new replicas of the partitions that have another number than `replicas`; leaders are spread over the
    brokers. There have to be as many brokers."""
    used = Counter(broker for assigned in now.values() for broker in assigned)
    leads: Counter[int] = Counter()
    planned = {}
    for partition, assigned in sorted(now.items()):
        if len(assigned) == replicas:
            leads[assigned[0]] += 1
            continue
        chosen = list(assigned[:replicas])
        while len(chosen) < replicas:
            fewest = min((each for each in brokers if each not in chosen), key=lambda each: (used[each], each))
            used[fewest] += 1
            chosen.append(fewest)
        chosen.sort(key=lambda each: (leads[each], each))
        leads[chosen[0]] += 1
        planned[partition] = chosen
    return planned


def as_json(planned: Assignment) -> str:
    """Return the plan in the form that the tool reads."""
    partitions = [
        {"topic": each.topic, "partition": each.partition, "replicas": list(brokers)}
        for each, brokers in sorted(planned.items())
    ]
    return json.dumps({"version": 1, "partitions": partitions}, indent=1)
