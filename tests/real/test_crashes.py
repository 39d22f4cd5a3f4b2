"""The engine or a server dies in the middle of fifty boots; afterwards fifty instances run, each once, and all adds up.

How the processes die at each point of their work is in test_crash_points."""

import asyncio
import concurrent.futures
import contextlib
import itertools
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from cli.gs.sse import Sent, parse
from domain import catalog
from domain.core.errors import UnknownMessage
from domain.core.messages import Record, Topic, from_record
from infra.log.kafka import KafkaLog
from infra.log.records import records
from tests.harness.images import upload
from tests.real.cluster import TREE, Cluster, running

pytestmark = pytest.mark.real

BOOTS = 50
HOSTS = 10
AT_ONCE = 8


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(HOSTS, {"GOSTACK_AGENT__LATENCY": "0.02", "GOSTACK_AGENT__KEEP_GUESTS": "true"}) as found:
        prepare(found)
        yield found


def prepare(cluster: Cluster, put: Callable[[httpx.Client, str, bytes], Any] = upload) -> None:
    """An image, a flavor and a network."""
    with httpx.Client(base_url=f"{cluster.url}/v1", timeout=30) as api:
        put(api, "tiny", bytes(1 << 20))
        for path, body in (
            ("/flavors", {"name": "small", "core": 1, "memory": 128 << 20}),
            ("/networks", {"name": "lan", "cidr": "10.1.0.0/20"}),
        ):
            answer = api.post(path, json=body)
            assert answer.status_code < 300, answer.text


def boot(url: str, name: str) -> str:
    """Boot one as a patient client does: the same key until there is an answer."""
    key = str(uuid.uuid4())
    body = {"name": name, "flavor": "small", "image": "tiny", "network": "lan"}
    end = time.monotonic() + 300
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
        end = time.monotonic() + 300
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


NONSENSE = bytes(range(256))
LARGE = 4 << 20
READ = (Topic.COMMANDS, Topic.RESULTS, Topic.SCHEDULING, Topic.EVENTS)


async def publish_large(cluster: Cluster, *topics: Topic) -> None:
    """To each, a record that GoStack itself could not write: compressed, a broker takes it."""
    producer = AIOKafkaProducer(
        bootstrap_servers=cluster.kafka.address, compression_type="gzip", max_request_size=2 * LARGE
    )
    await producer.start()
    try:
        for topic in topics:
            await producer.send_and_wait(topic, b"\0" * LARGE, key=b"large")
    finally:
        await producer.stop()


async def publish(cluster: Cluster, *nonsense: Record) -> None:
    log = KafkaLog(cluster.kafka.address)
    try:
        await log.publish(nonsense)
    finally:
        await log.close()


def gs(cluster: Cluster, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """As a user runs it; it must end so."""
    done = subprocess.run(
        [sys.executable, "-m", "cli.gs.main", *words, "-o", "json"],
        env={**cluster.environment, "GS_API": cluster.url},
        cwd=TREE,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def dead(cluster: Cluster) -> list[dict[str, str]]:
    """Records about which nobody did anything."""
    found: list[dict[str, str]] = json.loads(gs(cluster, "event", "dead", "list", "--status", "dead").stdout)
    return found


def drop_all(cluster: Cluster) -> None:
    for each in dead(cluster):
        dropped = json.loads(gs(cluster, "event", "dead", "drop", each["id"]).stdout)
        assert (dropped["id"], dropped["status"]) == (each["id"], "dropped")
    assert dead(cluster) == []


def active(cluster: Cluster, instance_id: str) -> bool:
    return [each["status"] for each in instances(cluster.url) if each["id"] == instance_id] == ["active"]


def test_a_record_of_nonsense_is_laid_aside_and_nothing_stops(cluster: Cluster) -> None:
    cluster.wait_for_hosts()
    host = httpx.get(f"{cluster.url}/v1/hosts", params={"limit": 1}, timeout=10).json()["hosts"][0]
    starts = {name: process.starts for name, process in cluster.processes.items()}
    headers: Any = (("ce_type", b"\x80"), ("ce_subject", None))
    asyncio.run(
        publish(
            cluster,
            *(Record(topic, b"\xff\xfe", NONSENSE, headers) for topic in READ),
            Record(Topic.JOBS, host["id"].encode(), b"{", partition=host["partition"]),
        )
    )
    instance_id = boot(cluster.url, "after-the-poison")
    cluster.wait("an instance boots after it", lambda: active(cluster, instance_id))

    def laid_aside() -> dict[str, str]:
        return {each["place"].partition(":")[0]: each["id"] for each in dead(cluster)}

    cluster.wait("all of it is laid aside", lambda: laid_aside().keys() == {*READ, Topic.JOBS})
    assert {name: process.starts for name, process in cluster.processes.items()} == starts
    for name, count in (("engine", 2), ("scheduler", 1), ("projector", 1), ("agent", 1)):
        page = httpx.get(f"http://127.0.0.1:{cluster.watched[name]}/metrics", timeout=10).text
        assert f'gostack_dead_records_total{{process="{name}"}} {count}.0' in page.splitlines()

    found = laid_aside()
    shown = json.loads(gs(cluster, "event", "dead", "show", found[Topic.EVENTS]).stdout)
    assert shown["data"] == NONSENSE.decode(errors="replace")
    refused = gs(cluster, "event", "dead", "retry", found[Topic.EVENTS], status=1)
    assert "gs event dead drop" in refused.stderr
    assert json.loads(gs(cluster, "event", "dead", "retry", found[Topic.JOBS]).stdout)["status"] == "retried"
    cluster.wait("the agent meets it again", lambda: laid_aside().get(Topic.JOBS, "") not in ("", found[Topic.JOBS]))
    drop_all(cluster)
    cluster.check()


def test_what_is_too_large_to_be_written_again_is_laid_aside_in_part(cluster: Cluster) -> None:
    asyncio.run(publish_large(cluster, *READ))
    cluster.wait("all of it is laid aside", lambda: len(dead(cluster)) == len(READ))
    for each in dead(cluster):
        assert f"its value has {LARGE} bytes" in each["why"]
    instance_id = boot(cluster.url, "after-the-large-ones")
    cluster.wait("an instance boots after it", lambda: active(cluster, instance_id))
    drop_all(cluster)
    cluster.check()


def test_a_follower_gets_every_event_once_over_nonsense_and_an_api_that_dies(cluster: Cluster) -> None:
    asyncio.run(publish(cluster, *(Record(Topic.EVENTS, b"", b"{", partition=number) for number in range(12))))
    instance_id = boot(cluster.url, "to-be-followed")
    cluster.wait("an instance boots", lambda: active(cluster, instance_id))
    cluster.wait("what cannot be read is laid aside", lambda: len(dead(cluster)) == 12)
    drop_all(cluster)
    cluster.check()
    whole = asyncio.run(events(cluster))
    first = follow(cluster, "beginning", len(whole) // 3)
    api = cluster.processes["api"]
    starts = api.starts
    api.kill()
    cluster.wait("the API answers again", lambda: api.starts > starts and instances(cluster.url) is not None)
    second = follow(cluster, first[-1].id, len(whole) - len(first))
    places = [json.loads(each.data)["place"] for each in [*first, *second]]
    assert sorted(":".join(map(str, each.values())) for each in places) == sorted(whole)


async def events(cluster: Cluster) -> list[str]:
    """The places of all, those too that stand there twice since they were published again."""
    assert catalog.MESSAGES
    found = []
    log = KafkaLog(cluster.kafka.address)
    try:
        async for record in records(log, Topic.EVENTS):
            with contextlib.suppress(UnknownMessage):
                from_record(record)
                found.append(record.place)
    finally:
        await log.close()
    return found


def follow(cluster: Cluster, begin: str, count: int) -> list[Sent]:
    """The next so many events of the feed, over a connection of their own."""
    params = {"from": begin}
    with httpx.stream("GET", f"{cluster.url}/v1/events/stream", params=params, timeout=30) as answer:
        return list(itertools.islice((each for each in parse(answer.iter_lines()) if each.data), count))
