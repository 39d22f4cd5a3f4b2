"""The agent's memory across crashes: its dispatches, the jobs it did, and the last report about each guest.

SQLite in WAL mode without waiting for the disk: the journal survives the death of the process, which is what happens;
after the death of the machine no guest runs any more, and what is lost is sent again when its deadline passes.

Old entries are removed by the times that dispatches carry, which are the engine's. The journal keeps the time before
which it may have removed some: a dispatch from before that may be an old one, whatever clock this host has.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from domain.core.messages import Record
from domain.guest_spec import Power
from domain.tasks.messages import JobResult
from infra.db.outbox import pack, unpack
from infra.log.log import TopicPartition

KEEP_SECONDS = 7 * 86400
"""Seconds for which results are kept: as long as the log keeps jobs, so a job that could come again is recognised."""
NEWEST, FORGOTTEN = "newest", "forgotten"
IN_MEMORY = ":memory:"
"""SQLite's name for a database without a file."""

TABLES = """
create table if not exists positions (
    topic text, partition int, next_offset int not null, primary key (topic, partition)
);
create table if not exists pending (dispatch_id text primary key, record blob not null);
create table if not exists answered (dispatch_id text primary key, at int not null default (unixepoch()));
create table if not exists done (job_id text primary key, result text not null, at int not null default (unixepoch()));
create table if not exists times (name text primary key, at real not null);
create table if not exists guests (instance_id text primary key, host_id text not null, power text not null);
create index if not exists guests_of on guests (host_id);
create table if not exists epochs (instance_id text primary key, host_id text not null, epoch int not null);
create index if not exists epochs_of on epochs (host_id);
"""
GUESTS_A_HOST = """
alter table guests rename to guests_before;
create table guests (
    host_id text, instance_id text, power text not null, primary key (host_id, instance_id)
) without rowid;
insert into guests select host_id, instance_id, power from guests_before;
drop table guests_before;
alter table epochs rename to epochs_before;
create table epochs (
    host_id text, instance_id text, epoch int not null, primary key (host_id, instance_id)
) without rowid;
insert into epochs select host_id, instance_id, epoch from epochs_before;
drop table epochs_before;
"""
ABORTS = """
create table aborts (dispatch_id text primary key) without rowid;
"""
MIGRATIONS = (TABLES, GUESTS_A_HOST, ABORTS)
"""Scripts that bring an older file to this release's tables, each run once; the file counts them. The first makes the
tables of releases that did not count."""


class Journal:
    """The journal of one agent process, for all its hosts."""

    def __init__(self, path: Path | str) -> None:
        if str(path) != IN_MEMORY:
            _close_to_others(Path(path))
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        self._migrate()

    def positions(self) -> dict[TopicPartition, int]:
        """Return the offsets where reading goes on."""
        rows = self._db.execute("select topic, partition, next_offset from positions")
        return {TopicPartition(topic, partition): offset for topic, partition, offset in rows}

    def accept(
        self,
        dispatches: Mapping[str, Record],
        positions: Mapping[TopicPartition, int],
        aborts: Iterable[str] = (),
    ) -> set[str]:
        """Store these dispatches, and with them the positions behind them; return the ids of the new ones.

        An abort is kept until its dispatch is answered, and not at all where no such dispatch waits.
        """
        seen_before: set[str] = set()
        with self._transaction():
            for dispatch_id, record in dispatches.items():
                again = self._db.execute("select 1 from answered where dispatch_id = ?", (dispatch_id,)).fetchone()
                if again is None:
                    cursor = self._db.execute(
                        "insert or ignore into pending values (?, ?)", (dispatch_id, pack([record]))
                    )
                    if cursor.rowcount:
                        self._raise_to(NEWEST, _sent_at(record))
                        continue
                seen_before.add(dispatch_id)
            self._db.executemany(
                "insert or ignore into aborts select dispatch_id from pending where dispatch_id = ?",
                [(dispatch_id,) for dispatch_id in aborts],
            )
            self._db.executemany(
                "insert or replace into positions values (?, ?, ?)",
                [(each.topic, each.partition, offset) for each, offset in positions.items()],
            )
        return set(dispatches) - seen_before

    def pending(self) -> dict[str, Record]:
        """Return the records of the dispatches that are not answered, by dispatch id."""
        rows = self._db.execute("select dispatch_id, record from pending")
        return {dispatch_id: unpack(record)[0] for dispatch_id, record in rows}

    def aborted(self) -> set[str]:
        """Return the ids of the unanswered dispatches that are to be aborted."""
        return {dispatch_id for (dispatch_id,) in self._db.execute("select dispatch_id from aborts")}

    def done(self, job_id: str) -> JobResult | None:
        """Return the result of a job that succeeded, or None."""
        row = self._db.execute("select result from done where job_id = ?", (job_id,)).fetchone()
        return JobResult.model_validate_json(row[0]) if row else None

    def finish(self, result: JobResult, sent: datetime) -> None:
        """Store the result of a job that succeeded, with the time at which its dispatch was sent."""
        self._db.execute(
            "insert or replace into done (job_id, result, at) values (?, ?, ?)",
            (result.job_id, result.model_dump_json(exclude_defaults=True), sent.timestamp()),
        )

    def answered(self, dispatch_ids: Iterable[str]) -> None:
        """Note that the answers to these dispatches are on the log."""
        with self._transaction():
            for dispatch_id in dispatch_ids:
                self._db.execute("delete from aborts where dispatch_id = ?", (dispatch_id,))
                row = self._db.execute(
                    "delete from pending where dispatch_id = ? returning record", (dispatch_id,)
                ).fetchone()
                if row is not None:
                    sent = _sent_at(unpack(row[0])[0])
                    self._db.execute("insert or ignore into answered values (?, ?)", (dispatch_id, sent))

    def forget_old(self, now: datetime) -> None:
        """Remove what was sent more than KEEP_SECONDS before the newest dispatch, or before now if that is earlier: a
        clock that is wrong makes the journal keep more, never less."""
        before = min(self._time(NEWEST), now.timestamp()) - KEEP_SECONDS
        with self._transaction():
            self._raise_to(FORGOTTEN, before)
            self._db.execute("delete from answered where at < ?", (before,))
            self._db.execute("delete from done where at < ?", (before,))

    def may_have_forgotten(self, sent: datetime) -> bool:
        """Say whether a dispatch that was sent then may have been answered, and removed since."""
        return sent.timestamp() < self._time(FORGOTTEN)

    def guests(self, host_id: str) -> dict[str, Power]:
        """Return every guest of the host with its last reported power."""
        rows = self._db.execute("select instance_id, power from guests where host_id = ?", (host_id,))
        return {instance_id: Power(power) for instance_id, power in rows}

    def guest(self, host_id: str, instance_id: str) -> Power | None:
        """Return the last reported power of this guest, or None where it is no guest of the host."""
        row = self._db.execute(
            "select power from guests where host_id = ? and instance_id = ?", (host_id, instance_id)
        ).fetchone()
        return Power(row[0]) if row else None

    def epochs(self, host_id: str) -> dict[str, int]:
        """Return, by guest, the host's epoch in which a job last gave it its power, where that was noted."""
        rows = self._db.execute("select instance_id, epoch from epochs where host_id = ?", (host_id,))
        return dict(rows.fetchall())

    def record_power(self, host_id: str, instance_id: str, power: Power, epoch: int = 0) -> None:
        """Store the power that was reported of a guest; `epoch` is the host's where a job gave the guest that power."""
        self._db.execute("insert or replace into guests values (?, ?, ?)", (host_id, instance_id, power))
        if epoch:
            self._db.execute("insert or replace into epochs values (?, ?, ?)", (host_id, instance_id, epoch))

    def forget(self, host_id: str, instance_id: str) -> None:
        """Remove a guest that is gone from this host; another host of this process may have it."""
        which = (host_id, instance_id)
        self._db.execute("delete from guests where host_id = ? and instance_id = ?", which)
        self._db.execute("delete from epochs where host_id = ? and instance_id = ?", which)

    def close(self) -> None:
        """Close the journal's file."""
        self._db.close()

    def _migrate(self) -> None:
        (before,) = self._db.execute("pragma user_version").fetchone()
        for number, script in enumerate(MIGRATIONS[before:], before + 1):
            self._db.executescript(f"begin immediate; {script} pragma user_version = {number}; commit;")

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._db)

    def _time(self, name: str) -> float:
        row = self._db.execute("select at from times where name = ?", (name,)).fetchone()
        return float(row[0]) if row else 0.0

    def _raise_to(self, name: str, at: float) -> None:
        self._db.execute(
            "insert into times values (?, ?) on conflict (name) do update set at = max(at, excluded.at)", (name, at)
        )


def _close_to_others(path: Path) -> None:
    """Let the owner alone read the file and those that SQLite keeps beside it, also where an earlier release made
    them. SQLite gives new ones the permissions of the first."""
    path.touch(mode=0o600)
    for each in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        if each.exists():
            each.chmod(0o600)


def _sent_at(record: Record) -> float:
    """Return when the engine sent the record, in Unix seconds; 0 where the record does not say."""
    sent = dict(record.headers).get("ce_time")
    return datetime.fromisoformat(sent.decode()).timestamp() if sent else 0.0


class _Transaction:
    """Begins a transaction, and commits it or rolls it back."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("begin")

    def __exit__(self, kind: object, *rest: object) -> None:
        self._db.execute("commit" if kind is None else "rollback")
