"""The disk of the log, or of the database, is full for a while under load: what dies of it is started again as its
supervisor would, users are told so meanwhile, and afterwards everything that was accepted is done, and all adds up."""

import contextlib
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.process import Failure, wait_until
from infra.local.server import Server
from tests.real.cluster import Cluster, running
from tests.real.test_absences import SETTINGS, through
from tests.real.test_crashes import prepare

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk of a size of its own"),
]

SIZE = "1g"
SAID = "No space left on device"
FULL = 20.0
"""Seconds for which the disk stays full after the server has said so."""
PATIENCE = 120.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(6, SETTINGS) as found:
        prepare(found)
        yield found


@contextlib.contextmanager
def on_a_small_disk(server: Server) -> Iterator[None]:
    """Its data lie on a disk of their own for the time of the block; its log does not."""
    data, aside = server.directory / "data", server.directory / "aside"
    owner = data.stat()

    def move(source: Path, target: Path) -> None:
        subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)
        os.chown(target, owner.st_uid, owner.st_gid)
        target.chmod(stat.S_IMODE(owner.st_mode))

    server.stop()
    data.rename(aside)
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(data)], check=True)
    move(aside, data)
    shutil.rmtree(aside)
    server.start()
    try:
        yield
    finally:
        server.stop()
        aside.mkdir()
        move(data, aside)
        subprocess.run(["umount", str(data)], check=True)
        data.rmdir()
        aside.rename(data)
        server.start()


def times_said(server: Server) -> int:
    """How often it has complained."""
    return server.log.read_text(errors="replace").count(SAID)


def fill(server: Server) -> None:
    """Nothing more fits, until the server has said so, and for a while after that; whatever it frees is taken."""
    filler = server.directory / "data" / "filler"
    before, said_at = times_said(server), 0.0
    until = time.monotonic() + PATIENCE
    try:
        while not said_at or time.monotonic() < said_at + FULL:
            assert time.monotonic() < until, f"{server.name} never said that its disk is full"
            room = os.statvfs(filler.parent)
            if room.f_bavail:
                with filler.open("ab") as file:
                    size = file.tell()
                    with contextlib.suppress(OSError):
                        os.posix_fallocate(file.fileno(), size, room.f_bavail * room.f_frsize)
            if not said_at and times_said(server) > before:
                said_at = time.monotonic()
            revive(server)
            time.sleep(0.2)
    finally:
        filler.unlink()
    assert wait_until(lambda: stays_ready(server), PATIENCE), f"{server.name} does not come back"


def stays_ready(server: Server) -> bool:
    """Whether it answers now, and still does seconds later: what had no room may end only after a while."""
    for _ in range(10):
        revive(server)
        if not server.ready():
            return False
        time.sleep(1)
    return True


def revive(server: Server) -> None:
    """As a supervisor does with what has ended; while there is no room, it may end again."""
    if not server.runs:
        with contextlib.suppress(Failure):
            server.start()


def test_the_disk_of_the_log_is_full(cluster: Cluster) -> None:
    with on_a_small_disk(cluster.kafka):
        users = through(cluster, "full-log", lambda: fill(cluster.kafka))
    assert users.answers[503] > 0


def test_the_disk_of_the_database_is_full(cluster: Cluster) -> None:
    with on_a_small_disk(cluster.postgres):
        # Whether a user is told so depends on whose write it was that found no room.
        through(cluster, "full-db", lambda: fill(cluster.postgres))
