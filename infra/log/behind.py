"""Whether the log reaches to where the database is: a log that was restored may be older."""

from infra.log.log import Log, Positions


class LogBehind(Exception):
    """The log ends before a position of the database: what comes there next would count as done."""


async def must_reach(log: Log, positions: Positions) -> None:
    """Raises LogBehind where a partition ends before its position, LogUnavailable."""
    bounds = await log.bounds(sorted({each.topic for each in positions}))
    for each, position in positions.items():
        if position > bounds[each][1]:
            raise LogBehind(
                f"{each.topic}:{each.partition} ends at {bounds[each][1]}, and the database is at {position}: the log "
                "is older than the database, which must be made empty and filled from the log (gostack db refill)"
            )
