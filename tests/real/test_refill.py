"""The database is lost and filled again from the log, by the commands of docs/operations.md; everything goes on."""

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.real.cluster import SERVICES, Cluster, Process, running
from tests.real.test_crashes import boot, instances, prepare

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
BOOTS = 5


def steps() -> list[str]:
    """The command block of the section."""
    section = (ROOT / "docs/operations.md").read_text().split("## PostgreSQL is lost", 1)[1]
    return section.split("```")[1].strip().splitlines()


def run(cluster: Cluster, line: str) -> subprocess.CompletedProcess[str]:
    program, *words = line.split()
    assert program == "gostack"
    return subprocess.run(
        [sys.executable, "-m", "cli.gostack", *words], env=cluster.environment, cwd=ROOT, capture_output=True, text=True
    )


def active(cluster: Cluster, count: int) -> None:
    def all_run() -> bool:
        return [each["status"] for each in instances(cluster.url)] == ["active"] * count

    cluster.wait(f"{count} instances are active", all_run)


def refuses_to_begin(cluster: Cluster) -> None:
    """What an engine does on the empty database, and where it says why."""
    engine = run(cluster, "gostack engine")
    assert engine.returncode == 1, engine.stdout + engine.stderr
    assert "Fill the database from the log first: gostack db refill" in engine.stderr
    assert "Traceback" not in engine.stderr


def test_a_lost_database_is_filled_from_the_log() -> None:
    with running(2) as cluster:
        prepare(cluster)
        for number in range(BOOTS):
            boot(cluster.url, f"before-{number}")
        active(cluster, BOOTS)
        stopped = [name for name in SERVICES if name != "agent"]
        for name in reversed(stopped):
            cluster.processes[name].stop()
        server, _, database = cluster.postgres.dsn.rpartition("/")
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f"drop database {database} with (force)".encode())
            connection.execute(f"create database {database}".encode())
        for line in steps():
            if line == "gostack db refill":
                refuses_to_begin(cluster)
            done = run(cluster, line)
            assert done.returncode == 0, done.stdout + done.stderr
        again = run(cluster, "gostack db refill")
        assert (again.returncode, "not empty" in again.stderr) == (1, True), again.stderr
        for name in stopped:
            cluster.processes[name] = Process(
                name, cluster.processes[name].environment, cluster.directory / f"{name}.log"
            )
        cluster.wait_for_hosts()
        for number in range(BOOTS):
            boot(cluster.url, f"after-{number}")
        active(cluster, 2 * BOOTS)
        cluster.check()
