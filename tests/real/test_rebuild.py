"""Read models are made anew, and gone back from, while they are read and written: no read fails, none is wrong."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.real.cluster import TREE, Cluster, running
from tests.real.page import gs, run, steps
from tests.real.test_crashes import boot, prepare

pytestmark = pytest.mark.real

BOOTS = 20
KILLED = -9
PAGE = "Read models made anew"
_, VERIFY, REBUILD, ROLLBACK, RUNS = (line.split()[1:] for line in steps(PAGE))
RATIOS = {"vcpus": 4, "memory": 1, "disk": 1}
"""What is promised for each unit that a host has, as it is unless somebody sets it."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(4) as found:
        prepare(found)
        yield found


class Users:
    """One who reads and one who boots, until told to stop."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self.reads = 0
        self.booted: list[str] = []
        self.failures: list[str] = []

    @contextmanager
    def at_work(self) -> Iterator[None]:
        threads = [threading.Thread(target=each) for each in (self._read, self._boot)]
        for each in threads:
            each.start()
        try:
            yield
        finally:
            self._over.set()
            for each in threads:
                each.join()

    def _read(self) -> None:
        paths = ("/v1/instances?limit=50", "/v1/hosts", "/v1/events?limit=50", "/v1/tasks?limit=10")
        with httpx.Client(base_url=self._url, timeout=30) as api:
            while not self._over.is_set():
                for path in paths:
                    answer = api.get(path)
                    self.reads += 1
                    if answer.status_code != 200:
                        self.failures.append(f"{path}: {answer.status_code} {answer.text}")

    def _boot(self) -> None:
        while not self._over.is_set():
            self.booted.append(boot(self._url, f"meanwhile-{len(self.booted)}"))


def test_read_models_are_rebuilt_and_rolled_back_under_load(cluster: Cluster) -> None:
    ids = [boot(cluster.url, f"before-{number}") for number in range(BOOTS)]
    refused = gs(cluster, *ROLLBACK, status=1)
    assert "NoPrevious" in refused["error"]
    with psycopg.connect(cluster.postgres.dsn) as connection:
        connection.execute("update read.instances set doc = replace(doc, 'before-0', 'wrong') where id = %s", (ids[0],))
    users = Users(cluster.url)
    with users.at_work():
        found = gs(cluster, *VERIFY, status=1)
        assert any(ids[0] in problem and "wrong" in problem for problem in found["problems"])
        rebuilt = gs(cluster, *REBUILD)
        assert rebuilt["done"] == rebuilt["total"] > 0
        assert gs(cluster, *VERIFY)["problems"] == []
        # The way back leads to what served before, with its mistake, and what happened since.
        gs(cluster, *ROLLBACK)
        found = gs(cluster, *VERIFY, status=1)
        assert all(ids[0] in problem for problem in found["problems"])
        gs(cluster, *REBUILD)
    assert users.failures == []
    assert users.reads > 100
    assert len(users.booted) > 3
    wanted = {*ids, *users.booted}
    # What was accepted just now is read a moment later.
    cluster.wait(
        "all are listed",
        lambda: wanted <= {each["id"] for each in gs(cluster, "instance", "list", "--limit", "1000")},
        5,
    )
    assert gs(cluster, *VERIFY)["problems"] == []
    assert cluster.processes["projector"].starts == 1
    kinds = [each["kind"] for each in gs(cluster, *RUNS)]
    assert kinds == ["verify", "rebuild", "verify", "rollback", "verify", "rebuild", "verify", "rollback"]


@pytest.mark.parametrize("point", ["", "rebuild-renamed"])
def test_a_rebuild_that_is_cut_off_leaves_what_serves_as_it_was(cluster: Cluster, point: str) -> None:
    rebuild, rollback = steps(PAGE, 1)
    users = Users(cluster.url)
    with users.at_work():
        killed = run(cluster, rebuild, point) if point else cut_off(cluster, rebuild)
        assert killed.returncode == KILLED, killed.stderr
        begun = users.reads
        cluster.wait("reads go on", lambda: users.reads > begun + 10)
        assert gs(cluster, *VERIFY)["problems"] == []
        phases = ["bringing it up to date", "exchanging"]
        assert told(run(cluster, rebuild)) == ["making indexes", *phases]
        assert gs(cluster, *VERIFY)["problems"] == []
        assert told(run(cluster, rollback)) == phases
        assert gs(cluster, *VERIFY)["problems"] == []
    assert users.failures == []
    cluster.check()


def told(ended: subprocess.CompletedProcess[str]) -> list[str]:
    """What it says that it did, beside how many events it took."""
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return [line for line in ended.stderr.splitlines() if not re.fullmatch(r"\d+ of \d+ events in .*", line)]


def cut_off(cluster: Cluster, line: str) -> subprocess.CompletedProcess[str]:
    """Killed when it says for the first time how far it is."""
    words = [sys.executable, "-m", "cli.gostack", *line.split()[1:]]
    with subprocess.Popen(words, env=cluster.environment, cwd=TREE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        line = process.stderr.readline()
        process.kill()
    assert " events in " in line
    return subprocess.CompletedProcess(words, process.returncode, "", line)


def all_active(cluster: Cluster) -> int:
    """How many there are, once all are."""
    found: list[Any] = []

    def come_up() -> bool:
        found[:] = gs(cluster, "instance", "list", "--limit", "1000")
        return all(each["status"] == "active" for each in found)

    cluster.wait("all are active", come_up)
    return len(found)


def test_a_policy_is_tried_on_the_past(cluster: Cluster, tmp_path: Path) -> None:
    """In a process of its own, beside an API that answers meanwhile; after a scheduler that was killed as before."""
    for name in ("first", "second"):
        for number in range(3):
            boot(cluster.url, f"{name}-{number}")
        placed = all_active(cluster)
        if name == "first":
            cluster.processes["scheduler"].kill()
    same, packing = tmp_path / "same.yaml", tmp_path / "packing.yaml"
    same.write_text("{}")
    packing.write_text("weights: {free-memory: -1}\n")
    found = gs(cluster, "scheduler", "simulate", "--policy", str(same), "--from", "1h", "--limit", "10000")
    assert found["reproduced"] == {"same": placed, "differ": 0, "unknown": 0, "why": []}
    assert (found["requests"], found["moved"]) == (placed, 0)
    found = gs(cluster, "scheduler", "simulate", "--policy", str(packing), "--from", "1h", "--limit", "10000")
    assert found["moved"] > 0
    # As many as booted while it was rebuilt: how many hosts that fills depends on how quick the machine is.
    held = {name: found["would"][name] for name in RATIOS}
    on_one = min(
        each["total"] // 4 * RATIOS[name] // (each["used"] // placed) for name, each in held.items() if each["used"]
    )
    assert (found["was"]["hosts_used"], found["would"]["hosts_used"]) == (4, -(-placed // on_one))
