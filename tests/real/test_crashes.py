"""The engine or a server dies in the middle of fifty boots; afterwards fifty instances run, each once, and all adds up.

How the processes die at each point of their work is in test_crash_points."""

import asyncio
import concurrent.futures
import contextlib
import hashlib
import time
import uuid
from collections.abc import Iterator

import httpx
import pytest

from domain.messages import Record, Topic
from infra.log.kafka import KafkaLog
from infra.log.records import records
from tests.real.cluster import Cluster, running

pytestmark = pytest.mark.real

BOOTS = 50
HOSTS = 10
AT_ONCE = 8


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(HOSTS, {"GOSTACK_AGENT__LATENCY": "0.02", "GOSTACK_AGENT__KEEP_GUESTS": "true"}) as found:
        prepare(found)
        yield found


def prepare(cluster: Cluster) -> None:
    """An image, a flavor and a network."""
    with httpx.Client(base_url=cluster.url, timeout=30) as api:
        blob = b"\0" * (1 << 20)
        made = api.post("/v1/images/uploads", content=blob)
        assert made.status_code in (200, 201), made.text
        assert made.json()["checksum"] == hashlib.sha256(blob).hexdigest()
        for path, body in (
            ("/v1/images", {"name": "tiny", "checksum": made.json()["checksum"]}),
            ("/v1/flavors", {"name": "small", "core": 1, "memory": 128 << 20}),
            ("/v1/networks", {"name": "lan", "cidr": "10.1.0.0/20"}),
        ):
            answer = api.post(path, json=body)
            assert answer.status_code < 300, answer.text


def boot(url: str, name: str) -> str:
    """Boot one as a patient client does: the same key until there is an answer."""
    key = str(uuid.uuid4())
    body = {"name": name, "flavor": "small", "image": "tiny", "network": "lan"}
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.post(f"{url}/v1/instances", json=body, headers={"Idempotency-Key": key}, timeout=10)
            if answer.status_code == 202:
                return str(answer.json()["instances"][0]["instance_id"])
            assert answer.status_code in (429, 500, 502, 503, 504), answer.text
        time.sleep(0.3)
    raise TimeoutError(name)


def instances(url: str) -> list[dict[str, object]]:
    """All there are."""
    answer = httpx.get(f"{url}/v1/instances", params={"limit": 1000}, timeout=10)
    answer.raise_for_status()
    found: list[dict[str, object]] = answer.json()["instances"]
    return found


def strike(cluster: Cluster, victim: str) -> None:
    """Kill -9; servers are started again here, processes by their keeper."""
    if victim in ("kafka", "postgres"):
        server = cluster.kafka if victim == "kafka" else cluster.postgres
        server.kill()
        time.sleep(1)
        server.start()
    else:
        cluster.processes[victim].kill()


@pytest.mark.parametrize("victim", ["engine", "kafka", "postgres"])
def test_a_process_killed_in_the_middle_of_fifty_boots_loses_and_doubles_nothing(cluster: Cluster, victim: str) -> None:
    batch = f"{victim}-{uuid.uuid4().hex[:6]}"
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = [pool.submit(boot, cluster.url, f"{batch}-{number}") for number in range(BOOTS)]
        concurrent.futures.wait(waiting[: BOOTS // 4])
        strike(cluster, victim)
        ids = [each.result() for each in waiting]
    assert len(set(ids)) == BOOTS

    def ours() -> list[dict[str, object]]:
        return [each for each in instances(cluster.url) if str(each["name"]).startswith(batch)]

    def all_active() -> bool:
        return [each["status"] for each in ours()].count("active") == BOOTS

    cluster.wait(f"{BOOTS} instances are active", all_active, 120)
    assert sorted(str(each["id"]) for each in ours()) == sorted(ids)
    cluster.check()


def test_far_more_than_the_bounds_allow_is_told_when_to_come_again_and_all_that_is_accepted_ends(
    cluster: Cluster,
) -> None:
    api = cluster.processes["api"]
    before, starts = api.environment, api.starts
    api.environment = {**before, "GOSTACK_API__MAX_TASKS": "4", "GOSTACK_API__MAX_IN_FLIGHT": "6"}
    api.kill()
    cluster.wait("the API has small bounds", lambda: api.starts > starts and instances(cluster.url) is not None)
    waits: list[int] = []

    def patient(number: int) -> str:
        body = {"name": f"many-{number}", "flavor": "small", "image": "tiny", "network": "lan"}
        key = {"Idempotency-Key": str(uuid.uuid4())}
        end = time.monotonic() + 120
        while time.monotonic() < end:
            answer = httpx.post(f"{cluster.url}/v1/instances", json=body, headers=key, timeout=10)
            if answer.status_code == 202:
                return str(answer.json()["id"])
            assert (answer.status_code, answer.json()["code"]) == (429, "overloaded"), answer.text
            waits.append(int(answer.headers["Retry-After"]))
            time.sleep(waits[-1])
        raise TimeoutError(body["name"])

    with concurrent.futures.ThreadPoolExecutor(BOOTS) as pool:
        ids = list(pool.map(patient, range(BOOTS)))
    assert len(waits) > 10
    assert all(1 <= seconds <= 30 for seconds in waits)

    def all_active() -> bool:
        found = {str(each["id"]): each["status"] for each in instances(cluster.url)}
        return all(found.get(ident) == "active" for ident in ids)

    cluster.wait("all that was accepted is active", all_active)
    api.environment = before
    api.kill()
    cluster.check()


def test_a_record_of_nonsense_is_laid_aside_and_nothing_stops(cluster: Cluster) -> None:
    async def poison() -> int:
        log = KafkaLog(cluster.kafka.address)
        nonsense = [
            Record(topic=topic, key=b"\xff\xfe", value=bytes(range(256)), headers=(("ce_type", b"\x80"),))
            for topic in (Topic.COMMANDS, Topic.RESULTS, Topic.SCHEDULING, Topic.EVENTS)
        ]
        nonsense += [Record(topic=Topic.JOBS, key=b"x", value=b"{", partition=number) for number in range(0, 96, 8)]
        try:
            before = sum([1 async for _ in records(log, Topic.DEAD)])
            await log.publish(nonsense)
            return before
        finally:
            await log.close()

    async def dead() -> list[Record]:
        log = KafkaLog(cluster.kafka.address)
        try:
            return [record async for record in records(log, Topic.DEAD)]
        finally:
            await log.close()

    before = asyncio.run(poison())
    starts = {name: process.starts for name, process in cluster.processes.items()}
    instance_id = boot(cluster.url, "after-the-poison")
    cluster.wait(
        "an instance boots after it",
        lambda: [each["status"] for each in instances(cluster.url) if each["id"] == instance_id] == ["active"],
    )
    cluster.wait("it is laid aside", lambda: len(asyncio.run(dead())) >= before + 3)
    assert {name: process.starts for name, process in cluster.processes.items()} == starts
    assert any(record.value == bytes(range(256)) for record in asyncio.run(dead()))
