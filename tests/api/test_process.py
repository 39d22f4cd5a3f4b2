"""The API as a process, on a real log and database, with simulated hosts behind it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.server import free_port
from tests.harness.collector import Collected, Collector, receiving
from tests.harness.images import upload
from tests.real.cluster import SERVICES, Cluster, running

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
MIB = 1 << 20
WAIT = 30.0
SECRET = "not-for-any-log"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with receiving() as made:
        yield made


@pytest.fixture(scope="module")
def cluster(collector: Collector) -> Iterator[Cluster]:
    with running(2, {"GOSTACK_LOG__LEVEL": "debug", "GOSTACK_TRACES__ENDPOINT": collector.url}) as made:
        yield made


@pytest.fixture
def http(cluster: Cluster) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{cluster.url}/v1", timeout=WAIT) as client:
        yield client


def _furnished(http: httpx.Client) -> None:
    if http.get("/networks/lan").status_code == 200:
        return
    upload(http, "tiny", os.urandom(3 * MIB))
    for path, body in (
        ("/flavors", {"name": "small", "core": 1, "memory": 128 * MIB}),
        ("/networks", {"name": "lan", "cidr": "10.0.0.0/24"}),
    ):
        answer = http.post(path, json=body)
        assert answer.status_code == 201, answer.text
        assert http.get(answer.headers["Location"].removeprefix("/v1")).json() == answer.json()


def _ended(http: httpx.Client, task_id: str) -> Any:
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        task = http.get(f"/tasks/{task_id}", params={"after": task_id}).json()
        if task["status"] in ("finished", "failed", "cancelled"):
            return task
        time.sleep(0.05)
    raise TimeoutError(task_id)


def test_a_life_over_http(http: httpx.Client) -> None:
    _furnished(http)
    key = {"Idempotency-Key": "the one"}
    body = {"name": "web", "flavor": "small", "image": "tiny", "user_data": SECRET, "password": SECRET}
    booted = http.post("/instances", json=body, headers=key).json()
    assert http.post("/instances", json=body, headers=key).json()["task_id"] == booted["task_id"]
    assert _ended(http, booted["task_id"])["status"] == "finished"
    instance = http.get("/instances/web").json()
    assert instance["status"] == "active"
    seconds = int(time.time())
    for params in (
        {"ip": instance["addresses"][0]},
        {"status": "active,error", "host_name": instance["host"]["name"]},
        {"flavor_ids": "small", "image_id": "tiny"},
        {"create_date": f"{seconds - 600},{seconds + 600}", "update_date": f"{seconds - 600},"},
    ):
        found = http.get("/instances", params=params).json()["instances"]
        assert [each["id"] for each in found] == [instance["id"]], params
    etag = {"If-Match": f'"{instance["version"]}"'}
    assert http.patch("/instances/web", json={"description": "x"}, headers=etag).status_code == 200
    assert http.patch("/instances/web", json={"description": "y"}, headers=etag).status_code == 412
    assert http.get("/instances/web/console-log").status_code == 200
    assert http.post("/instances/web/vnc").json()["port"]
    history = http.get("/instances/web/history", params={"limit": 1000}).json()["events"]
    facts = [event for event in history if event["verdict"] != "refused"]
    assert [event["version"] for event in facts] == list(range(1, instance["version"] + 2))
    assert http.get("/events", params={"task": booted["task_id"]}).json()["events"]
    deleted = http.delete("/instances/web", params={"hard": True}).json()
    assert _ended(http, deleted["task_id"])["status"] == "finished"


def test_several_at_once(http: httpx.Client) -> None:
    _furnished(http)
    booted = http.post(
        "/instances", json={"name": "many", "count": 20, "flavor": "small", "image": "tiny", "network": "lan"}
    ).json()
    assert {_ended(http, each["task_id"])["status"] for each in booted["instances"]} == {"finished"}
    marker, seen = None, []
    while True:
        page = http.get("/instances", params={"limit": 7} | ({"marker": marker} if marker else {})).json()
        seen += [each["id"] for each in page["instances"]]
        marker = page["next"]
        if marker is None:
            break
    assert {each["instance_id"] for each in booted["instances"]} <= set(seen)
    assert len(seen) == len(set(seen))


def test_the_feed_resumes_over_another_connection(cluster: Cluster, http: httpx.Client) -> None:
    http.post("/zones", json={"name": "feed"})
    params = {"from": "beginning", "type": "gostack.zone.created.v2"}

    def read(count: int, last: str = "") -> list[tuple[str, str]]:
        headers = {"Last-Event-ID": last} if last else {}
        found: list[tuple[str, str]] = []
        ident = ""
        with http.stream("GET", "/events/stream", params=params, headers=headers) as answer:
            for line in answer.iter_lines():
                if line.startswith("id: "):
                    ident = line.removeprefix("id: ")
                elif line.startswith("data: "):
                    found.append((ident, json.loads(line.removeprefix("data: "))["id"]))
                    if len(found) == count:
                        return found
        raise AssertionError("the stream ended")

    whole = read(2)
    # The place differs with how the partitions were interleaved; the event does not.
    assert [event for _, event in read(1, whole[0][0])] == [whole[1][1]]


def test_what_is_too_large_or_no_json(http: httpx.Client) -> None:
    assert http.post("/flavors", content=b" " * (2 * MIB)).status_code == 413
    assert http.post("/flavors", content=(b" " * 1000 for _ in range(2000))).status_code in (413, 422)
    assert http.post("/flavors", content=b"{", headers={"Content-Type": "application/json"}).status_code == 400


def test_ready_with_no_secret_told(cluster: Cluster, http: httpx.Client) -> None:
    assert httpx.get(f"{cluster.url}/readyz").json()["status"] == "ready"
    assert cluster.postgres.password_file.read_text().strip() not in http.get("/config").text


def test_a_boot_is_one_trace_over_all_processes(cluster: Cluster, collector: Collector, http: httpx.Client) -> None:
    _furnished(http)
    answer = http.post("/instances", json={"name": "traced", "flavor": "small", "image": "tiny", "network": "lan"})
    trace = answer.headers["traceresponse"].split("-")[1]
    assert _ended(http, answer.json()["task_id"])["status"] == "finished"

    def own() -> list[Collected]:
        return [span for span in collector.spans() if span.trace == trace]

    ends = {"job StartGuest", "project task.finished", "send instance.boot", "place"}

    def whole() -> bool:
        # Each process sends its own when it comes to it, children before parents too.
        there = own()
        known = {span.id for span in there}
        begins = {span.name for span in there if span.parent not in known}
        return begins == {"POST /v1/instances"} and ends <= {span.name for span in there}

    cluster.wait("every process has told its part of one tree", whole, WAIT)
    assert {span.service for span in own()} == {
        f"gostack-{name}" for name in ("api", "engine", "scheduler", "agent", "projector")
    }


def test_every_process_says_what_waits_and_for_how_long(cluster: Cluster) -> None:
    waits = {
        "engine": {"gostack.commands", "gostack.results"},
        "scheduler": {"gostack.scheduling"},
        "timers": {"gostack.events", "gostack.reports", "deadlines"},
        "webhooks": {"gostack.events"},
        "projector": {"gostack.events", "gostack.dead"},
        "api": {"gostack.events"},
        "agent": {"gostack.jobs", "dispatches"},
    }
    for name, port in cluster.watched.items():
        url = f"http://127.0.0.1:{port}/readyz"
        cluster.wait(f"{name} is ready", lambda url=url: httpx.get(url).status_code == 200)
        assert httpx.get(url).json()["lag"].keys() == waits[name]
    for name in ("gostack_outbox_records", "gostack_parked_aggregates"):
        for process in ("engine", "scheduler"):
            cluster.wait(
                f"{name} of the {process} is told",
                lambda line=f'{name}{{process="{process}"}} 0.0': (
                    line in httpx.get(f"http://127.0.0.1:{cluster.watched['api']}/metrics").text
                ),
            )
    projector = cluster.processes["projector"]
    projector.kill(signal.SIGSTOP)
    try:
        httpx.post(f"{cluster.url}/v1/zones", json={"name": "old"}, timeout=WAIT)

        def old() -> bool:
            told = httpx.get(f"{cluster.url}/readyz", timeout=WAIT).json()
            return bool(told["lag"] >= 1 and told["lag_seconds"] > 1)

        cluster.wait("the event that is not projected has an age", old)
    finally:
        projector.kill(signal.SIGCONT)

    def done() -> bool:
        told = httpx.get(f"{cluster.url}/readyz", timeout=WAIT).json()
        return bool((told["lag"], told["lag_seconds"]) == (0, 0.0))

    cluster.wait("it is projected", done)


def test_every_line_of_every_process_is_an_object_and_tells_no_secret(cluster: Cluster) -> None:
    said: dict[str, set[str]] = {}
    for name in SERVICES:
        text = (cluster.directory / f"{name}.log").read_text()
        assert SECRET not in text
        lines = [json.loads(line) for line in text.splitlines()]
        assert {line["process"] for line in lines} <= {name}
        said[name] = {line["logger"] for line in lines if line.get("instance")}
    assert said["api"] == {"api.http.timing"}
    assert said["engine"] == said["scheduler"] == {"commands.processor"}
    assert said["projector"] == {"projections.projector"}
    assert said["agent"] == {"agent.runner.runner"}


def _api(cluster: Cluster, **settings: str) -> subprocess.Popen[bytes]:
    environment = cluster.environment | settings
    return subprocess.Popen([sys.executable, "-m", "cli.gostack", "api"], env=environment, cwd=ROOT)


def test_sigterm_ends_it_in_good_order_with_a_follower_attached(cluster: Cluster) -> None:
    port = free_port()
    process = _api(cluster, GOSTACK_API__PORT=str(port), GOSTACK_API__HOSTS_PORT=str(free_port()))
    url = f"http://127.0.0.1:{port}"
    try:

        def up() -> bool:
            return httpx.get(f"{url}/healthz").status_code == 200

        cluster.wait("a second API answers", up)
        attached, ended = threading.Event(), threading.Event()

        def follow() -> None:
            with httpx.stream("GET", f"{url}/v1/events/stream", timeout=WAIT) as answer:
                for _ in answer.iter_lines():
                    attached.set()
            ended.set()

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        assert attached.wait(WAIT)
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT) == 0
        assert time.monotonic() - begin < 8
        assert ended.wait(WAIT)
    finally:
        process.kill()
        process.wait()


def test_a_port_that_is_taken_ends_it_with_an_error(cluster: Cluster) -> None:
    process = _api(cluster)
    try:
        assert process.wait(WAIT) != 0
    finally:
        process.kill()
        process.wait()
