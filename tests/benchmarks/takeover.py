"""How long work stands still when an engine is killed: until all that was asked for at that moment is done.

Twice: the killed one is started again at once, as its supervisor would; and it stays away, with another one waiting.
"""

import concurrent.futures
import time
from collections.abc import Callable
from typing import Any

from tests.benchmarks.processes import spread
from tests.real.cluster import Cluster, Process, running
from tests.real.test_crashes import boot, instances, prepare

SETTINGS = {"GOSTACK_WORKER__SESSION_TIMEOUT": "10"}
"""As it is unless somebody sets it; the clusters of the tests have a shorter one."""
BOOTS = 16


def _boots(cluster: Cluster, name: str) -> float:
    """Seconds until so many are active, all asked for now; they are of all partitions."""
    begin = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(BOOTS) as pool:
        booted = set(pool.map(boot, [cluster.url] * BOOTS, [f"{name}-{number}" for number in range(BOOTS)]))

    def active() -> bool:
        """Those of them that nobody decided on yet are in no list."""
        return booted <= {str(each["id"]) for each in instances(cluster.url) if each["status"] == "active"}

    cluster.wait("all are active", active)
    return time.perf_counter() - begin


def _killed(cluster: Cluster, kill: Callable[[], None], name: str) -> float:
    calm = _boots(cluster, f"{name}-calm")
    kill()
    return _boots(cluster, name) - calm


def _restarted(cluster: Cluster, number: int) -> float:
    return _killed(cluster, cluster.processes["engine"].kill, f"restarted-{number}")


def _taken_over(cluster: Cluster, number: int) -> float:
    log = cluster.directory / f"waiting-{number}.log"
    waiting = Process("engine", cluster.environment, log)
    try:
        cluster.wait("the waiting engine is a member", lambda: "assigned" in log.read_text())
        first = cluster.processes["engine"]
        found = _killed(cluster, first.kill_for_good, f"taken-over-{number}")
        cluster.processes["engine"] = Process("engine", first.environment, cluster.directory / "engine.log")
        _boots(cluster, f"again-{number}")
        return found
    finally:
        waiting.stop()


def measure(rounds: int = 3) -> dict[str, Any]:
    """Seconds that the boots took longer than they do when nothing is killed."""
    with running(20, SETTINGS, brief=False) as cluster:
        prepare(cluster)
        return {
            "restarted_seconds": spread([_restarted(cluster, number) for number in range(rounds)]),
            "taken_over_seconds": spread([_taken_over(cluster, number) for number in range(rounds)]),
        }


if __name__ == "__main__":
    print(measure())
