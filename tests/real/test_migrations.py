"""Either host's agent dies while a disk is on its way, or one while it resizes; afterwards one host has all of the
instance, the other nothing.

Two agents with simulated hypervisors that keep their guests, so that a disk goes over HTTP from one process to another.
"""

import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.server import free_port
from infra.process.failpoints import VARIABLE
from tests.real.cluster import Cluster, Process, running
from tests.real.test_crashes import boot, prepare

pytestmark = pytest.mark.real

SETTINGS = {"GOSTACK_AGENT__KEEP_GUESTS": "true", "GOSTACK_INSTANCES__PURGE_AFTER": "1"}
AGENTS = {"sim": "agent", "other": "other"}
"""Host -> its process."""
ENDED = ("finished", "failed", "cancelled")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster with two agents, each with a host of its own."""
    # One that starts anew listens where it did before.
    with running(1, {**SETTINGS, "GOSTACK_AGENT__PORT": str(free_port())}) as found:
        prepare(found)
        own = {
            "GOSTACK_AGENT__NAME": "other",
            "GOSTACK_AGENT__STATE": str(found.directory / "other"),
            "GOSTACK_AGENT__PORT": str(free_port()),
        }
        second = Process("agent", found.environment | own, found.directory / "other.log")
        found.processes["other"] = second
        try:
            found.wait("the second host is there", lambda: len(get(found, "/hosts")["hosts"]) == 2)
            yield found
        finally:
            second.stop()


def get(cluster: Cluster, path: str) -> Any:
    """A document of the API."""
    return httpx.get(f"{cluster.url}/v1{path}", timeout=10).raise_for_status().json()


def kept(cluster: Cluster, host: str) -> set[str]:
    """Instances of which a host has a disk or a definition."""
    path: Path = cluster.directory / AGENTS[host] / f"{host}.guests"
    guests = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return {ident for (ident,) in guests.execute("select id from guests")}
    finally:
        guests.close()


def act(cluster: Cluster, ident: str, verb: str, **wanted: Any) -> dict[str, Any]:
    """Ask for a verb; its task, ended."""
    answer = httpx.post(f"{cluster.url}/v1/instances/{ident}/actions/{verb}", json=wanted, timeout=30)
    assert answer.status_code == 202, answer.text
    task = answer.json()["task_id"]
    cluster.wait(f"{verb} has ended", lambda: get(cluster, f"/tasks/{task}")["status"] in ENDED, 150)
    found: dict[str, Any] = get(cluster, f"/tasks/{task}")
    return found


def arm(cluster: Cluster, host: str, wish: str) -> None:
    """Start a host's agent anew, so that it dies where it is wished."""

    def epoch() -> int:
        (epoch,) = [each["epoch"] for each in get(cluster, "/hosts")["hosts"] if each["name"] == host]
        return int(epoch)

    before = epoch()
    process = cluster.processes[AGENTS[host]]
    process.environment = {**process.environment, VARIABLE: wish}
    process.kill()
    cluster.wait(f"{host} is back", lambda: epoch() > before)


@pytest.mark.parametrize(
    ("victim", "point", "end"),
    [
        ("source", "disk-half-sent:2", "migrate-confirm"),
        ("destination", "disk-half-fetched:1", "migrate-revert"),
    ],
)
def test_an_agent_dies_while_a_disk_is_on_its_way(
    cluster: Cluster, tmp_path: Path, victim: str, point: str, end: str
) -> None:
    ident = boot(cluster.url, f"{victim}-{uuid.uuid4().hex[:6]}")
    cluster.wait("it is active", lambda: get(cluster, f"/instances/{ident}")["status"] == "active")
    source = str(get(cluster, f"/instances/{ident}")["host"]["name"])
    destination = "other" if source == "sim" else "sim"
    mark = tmp_path / "died"
    arm(cluster, {"source": source, "destination": destination}[victim], f"{point}:{mark}")

    task = act(cluster, ident, "migrate")
    assert task["status"] == "finished", task["fault"]
    assert mark.exists(), "nobody died"
    moved = get(cluster, f"/instances/{ident}")
    assert (moved["status"], moved["power"], moved["host"]["name"]) == ("resized", "running", destination)
    assert [ident in kept(cluster, host) for host in (source, destination)] == [True, True]
    cluster.check()

    assert act(cluster, ident, end)["status"] == "finished"
    now, empty = (destination, source) if end == "migrate-confirm" else (source, destination)
    shown = get(cluster, f"/instances/{ident}")
    assert (shown["status"], shown["power"], shown["host"]["name"]) == ("active", "running", now)
    assert [ident in kept(cluster, host) for host in (now, empty)] == [True, False]
    (port,) = get(cluster, f"/ports?instance={ident}")["ports"]
    assert port["ip"] in shown["addresses"]
    cluster.check()


@pytest.mark.parametrize("end", ["resize-confirm", "resize-revert"])
def test_an_agent_dies_while_it_resizes_and_again_while_that_is_decided(
    cluster: Cluster, tmp_path: Path, end: str
) -> None:
    ident = boot(cluster.url, f"grown-{uuid.uuid4().hex[:6]}")
    cluster.wait("it is active", lambda: get(cluster, f"/instances/{ident}")["status"] == "active")
    before = get(cluster, f"/instances/{ident}")
    large = {"name": f"large-{end}", "core": before["flavor"]["core"] + 1, "memory": 2 * before["flavor"]["memory"]}
    httpx.post(f"{cluster.url}/v1/flavors", json=large, timeout=30).raise_for_status()
    host = before["host"]["name"]
    first, second = tmp_path / "died", tmp_path / "died-again"
    arm(cluster, host, f"agent-acted:3:{first}")
    task = act(cluster, ident, "resize", flavor=large["name"], disk=2 * before["disk"])
    assert task["status"] == "finished", task["fault"]
    assert first.exists(), "nobody died"
    shown = get(cluster, f"/instances/{ident}")
    assert (shown["status"], shown["power"], shown["host"]["name"]) == ("resized", "running", host)
    assert (shown["flavor"]["name"], shown["disk"]) == (large["name"], 2 * before["disk"])
    cluster.check()

    arm(cluster, host, f"agent-acted:1:{second}")
    assert act(cluster, ident, end)["status"] == "finished"
    assert second.exists(), "nobody died"
    shown = get(cluster, f"/instances/{ident}")
    assert (shown["status"], shown["power"], shown["host"]["name"]) == ("active", "running", host)
    old, new = (before["flavor"]["name"], before["disk"]), (large["name"], 2 * before["disk"])
    assert (shown["flavor"]["name"], shown["disk"]) == (new if end == "resize-confirm" else old)
    cluster.check()
