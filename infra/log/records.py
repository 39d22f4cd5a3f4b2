"""A topic from its beginning to an end that is known before: what every fold of the log reads by."""

from collections.abc import AsyncIterator

from domain.messages import Record, Topic
from infra.log.log import Log, Positions, TopicPartition

FETCH = 1000


async def records(log: Log, topic: Topic, ends: Positions | None = None) -> AsyncIterator[Record]:
    """Every record of a topic, up to the end that it has now, or up to these offsets."""
    bounds = await log.bounds([topic])
    upto = {each: end if ends is None else ends.get(each, first) for each, (first, end) in bounds.items()}
    reached = {each: first for each, (first, _) in bounds.items() if first < upto[each]}
    if not reached:
        return
    reader = await log.reader(dict(reached))
    try:
        while any(offset < upto[each] for each, offset in reached.items()):
            for record in await reader.fetch(FETCH, 1.0):
                partition = TopicPartition(record.topic, record.partition or 0)
                reached[partition] = record.offset + 1
                if record.offset < upto[partition]:
                    yield record
    finally:
        await reader.close()
