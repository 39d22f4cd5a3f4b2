"""gostack archive --check says what is wrong with an archive, and nothing where nothing is."""

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.gostack import app
from domain.messages import Record, Topic
from infra.archive.archive import archive
from infra.archive.lock import alone
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
    assert "it is missing" in found.stderr
    assert found.stdout.endswith("; 2 damaged\n")


def test_a_directory_that_is_no_archive(tmp_path: Path) -> None:
    found = checked(tmp_path)
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr == f"Error: manifest.json: it is missing: {tmp_path} holds no archive\n"
    assert checked(tmp_path / "nowhere").exit_code == 1


def test_an_archive_that_is_worked_on_is_left_alone(directory: Path) -> None:
    with alone(directory):
        found = checked(directory)
    assert (found.exit_code, found.stderr) == (1, f"Error: {directory}: another process works on it\n")
