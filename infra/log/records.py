"""Reading a topic from its beginning to an end that is known before, as every fold of the log does."""

from collections.abc import AsyncIterator

from domain.core.messages import Record, Topic
from infra.log.log import Log, Positions, TopicPartition

FETCH = 1000


async def records(
    log: Log, topic: Topic, ends: Positions | None = None, begins: Positions | None = None
) -> AsyncIterator[Record]:
    """Yield every record of a topic, without fillers, from `begins` or its first offsets to `ends` or its present ends.

    Raises LogUnavailable."""
    bounds = await log.bounds([topic])
    upto = {each: end if ends is None else ends.get(each, first) for each, (first, end) in bounds.items()}
    starts = {each: max(first, (begins or {}).get(each, first)) for each, (first, _) in bounds.items()}
    reached = {each: start for each, start in starts.items() if start < upto[each]}
    if not reached:
        return
    reader = await log.reader(dict(reached))
    try:
        while any(offset < upto[each] for each, offset in reached.items()):
            found = await reader.fetch(FETCH, 1.0)
            for record in found:
                partition = TopicPartition(record.topic, record.partition or 0)
                reached[partition] = record.offset + 1
                if record.offset < upto[partition] and not record.filler:
                    yield record
            if not found:
                # The end of a transaction is a record of the log's own: it is passed, and nobody is given it.
                reached = {each: max(at, await reader.position(each)) for each, at in reached.items()}
    finally:
        await reader.close()
