"""Processes are restarted one by one, and more are started, as docs/operations.md says, while instances are booted."""

import concurrent.futures
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from infra.local.server import free_port
from tests.real.cluster import TREE, Cluster, Process, running
from tests.real.page import done, steps
from tests.real.test_crashes import boot, instances, prepare

pytestmark = pytest.mark.real

BEFORE = "e73ef26"
"""The release before: only instances had tasks, and a claim had its instance's id."""
PARTITIONS = {"engine": 24, "scheduler": 12}
PAUSE = 0.4


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(10, {"GOSTACK_AGENT__KEEP_GUESTS": "true"}) as found:
        prepare(found)
        yield found


def put_before(http: httpx.Client, name: str, content: bytes) -> None:
    """Make an image as the release before did: its bytes first, which the image named by their checksum."""
    stored = http.post("/images/uploads", content=content).raise_for_status().json()
    http.post("/images", json={"name": name, "checksum": stored["checksum"]}).raise_for_status()


@contextmanager
def load(cluster: Cluster, name: str) -> Iterator[list[str]]:
    """Boots, one after the other, until the block is over; then all of them are active and all is as it must be."""
    over = threading.Event()
    booted: list[str] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while not over.wait(PAUSE):
                booted.append(boot(cluster.url, f"{name}-{len(booted)}"))
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield booted
    finally:
        over.set()
        thread.join()
    assert failures == []

    def all_active() -> bool:
        found = {str(each["id"]): each["status"] for each in instances(cluster.url)}
        return all(found.get(ident) == "active" for ident in booted)

    cluster.wait(f"all {len(booted)} are active", all_active)
    assert len(booted) == len(set(booted))
    cluster.check()


def more(cluster: Cluster, booted: list[str], count: int = 3) -> None:
    """So many are booted from now on, and active."""
    wanted = len(booted) + count

    def active() -> bool:
        found = {str(each["id"]): each["status"] for each in instances(cluster.url)}
        return len(booted) >= wanted and all(found.get(ident) == "active" for ident in booted[:wanted])

    cluster.wait(f"{count} more are active", active)


def ready(port: int) -> bool:
    return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200


def assigned(port: int) -> int:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
    found = [line.split()[1] for line in text.splitlines() if line.startswith("gostack_assigned_partitions{")]
    return int(float(found[0])) if found else 0


def restart(cluster: Cluster, name: str) -> None:
    process = cluster.processes[name]
    starts = process.starts
    process.kill(signal.SIGTERM)
    cluster.wait(f"{name} is started again", lambda: process.starts > starts)
    cluster.wait(f"{name} is ready", lambda: ready(cluster.watched[name]))


def upgrade(cluster: Cluster, booted: list[str]) -> None:
    """Step by step, as the page says, while instances are booted."""
    for line in steps("Upgrade, and any restart"):
        _, *words = line.split()
        if len(words) > 1:
            done(cluster, line)
        else:
            cluster.processes[words[0]].tree = TREE
            restart(cluster, words[0])
            more(cluster, booted, 1)


def test_a_rolling_restart_under_load_loses_nothing(cluster: Cluster) -> None:
    with load(cluster, "rolling") as booted:
        more(cluster, booted, 1)
        upgrade(cluster, booted)


def git(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *words], cwd=TREE, capture_output=True)


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The code of a release that wrote events, rows and states in other shapes than today's. It stands in the history
    alone; what has the whole history cannot pass without it."""
    if not (TREE / ".git").exists():
        pytest.skip("UPGRADE NOT TESTED: this tree has no history, so there is no earlier release in it")
    if git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true":
        pytest.skip("UPGRADE NOT TESTED: this clone is shallow; get the earlier release by git fetch --unshallow")
    found = git("archive", BEFORE)
    assert found.returncode == 0, found.stderr.decode()
    subprocess.run(["tar", "-x"], cwd=tmp_path, input=found.stdout, check=True)
    return tmp_path


def test_an_earlier_release_becomes_this_one_under_load(earlier: Path) -> None:
    with running(10, {"GOSTACK_AGENT__KEEP_GUESTS": "true"}, tree=earlier) as cluster:
        prepare(cluster, put_before)
        with load(cluster, "upgraded") as booted:
            more(cluster, booted)
            url = f"{cluster.url}/v1/instances/{booted[0]}/history"
            types = [each["type"] for each in httpx.get(url, timeout=10).raise_for_status().json()["events"]]
            assert "gostack.task.accepted.v2" in types, "it is an earlier release"
            upgrade(cluster, booted)
            more(cluster, booted)
        hosts = httpx.get(f"{cluster.url}/v1/hosts", timeout=10).raise_for_status().json()["hosts"]
        assert {each["cell"] for each in hosts} == {"default"}
        ended = [
            httpx.delete(f"{cluster.url}/v1/instances/{ident}", params={"hard": "true"}, timeout=10).status_code
            for ident in booted[:2]
        ]
        assert ended == [202, 202], "what the earlier release made obeys this one"
        cluster.check()


def test_what_an_earlier_release_left_is_read(earlier: Path) -> None:
    """All kinds of leavings, with every process down in between: active, deleted, failed, and under way."""
    with (
        running(10, {"GOSTACK_AGENT__KEEP_GUESTS": "true"}, tree=earlier) as cluster,
        httpx.Client(base_url=f"{cluster.url}/v1", timeout=30) as api,
    ):
        prepare(cluster, put_before)
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            booted = list(pool.map(lambda number: boot(cluster.url, f"left-{number}"), range(200)))
        huge = {"name": "huge", "core": 1, "memory": 1 << 40}
        assert api.post("/flavors", json=huge).status_code < 300
        body = {"flavor": "huge", "image": "tiny", "network": "lan"}
        failed = [api.post("/instances", json={"name": f"failed-{number}", **body}).json()["id"] for number in range(5)]

        def statuses() -> dict[str, str]:
            return {str(each["id"]): str(each["status"]) for each in instances(cluster.url)}

        cluster.wait("all are active", lambda: all(statuses().get(ident) == "active" for ident in booted))
        cluster.wait("five have failed", lambda: all(statuses().get(ident) == "error" for ident in failed))
        for ident in booted[:10]:
            assert api.delete(f"/instances/{ident}", params={"hard": "true"}).status_code == 202
        for ident in booted[10:20]:
            assert api.delete(f"/instances/{ident}").status_code == 202
        cluster.wait("twenty are deleted", lambda: not statuses().keys() & set(booted[:20]))
        cluster.processes["agent"].stop()
        under_way = [boot(cluster.url, f"under-way-{number}") for number in range(5)]
        for ident in booted[20:25]:
            assert api.post(f"/instances/{ident}/actions/stop", json={}).status_code == 202
        cluster.replace(TREE)
        cluster.wait("what was under way is done", lambda: all(statuses().get(each) == "active" for each in under_way))
        cluster.wait("five are stopped", lambda: all(statuses().get(each) == "stopped" for each in booted[20:25]))
        restored = api.post(f"/instances/{booted[10]}/actions/restore", json={})
        assert restored.status_code == 202, restored.text
        for ident in (*booted[25:30], failed[0], under_way[0]):
            deleted = api.delete(f"/instances/{ident}", params={"hard": "true", "ignore": "true"})
            assert deleted.status_code == 202, deleted.text
        moved = api.post(f"/instances/{booted[30]}/actions/pause", json={})
        assert moved.status_code == 202, "what the earlier release made obeys this one's verbs"
        cluster.wait("it is paused", lambda: statuses().get(booted[30]) == "paused")
        # Until then a row has what is new in its document with its next change only.
        done(cluster, "gostack projection rebuild")
        cluster.check()


@contextmanager
def another(cluster: Cluster, line: str) -> Iterator[tuple[Process, int]]:
    """The process that a line of the page starts, and its port for those who watch."""
    *settings, _, name = line.split()
    port = free_port()
    environment = dict(each.split("=", 1) for each in settings) | {f"GOSTACK_METRICS__{name.upper()}": str(port)}
    process = Process(name, {**cluster.environment, **environment}, cluster.directory / f"second-{name}.log")
    try:
        yield process, port
    finally:
        process.stop()


def test_a_second_engine_shares_the_partitions_and_gives_them_back(cluster: Cluster) -> None:
    first = cluster.watched["engine"]
    with load(cluster, "engines") as booted:
        with another(cluster, steps("More workers")[0]) as (_, second):

            def shared() -> bool:
                return assigned(first) == assigned(second) == PARTITIONS["engine"] / 2

            cluster.wait("both have half of them", shared)
            more(cluster, booted)
        cluster.wait("the first has all again", lambda: assigned(first) == PARTITIONS["engine"])
        more(cluster, booted)


def test_a_second_scheduler_takes_over(cluster: Cluster) -> None:
    first = cluster.processes["scheduler"]
    with load(cluster, "schedulers") as booted, another(cluster, steps("More workers")[1]) as (_, second):
        cluster.wait("it is a member", lambda: assigned(second) > 0)
        first.stop()
        cluster.wait("it has all", lambda: assigned(second) == PARTITIONS["scheduler"])
        more(cluster, booted)
        cluster.processes["scheduler"] = Process(
            "scheduler", first.environment, cluster.directory / "scheduler-again.log"
        )
        cluster.wait("the first is back", lambda: assigned(cluster.watched["scheduler"]) > 0)
        more(cluster, booted)


def test_a_second_projector_does_no_harm(cluster: Cluster) -> None:
    first = cluster.processes["projector"]
    before = first.starts
    with load(cluster, "projectors") as booted, another(cluster, "gostack projector") as (second, _):
        cluster.wait("one of them ended itself", lambda: first.starts + second.starts > before + 1)
        more(cluster, booted)
