"""A process dies at each named point of a command's way, under load; afterwards nothing is lost, twice or stuck."""

import concurrent.futures
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infra.process.failpoints import POINTS, VARIABLE
from tests.real.cluster import Cluster, running
from tests.real.test_crashes import boot, instances, prepare

pytestmark = pytest.mark.real

HOSTS = 6
BOOTS = 10
PROCESSES = {
    "step": {"engine": 3, "scheduler": 1},
    "assigned": {"engine": 3, "scheduler": 1},
    "timers": {"timers": 1},
    "api": {"api": 3},
    "agent": {"agent": 3},
    "projector": {"projector": 3},
}
"""By the first word of a point: who passes it, and the passing at which to die. The scheduler needs few steps. Points
that none of these passes have tests of their own."""
SETTINGS = {
    "GOSTACK_AGENT__LATENCY": "0.02",
    "GOSTACK_AGENT__KEEP_GUESTS": "true",
    # What is deleted is purged by the timers soon.
    "GOSTACK_INSTANCES__PURGE_AFTER": "1",
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(HOSTS, SETTINGS) as found:
        prepare(found)
        yield found


def arm(cluster: Cluster, point: str, directory: Path) -> list[Path]:
    """Start the processes that pass this point so that they die there, once; the files that tell that they did."""
    marks = []
    for name, passing in PROCESSES[point.partition("-")[0]].items():
        mark = directory / name
        wish = f"{point}:{passing}:{mark}"
        if point.startswith("assigned"):
            # An outbox is left behind only by one that died between commit and publication.
            wish = f"{point}:1:{mark},step-committed:{passing}:{directory / name}-before"
        process = cluster.processes[name]
        starts = process.starts
        process.environment = {**process.environment, VARIABLE: wish}
        process.kill()
        cluster.wait(f"{name} starts again", lambda process=process, starts=starts: process.starts > starts)
        marks.append(mark)
    return marks


@pytest.mark.parametrize("point", [each for each in POINTS if each.partition("-")[0] in PROCESSES])
def test_a_process_dies_at(cluster: Cluster, point: str, tmp_path: Path) -> None:
    batch = f"{point}-{uuid.uuid4().hex[:6]}"
    marks = arm(cluster, point, tmp_path)
    with concurrent.futures.ThreadPoolExecutor(BOOTS) as pool:
        names = [f"{batch}-{number}" for number in range(BOOTS)]
        ids = list(pool.map(lambda name: boot(cluster.url, name), names))

    def ours() -> dict[str, object]:
        return {str(each["id"]): each["status"] for each in instances(cluster.url) if str(each["name"]) in names}

    cluster.wait("all are active", lambda: ours() == dict.fromkeys(ids, "active"))
    with httpx.Client(base_url=cluster.url, timeout=30) as api:
        for ident in ids:
            key = str(uuid.uuid4())

            def deleted(ident: str = ident, key: str = key) -> bool:
                answer = api.delete(f"/v1/instances/{ident}", headers={"Idempotency-Key": key})
                return answer.status_code == 202

            cluster.wait(f"{ident} is asked to be deleted", deleted)
    cluster.wait("all are gone", lambda: ours() == {})
    cluster.wait("it died there", lambda: all(mark.exists() for mark in marks))
    cluster.check()
