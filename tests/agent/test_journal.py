"""What the agent remembers across crashes."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.runner.journal import KEEP_SECONDS, Journal
from domain.core.messages import Record
from domain.guest_spec import Power
from domain.jobs.guest import PowerSeen
from domain.tasks.messages import JobResult
from infra.db.outbox import pack
from infra.log.log import TopicPartition

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = TopicPartition("gostack.jobs", 3)
SECOND = TopicPartition("gostack.jobs", 4)
RECORD = Record("gostack.jobs", b"host", bytes(range(256)), (("ce_id", b"1"), ("odd", b"\xff")), 3, 17)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    made = Journal(path)
    yield made
    made.close()


@pytest.fixture
def again(path: Path, journal: Journal) -> Iterator[Journal]:
    """The journal as the next process finds it, while this one did not close it."""
    made = Journal(path)
    yield made
    made.close()


def test_what_is_taken_over_is_pending_and_survives_a_crash(journal: Journal, path: Path) -> None:
    assert journal.accept({"a": RECORD}, {FIRST: 18}) == {"a"}
    after = Journal(path)
    assert after.pending() == {"a": replace(RECORD, offset=-1)}
    assert after.positions() == {FIRST: 18}
    after.close()


def test_what_is_pending_already_is_not_new(journal: Journal) -> None:
    journal.accept({"a": RECORD}, {FIRST: 18})
    assert journal.accept({"a": RECORD, "b": RECORD}, {FIRST: 20}) == {"b"}
    assert set(journal.pending()) == {"a", "b"}


def test_what_was_answered_is_not_new_and_not_pending(journal: Journal, again: Journal) -> None:
    journal.accept({"a": RECORD, "b": RECORD}, {})
    journal.answered(["a"])
    journal.answered(["a"])
    assert again.accept({"a": RECORD}, {FIRST: 18}) == set()
    assert set(again.pending()) == {"b"}


def test_pending_work_is_told_in_the_order_it_came(journal: Journal) -> None:
    names = [f"{(number * 7) % 20:02}" for number in range(20)]
    for name in names:
        journal.accept({name: RECORD}, {})
    journal.answered(names[3:5])
    assert list(journal.pending()) == names[:3] + names[5:]


def test_positions_are_kept_a_partition_and_moved_on(journal: Journal) -> None:
    assert journal.positions() == {}
    journal.accept({}, {FIRST: 5, SECOND: 7})
    journal.accept({}, {FIRST: 6})
    assert journal.positions() == {FIRST: 6, SECOND: 7}


def test_work_and_position_are_taken_over_together_or_not_at_all(journal: Journal, again: Journal) -> None:
    broken = replace(RECORD, value=None)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        journal.accept({"a": RECORD, "b": broken}, {FIRST: 18})
    assert (again.pending(), again.positions()) == ({}, {})
    assert journal.accept({"a": RECORD}, {FIRST: 18}) == {"a"}, "and it goes on"


def test_the_result_of_a_job_that_succeeded_is_known(journal: Journal, again: Journal) -> None:
    result = JobResult(job_id="j", name="StartGuest", facts=(PowerSeen(power=Power.RUNNING),))
    assert journal.done("j") is None
    journal.finish(result, NOW)
    journal.finish(result, NOW)
    assert again.done("j") == result


def test_what_was_said_of_guests_is_known_a_host(journal: Journal, again: Journal) -> None:
    journal.record_power("h1", "a", Power.RUNNING)
    journal.record_power("h1", "b", Power.SHUTDOWN)
    journal.record_power("h2", "c", Power.RUNNING)
    journal.record_power("h1", "a", Power.CRASHED)
    assert again.guests("h1") == {"a": Power.CRASHED, "b": Power.SHUTDOWN}
    journal.forget("h1", "a")
    journal.forget("h1", "a")
    assert again.guests("h1") == {"b": Power.SHUTDOWN}
    assert again.guests("h2") == {"c": Power.RUNNING}


def test_two_hosts_of_this_process_may_know_the_same_guest(journal: Journal, again: Journal) -> None:
    journal.record_power("h1", "a", Power.NONE, epoch=2)
    journal.record_power("h2", "a", Power.RUNNING, epoch=7)
    assert (again.guests("h1"), again.guests("h2")) == ({"a": Power.NONE}, {"a": Power.RUNNING})
    assert (again.epochs("h1"), again.epochs("h2")) == ({"a": 2}, {"a": 7})
    journal.forget("h1", "a")
    assert (again.guests("h1"), again.epochs("h1")) == ({}, {})
    assert (again.guest("h2", "a"), again.epochs("h2")) == (Power.RUNNING, {"a": 7})


def test_one_guest_is_known_of_its_host_alone(journal: Journal) -> None:
    journal.record_power("h1", "a", Power.SHUTDOWN)
    assert journal.guest("h1", "a") is Power.SHUTDOWN
    assert journal.guest("h2", "a") is None
    assert journal.guest("h1", "b") is None


def test_the_epoch_of_a_guests_last_job_is_known_whatever_is_seen_of_it_later(journal: Journal, again: Journal) -> None:
    journal.record_power("h1", "a", Power.RUNNING, epoch=2)
    journal.record_power("h1", "b", Power.RUNNING)
    journal.record_power("h2", "c", Power.RUNNING, epoch=7)
    journal.record_power("h1", "a", Power.CRASHED)
    assert (again.epochs("h1"), again.epochs("h2")) == ({"a": 2}, {"c": 7})
    journal.record_power("h1", "a", Power.RUNNING, epoch=3)
    journal.record_power("h1", "c", Power.RUNNING, epoch=4)
    assert (again.epochs("h1"), again.epochs("h2")) == ({"a": 3, "c": 4}, {"c": 7})
    journal.forget("h1", "a")
    assert again.epochs("h1") == {"c": 4}


def test_what_is_asked_of_one_host_costs_nothing_of_the_guests_of_others(journal: Journal) -> None:
    def work() -> int:
        """Tens of SQLite's instructions."""
        done = [0]

        def more() -> None:
            done[0] += 1

        journal._db.set_progress_handler(more, 10)
        assert journal.guests("h1") == {"a": Power.RUNNING}
        assert journal.guest("h1", "a") is Power.RUNNING
        journal._db.set_progress_handler(None, 0)
        return done[0]

    journal.record_power("h1", "a", Power.RUNNING)
    alone = work()
    for number in range(500):
        journal.record_power("h2", str(number), Power.RUNNING)
    assert work() <= alone + 2


# Aborts


def test_an_abort_is_known_until_its_dispatch_is_answered(journal: Journal, path: Path) -> None:
    journal.accept({"a": RECORD, "b": RECORD}, {FIRST: 18})
    for _ in range(2):
        journal.accept({}, {FIRST: 19}, aborts=["a"])
    after = Journal(path)
    assert after.aborted() == {"a"}
    assert set(after.pending()) == {"a", "b"}
    after.answered(["a"])
    assert after.aborted() == set()
    after.accept({}, {}, aborts=["a"])
    assert after.aborted() == set(), "it is answered"
    after.close()


def test_an_abort_that_comes_with_its_dispatch_is_known_and_one_without_is_not(journal: Journal) -> None:
    journal.accept({"a": RECORD}, {FIRST: 18}, aborts=["a", "b"])
    assert journal.aborted() == {"a"}
    journal.accept({"b": RECORD}, {FIRST: 19})
    assert journal.aborted() == {"a"}


# Files of earlier releases

UNCOUNTED = """
create table positions (topic text, partition int, next_offset int not null, primary key (topic, partition));
create table pending (dispatch_id text primary key, record blob not null);
create table answered (dispatch_id text primary key, at int not null default (unixepoch()));
create table done (job_id text primary key, result text not null, at int not null default (unixepoch()));
create table times (name text primary key, at real not null);
create table guests (instance_id text primary key, host_id text not null, power text not null);
create index guests_of on guests (host_id);
create table epochs (instance_id text primary key, host_id text not null, epoch int not null);
create index epochs_of on epochs (host_id);
insert into positions values ('gostack.jobs', 3, 18);
insert into answered values ('x', 1767225600);
insert into done values
    ('j', '{"job_id":"j","name":"StartGuest","facts":[{"fact":"power","power":"running"}]}', 1767225600);
insert into times values ('newest', 1767225600.0);
insert into guests values ('a', 'h1', 'running'), ('b', 'h2', 'shutdown');
insert into epochs values ('a', 'h1', 2);
"""
"""A file as the release before the first that counts its changes left it."""


def test_a_file_of_the_release_before_is_taken_over_with_all_it_knows(path: Path) -> None:
    before = sqlite3.connect(path)
    before.executescript(UNCOUNTED)
    before.execute("insert into pending values (?, ?)", ("p", pack([RECORD])))
    before.commit()
    before.close()
    for _ in range(2):
        after = Journal(path)
        assert after.positions() == {FIRST: 18}
        assert after.pending() == {"p": replace(RECORD, offset=-1)}
        assert after.accept({"x": RECORD}, {}) == set()
        assert after.done("j") == JobResult(job_id="j", name="StartGuest", facts=(PowerSeen(power=Power.RUNNING),))
        assert (after.guests("h1"), after.guests("h2")) == ({"a": Power.RUNNING}, {"b": Power.SHUTDOWN})
        assert (after.epochs("h1"), after.epochs("h2")) == ({"a": 2}, {})
        assert after.aborted() == set()
        after.record_power("h2", "a", Power.NONE, epoch=5)
        assert after.guest("h1", "a") is Power.RUNNING
        after.forget("h2", "a")
        after.close()


def test_a_file_that_cannot_be_taken_over_stays_as_it_was(path: Path) -> None:
    before = sqlite3.connect(path)
    before.executescript(UNCOUNTED + "create table epochs_before (odd text);")
    tables = before.execute("select sql from sqlite_master").fetchall()
    with pytest.raises(sqlite3.OperationalError, match="epochs_before"):
        Journal(path)
    assert before.execute("select sql from sqlite_master").fetchall() == tables
    assert before.execute("select count(*) from guests").fetchone() == (2,)
    before.close()


# What is forgotten


def sent(at: datetime) -> Record:
    return replace(RECORD, headers=(*RECORD.headers, ("ce_time", at.isoformat().encode())))


def filled(path: Path, age: float) -> Journal:
    """What was sent so many seconds ago is done and answered; and the newest dispatch is of now."""
    made = Journal(path)
    old = NOW - timedelta(seconds=age)
    made.accept({"a": sent(old), "waiting": sent(old), "new": sent(NOW)}, {FIRST: 5})
    made.finish(JobResult(job_id="j", name="StartGuest"), old)
    made.answered(["a"])
    made.record_power("h1", "g", Power.RUNNING)
    return made


@pytest.mark.parametrize(("age", "known"), [(KEEP_SECONDS - 60, True), (KEEP_SECONDS + 60, False)])
def test_what_was_done_is_forgotten_when_nobody_can_ask_again(path: Path, age: int, known: bool) -> None:
    filled(path, age).close()
    after = Journal(path)
    after.forget_old(NOW)
    assert (after.done("j") is not None) is known
    assert (after.accept({"a": sent(NOW - timedelta(seconds=age))}, {}) == set()) is known
    assert after.may_have_forgotten(NOW - timedelta(seconds=age)) is not known
    assert "waiting" in after.pending()
    assert after.guests("h1") == {"g": Power.RUNNING}
    after.close()


def test_a_journal_that_forgot_nothing_takes_everything_for_new(journal: Journal) -> None:
    assert not journal.may_have_forgotten(NOW - timedelta(days=365))
    journal.forget_old(NOW)
    assert not journal.may_have_forgotten(NOW - timedelta(days=365))


@pytest.mark.parametrize("ahead", [timedelta(days=-400), timedelta(days=400)])
def test_a_wrong_clock_makes_it_forget_less_and_never_what_it_does_not_know_of(path: Path, ahead: timedelta) -> None:
    made = filled(path, 60)
    made.forget_old(NOW + ahead)
    assert made.done("j") is not None
    assert not made.may_have_forgotten(NOW - timedelta(seconds=60))
    made.close()


def test_what_may_have_been_forgotten_stays_so(path: Path) -> None:
    made = filled(path, KEEP_SECONDS + 60)
    made.forget_old(NOW)
    made.close()
    after = Journal(path)
    after.forget_old(NOW - timedelta(days=400))
    assert after.may_have_forgotten(NOW - timedelta(seconds=KEEP_SECONDS + 60))
    assert not after.may_have_forgotten(NOW - timedelta(seconds=KEEP_SECONDS - 60))
    after.close()


def test_a_dispatch_from_the_future_makes_it_forget_nothing_of_today(journal: Journal) -> None:
    journal.accept({"f": sent(NOW + timedelta(days=365))}, {})
    journal.forget_old(NOW)
    assert not journal.may_have_forgotten(NOW - timedelta(days=1))
