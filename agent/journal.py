"""The agent's memory across crashes: what it was given, what it did, and what it last said of each guest.

SQLite in WAL mode without waiting for the disk: it survives the death of the process, which is what happens; after
the death of the machine no guest runs any more, and what is lost is asked for again when its deadline passes.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

from domain.jobs import JobResult, Power
from domain.messages import Record
from infra.db.outbox import pack, unpack
from infra.log.log import TopicPartition

KEEP_SECONDS = 7 * 86400
"""As long as the log keeps jobs: one that could still be delivered is still known."""

TABLES = """
create table if not exists positions (
    topic text, partition int, next_offset int not null, primary key (topic, partition)
);
create table if not exists pending (dispatch_id text primary key, record blob not null);
create table if not exists answered (dispatch_id text primary key, at int not null default (unixepoch()));
create table if not exists done (job_id text primary key, result text not null, at int not null default (unixepoch()));
create table if not exists guests (instance_id text primary key, host_id text not null, power text not null);
"""


class Journal:
    """One agent process's journal; it may carry many hosts."""

    def __init__(self, path: Path | str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        self._db.executescript(TABLES)
        self._forget_old()

    def positions(self) -> dict[TopicPartition, int]:
        """Where to go on reading."""
        rows = self._db.execute("select topic, partition, next_offset from positions")
        return {TopicPartition(topic, partition): offset for topic, partition, offset in rows}

    def accept(self, dispatches: Mapping[str, Record], positions: Mapping[TopicPartition, int]) -> set[str]:
        """Take these over, and with them the positions behind them; the ids of those that are new."""
        known: set[str] = set()
        with self._transaction():
            for dispatch_id, record in dispatches.items():
                again = self._db.execute("select 1 from answered where dispatch_id = ?", (dispatch_id,)).fetchone()
                if again is None:
                    cursor = self._db.execute(
                        "insert or ignore into pending values (?, ?)", (dispatch_id, pack([record]))
                    )
                    if cursor.rowcount:
                        continue
                known.add(dispatch_id)
            self._db.executemany(
                "insert or replace into positions values (?, ?, ?)",
                [(each.topic, each.partition, offset) for each, offset in positions.items()],
            )
        return set(dispatches) - known

    def pending(self) -> dict[str, Record]:
        """What was taken over and not answered."""
        rows = self._db.execute("select dispatch_id, record from pending")
        return {dispatch_id: unpack(record)[0] for dispatch_id, record in rows}

    def done(self, job_id: str) -> JobResult | None:
        """The result of a job that succeeded."""
        row = self._db.execute("select result from done where job_id = ?", (job_id,)).fetchone()
        return JobResult.model_validate_json(row[0]) if row else None

    def finish(self, result: JobResult) -> None:
        """A job succeeded."""
        self._db.execute(
            "insert or replace into done (job_id, result) values (?, ?)",
            (result.job_id, result.model_dump_json(exclude_defaults=True)),
        )

    def answered(self, dispatch_ids: Iterable[str]) -> None:
        """These answers are on the log."""
        with self._transaction():
            for dispatch_id in dispatch_ids:
                self._db.execute("delete from pending where dispatch_id = ?", (dispatch_id,))
                self._db.execute("insert or ignore into answered (dispatch_id) values (?)", (dispatch_id,))

    def guests(self, host_id: str) -> dict[str, Power]:
        """Every guest of the host with what was last said of it."""
        rows = self._db.execute("select instance_id, power from guests where host_id = ?", (host_id,))
        return {instance_id: Power(power) for instance_id, power in rows}

    def saw(self, host_id: str, instance_id: str, power: Power) -> None:
        """This was said of a guest."""
        self._db.execute("insert or replace into guests values (?, ?, ?)", (instance_id, host_id, power))

    def forget(self, instance_id: str) -> None:
        """The guest is gone from here."""
        self._db.execute("delete from guests where instance_id = ?", (instance_id,))

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._db)

    def _forget_old(self) -> None:
        self._db.execute("delete from answered where at < unixepoch() - ?", (KEEP_SECONDS,))
        self._db.execute("delete from done where at < unixepoch() - ?", (KEEP_SECONDS,))


class _Transaction:
    """Begin, and commit or roll back."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("begin")

    def __exit__(self, kind: object, *rest: object) -> None:
        self._db.execute("commit" if kind is None else "rollback")
