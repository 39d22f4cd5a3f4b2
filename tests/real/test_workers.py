"""Several engines: one stands still and comes back, partitions go to and fro, and everything on the log comes again."""

import asyncio
import concurrent.futures
import signal
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from domain.jobs import DispatchHostJobs, JobCall, JobError, JobsAnswered
from domain.messages import Topic, from_record, to_record
from infra.log.kafka import KafkaLog
from infra.log.records import records
from tests.real.cluster import Cluster, Process, running
from tests.real.test_crashes import boot, instances, prepare

pytestmark = pytest.mark.real

BOOTS = 20
AT_ONCE = 8
SESSION = 6.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(6, {"GOSTACK_AGENT__LATENCY": "0.02", "GOSTACK_AGENT__KEEP_GUESTS": "true"}) as found:
        prepare(found)
        yield found


@pytest.fixture
def second(cluster: Cluster) -> Iterator[Process]:
    """Another engine, a member of the group without a name."""
    process = Process("engine", cluster.environment, cluster.directory / "second-engine.log")
    yield process
    process.stop()


def all_active(cluster: Cluster, ids: list[str]) -> bool:
    found = {str(each["id"]): each["status"] for each in instances(cluster.url)}
    return all(found.get(ident) == "active" for ident in ids)


def assigned(cluster: Cluster) -> int:
    """How often the second engine was given partitions."""
    return (cluster.directory / "second-engine.log").read_text().count("assigned ")


def test_an_engine_that_stood_still_longer_than_its_session_changes_nothing(cluster: Cluster, second: Process) -> None:
    cluster.wait("the second engine has partitions", lambda: assigned(cluster) > 0)
    first = cluster.processes["engine"]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = [pool.submit(boot, cluster.url, f"zombie-{number}") for number in range(BOOTS)]
        concurrent.futures.wait(waiting[:3])
        times = assigned(cluster)
        first.process.send_signal(signal.SIGSTOP)
        try:
            cluster.wait("the second engine has taken all over", lambda: assigned(cluster) > times)
            ids = [each.result() for each in waiting]
            cluster.wait("all are active without the first", lambda: all_active(cluster, ids))
        finally:
            first.process.send_signal(signal.SIGCONT)
    ids += [boot(cluster.url, f"zombie-after-{number}") for number in range(3)]
    cluster.wait("all are active with both", lambda: all_active(cluster, ids))
    cluster.check()


def test_engines_that_come_and_go_lose_nothing(cluster: Cluster) -> None:
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = [pool.submit(boot, cluster.url, f"coming-{number}") for number in range(BOOTS * 2)]
        for _ in range(3):
            other = Process("engine", cluster.environment, cluster.directory / "third-engine.log")
            time.sleep(4)
            other.stop()
        ids = [each.result() for each in waiting]
    cluster.wait("all are active", lambda: all_active(cluster, ids))
    cluster.check()


def test_everything_on_the_log_delivered_again_changes_nothing(cluster: Cluster) -> None:
    """Late and twice: what was said at the beginning is said again at the end.

    What is there already tells a second boot apart. A second reboot only what engine and agents remember does."""
    ids = [boot(cluster.url, f"again-{number}") for number in range(3)]
    cluster.wait("all are active", lambda: all_active(cluster, ids))
    for ident in ids:
        answer = httpx.post(f"{cluster.url}/v1/instances/{ident}/actions/reboot", timeout=10)
        assert answer.status_code == 202, answer.text
    cluster.wait("all are active again", lambda: all_active(cluster, ids))
    before = instances(cluster.url)

    async def again() -> int:
        log = KafkaLog(cluster.kafka.address)
        try:
            said = [
                record
                for topic in (Topic.COMMANDS, Topic.RESULTS, Topic.SCHEDULING, Topic.JOBS)
                async for record in records(log, topic)
            ]
            await log.publish(said)
            return len(said)
        finally:
            await log.close()

    assert asyncio.run(again()) > 30
    cluster.check()
    assert instances(cluster.url) == before


def test_a_job_of_a_year_ago_is_refused_and_answered(cluster: Cluster) -> None:
    ident = boot(cluster.url, "old")
    cluster.wait("it is active", lambda: all_active(cluster, [ident]))
    host = next(each["host"] for each in instances(cluster.url) if each["id"] == ident)
    assert isinstance(host, dict)

    def epoch() -> int:
        return int(httpx.get(f"{cluster.url}/v1/hosts/{host['id']}", timeout=10).json()["epoch"])

    before = epoch()
    # Started again it forgets what is older than a week.
    cluster.processes["agent"].kill()
    cluster.wait("the host is registered again", lambda: epoch() > before)
    now = epoch()

    async def once_more() -> JobError | None:
        log = KafkaLog(cluster.kafka.address)
        try:
            given = [record async for record in records(log, Topic.JOBS)]
            envelopes = [(record, from_record(record)) for record in given if record.headers]
            record, envelope = next((r, e) for r, e in reversed(envelopes) if e.subject.id == ident)
            assert isinstance(envelope.data, DispatchHostJobs)
            stop = JobCall(job_id=str(uuid.uuid4()), name="StopGuest")
            data = envelope.data.but(dispatch_id=str(uuid.uuid4()), epoch=now, jobs=(stop,))
            sent = replace(envelope, id=str(uuid.uuid4()), data=data, time=envelope.time - timedelta(days=365))
            ends = {each: end for each, (_, end) in (await log.bounds([Topic.RESULTS])).items()}
            key = record.key.decode()
            await log.publish([to_record(sent, Topic.JOBS, key=key, partition=record.partition)])
            reader = await log.reader(ends)
            async with asyncio.timeout(30):
                while True:
                    for each in await reader.fetch(100, 0.5):
                        answer = from_record(each).data
                        if isinstance(answer, JobsAnswered) and answer.dispatch_id == data.dispatch_id:
                            await reader.close()
                            return answer.results[0].error
        finally:
            await log.close()

    error = asyncio.run(once_more())
    assert error is not None
    assert error.code == "job-too-old"
    assert all_active(cluster, [ident])
    cluster.check()
