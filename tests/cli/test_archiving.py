"""gostack archive --check says what is wrong with an archive, and nothing where nothing is."""

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.gostack import app
from domain.core.messages import Record, Topic
from infra.archive.archive import archive
from infra.archive.lock import archive_lock
from infra.log.log import TopicPartition
from infra.log.memory import MemoryLog


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Two records in two segments."""

    async def make() -> None:
        log = MemoryLog()
        await log.publish([Record(topic, b"k", b"v", partition=0) for topic in (Topic.EVENTS, Topic.DEAD)])
        await archive(log, tmp_path / "archive")

    asyncio.run(make())
    return tmp_path / "archive"


def checked(directory: Path) -> Result:
    return CliRunner().invoke(app, ["archive", "--check", str(directory)])


def test_an_archive_that_is_whole(directory: Path) -> None:
    found = checked(directory)
    assert (found.exit_code, found.stderr) == (0, "")
    assert found.stdout.startswith("2 records in 2 segments, ")
    assert found.stdout.endswith("; 0 damaged\n")


def test_each_damaged_file_is_named(directory: Path) -> None:
    one, other = sorted(directory.glob("*.gz"))
    one.unlink()
    other.write_bytes(other.read_bytes()[:-1])
    found = checked(directory)
    assert found.exit_code == 1
    assert sorted(line.split(":")[0] for line in found.stderr.splitlines()) == [one.name, other.name]
    assert "the file is missing" in found.stderr
    assert found.stdout.endswith("; 2 damaged\n")


def test_what_was_removed_before_it_was_archived_is_a_loss_that_the_status_tells_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, directory = MemoryLog(), tmp_path / "archive"
    monkeypatch.setattr("infra.log.kafka.KafkaLog", lambda *settings: log)

    def archived(kept: int) -> Result:
        async def go_on() -> None:
            await log.publish([Record(Topic.JOBS, b"k", b"v", partition=3) for _ in range(10)])
            await log.trim({TopicPartition(Topic.JOBS, 3): kept})

        asyncio.run(go_on())
        return CliRunner().invoke(app, ["archive", str(directory)])

    assert (archived(0).exit_code, archived(10).exit_code) == (0, 0)
    lossy = archived(25)
    assert lossy.exit_code == 1
    assert "gostack.jobs:3: 20 to 25 were removed before they were archived\n" in lossy.stderr
    assert lossy.stdout.startswith("5 records were added")
    assert checked(directory).stdout.startswith("25 records")
    again = archived(30)
    assert (again.exit_code, again.stdout[:2]) == (0, "10")


def test_a_directory_that_is_no_archive(tmp_path: Path) -> None:
    found = checked(tmp_path)
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr == f"Error: manifest.json: the file is missing: {tmp_path} holds no archive\n"
    assert checked(tmp_path / "nowhere").exit_code == 1


def test_an_archive_that_is_worked_on_is_left_alone(directory: Path) -> None:
    with archive_lock(directory):
        found = checked(directory)
    assert (found.exit_code, found.stderr) == (1, f"Error: {directory}: another process works on this archive\n")
