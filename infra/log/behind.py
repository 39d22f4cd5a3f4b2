"""A check that the log is not older than the database, as a log that was restored may be."""

from infra.log.log import Log, Positions


class LogBehind(Exception):
    """The log ends before a position in the database: records appended there next would count as processed."""


async def must_reach(log: Log, positions: Positions) -> None:
    """Check that each partition reaches its position. Raises LogBehind where one does not, LogUnavailable."""
    bounds = await log.bounds(sorted({each.topic for each in positions}))
    for each, position in positions.items():
        if position > bounds[each][1]:
            raise LogBehind(
                f"{each.topic}:{each.partition} ends at {bounds[each][1]}, and the database is at {position}: the log "
                "is older than the database, which must be emptied and filled from the log (gostack db refill)"
            )
