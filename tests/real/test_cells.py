"""Scaling out by cells, as docs/operations.md says it: another cell's agents, another scheduler, and who does what."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from infra.local.server import free_port
from tests.real.cluster import Cluster, Process, running
from tests.real.page import steps
from tests.real.test_crashes import boot, instances, prepare

pytestmark = pytest.mark.real

HOSTS = 3
BOOTS = 30


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(HOSTS, {"GOSTACK_AGENT__LATENCY": "0.02", "GOSTACK_AGENT__KEEP_GUESTS": "true"}) as found:
        prepare(found)
        yield found


def another(cluster: Cluster, line: str, more: dict[str, str]) -> Process:
    """The process that a line of the page starts."""
    *given, _, name = line.split()
    environment = {**cluster.environment, **dict(each.split("=", 1) for each in given), **more}
    return Process(name, environment, cluster.directory / f"another-{name}.log")


def get(cluster: Cluster, path: str, **params: str) -> Any:
    return httpx.get(f"{cluster.url}/v1{path}", params=params, timeout=10).raise_for_status().json()


def assigned(port: int) -> float:
    """How many partitions the scheduler has whose metrics are here."""
    with suppress(httpx.HTTPError):
        for line in httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text.splitlines():
            if line.startswith("gostack_assigned_partitions{"):
                return float(line.split()[-1])
    return 0.0


def test_another_cell_has_hosts_zones_and_a_scheduler_of_its_own(cluster: Cluster) -> None:
    port = free_port()
    far = {"GOSTACK_AGENT__NAME": "far", "GOSTACK_AGENT__STATE": str(cluster.directory / "far")}
    agent, second = (
        another(cluster, line, more)
        for line, more in zip(steps("More cells"), (far, {"GOSTACK_METRICS__SCHEDULER": str(port)}), strict=True)
    )
    try:
        cells = [("default", HOSTS), ("east", HOSTS)]
        cluster.wait(
            "both cells are listed",
            lambda: [(each["name"], each["hosts"]) for each in get(cluster, "/cells")["cells"]] == cells,
        )
        first_port = cluster.watched["scheduler"]
        cluster.wait("both schedulers have their share", lambda: assigned(port) == assigned(first_port) == 6)
        cluster.wait("boots are spread over both", lambda: _spread(cluster))

        def disabled(verb: str) -> None:
            for host in get(cluster, "/hosts", cell="default")["hosts"]:
                httpx.post(f"{cluster.url}/v1/hosts/{host['id']}/actions/{verb}", timeout=10).raise_for_status()

        disabled("disable")
        ids = [boot(cluster.url, f"elsewhere-{number}") for number in range(6)]
        cluster.wait("all have a host where there is one", lambda: _on(cluster, ids) == Counter({"far": len(ids)}))
        disabled("enable")
        cluster.processes["scheduler"].kill_for_good()
        cluster.wait("the other scheduler decides for both cells", lambda: assigned(port) == 12)
        ids = [boot(cluster.url, f"alone-{number}") for number in range(BOOTS)]
        cluster.wait("both cells are used", lambda: _on(cluster, ids).keys() == {"sim", "far"})
        cluster.wait("all are active", lambda: sum(_on(cluster, ids).values()) == len(ids))
        cluster.check()
    finally:
        agent.stop()
        second.stop()


def _spread(cluster: Cluster) -> bool:
    """Whether some of each cell are there; asks for one more otherwise, since APIs count the hosts now and then."""
    boot(cluster.url, "spread")
    return _on(cluster).keys() == {"sim", "far"}


def _on(cluster: Cluster, ids: list[str] | None = None) -> Counter[str]:
    """How many active instances are on hosts of either agent."""
    found = [each for each in instances(cluster.url) if ids is None or each["id"] in ids]
    hosts: list[Any] = [each["host"] for each in found if each["status"] == "active"]
    return Counter(str(host["name"])[:3] for host in hosts)
