"""A guard at the start of a worker: a database that is empty beside a log that is not must not be decided on.

Why a guard: to a worker a lost database looks like a new one. It would read every command again from the beginning and
decide it by today's rules, and hosts would do everything a second time.
"""

from domain.core.messages import Topic
from infra.db.write_store import WriteStore
from infra.log.log import Log
from infra.log.records import records


class DatabaseLost(Exception):
    """The database has nothing of what the log has; only a person can say what is to be done."""


async def refuse_lost_database(log: Log, write_store: WriteStore, source: str) -> None:
    """Check that the write store is not empty where the log has decisions of this source.

    Raises DatabaseLost where it is, LogUnavailable, WriteStoreUnavailable.
    """
    if not await write_store.empty():
        return
    async for record in records(log, Topic.EVENTS):
        # A first worker may have begun meanwhile: what it published was stored before.
        if dict(record.headers).get("ce_source") == source.encode() and await write_store.empty():
            raise DatabaseLost(
                f"the database is empty, and {record.place} is a decision of {source}: all of them would be decided "
                "again. Fill the database from the log first: gostack db refill (docs/operations.md)"
            )
