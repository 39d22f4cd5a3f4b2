"""Several engines: one stands still and comes back, partitions go to and fro, and everything on the log comes again."""

import asyncio
import concurrent.futures
import contextlib
import re
import signal
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest
from aiokafka import AIOKafkaProducer

from domain.core.messages import Envelope, Key, Record, Topic, from_record, to_record
from domain.flavor import CreateFlavor
from domain.tasks.messages import DispatchHostJobs, JobCall, JobError, JobsAnswered
from infra.log.kafka import KafkaLog
from infra.log.records import records
from infra.log.topics import TOPICS
from infra.process.failpoints import VARIABLE
from tests.real.cluster import Cluster, Process, running
from tests.real.test_crashes import boot, instances, prepare

pytestmark = pytest.mark.real

BOOTS = 20
AT_ONCE = 8
ALL = TOPICS[Topic.COMMANDS].partitions + TOPICS[Topic.RESULTS].partitions
"""Partitions that the engines share."""
TAKEN_OVER, STARTED_AGAIN = 30.0, 40.0
"""Seconds until work goes on, on a machine that has other things to do, too; docs/performance.md has those of an idle
one. Faust left to itself takes 60, and so would an engine that waits for the session of the one it was."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(6, {"GOSTACK_AGENT__LATENCY": "0.02", "GOSTACK_AGENT__KEEP_GUESTS": "true"}) as found:
        prepare(found)
        yield found
        for log in found.directory.glob("engine*.log"):
            assert "GapInLog" not in log.read_text(), "an engine passed records over, and began anew when it saw that"


@pytest.fixture
def second(cluster: Cluster) -> Iterator[Process]:
    """Another engine, a member of the group without a name; it has partitions."""
    with another(cluster) as process:
        yield process


@contextlib.contextmanager
def another(cluster: Cluster) -> Iterator[Process]:
    """An engine that has come, and goes at the end."""
    process = Process("engine", cluster.environment, cluster.directory / f"engine-{uuid.uuid4().hex[:6]}.log")
    try:
        cluster.wait("the other engine has partitions", lambda: any(given(process)))
        yield process
    finally:
        process.stop()


def given(engine: Process) -> list[int]:
    """How many partitions it was given, each time that it was."""
    return [int(count) for count in re.findall(r"assigned (\d+) partitions", engine.log.read_text())]


def all_active(cluster: Cluster, ids: list[str]) -> bool:
    found = {str(each["id"]): each["status"] for each in instances(cluster.url)}
    return all(found.get(ident) == "active" for ident in ids)


def boot_all(cluster: Cluster, name: str) -> float:
    """Boot so many, of all partitions, until they are active: the seconds that took."""
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(BOOTS) as pool:
        ids = list(pool.map(lambda number: boot(cluster.url, f"{name}-{number}"), range(BOOTS)))
    cluster.wait("all are active", lambda: all_active(cluster, ids))
    return time.monotonic() - begin


def test_an_engine_that_waits_takes_over_from_one_that_was_killed(cluster: Cluster, second: Process) -> None:
    first = cluster.processes["engine"]
    cluster.wait("both have partitions", lambda: given(first)[-1] and given(second)[-1])
    times = len(given(second))
    first.kill_for_good()
    took = boot_all(cluster, "taken-over")
    assert given(second)[times:] == [ALL]
    assert took < TAKEN_OVER
    cluster.processes["engine"] = Process("engine", first.environment, first.log)
    cluster.wait("the first has partitions again", lambda: given(second)[-1] < ALL)
    cluster.check()


def test_an_engine_that_was_killed_goes_on_when_it_is_started_again(cluster: Cluster, second: Process) -> None:
    """It need not wait until the group has given up the one it was: that would take a session."""
    first = cluster.processes["engine"]
    before, times = first.environment, len(given(first))
    first.environment = {**before, "GOSTACK_WORKER__SESSION_TIMEOUT": "60"}
    try:
        first.kill()
        cluster.wait("it has its partitions, for a long session", lambda: len(given(first)) > times)
        first.kill()
        assert boot_all(cluster, "started-again") < STARTED_AGAIN
        cluster.check()
    finally:
        first.environment = before
        first.kill()


def test_an_engine_that_stood_still_longer_than_its_session_changes_nothing(cluster: Cluster, second: Process) -> None:
    first = cluster.processes["engine"]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = [pool.submit(boot, cluster.url, f"zombie-{number}") for number in range(BOOTS)]
        concurrent.futures.wait(waiting[:3])
        times = len(given(second))
        first.process.send_signal(signal.SIGSTOP)
        try:
            cluster.wait("the second engine has taken all over", lambda: len(given(second)) > times)
            ids = [each.result() for each in waiting]
            cluster.wait("all are active without the first", lambda: all_active(cluster, ids))
        finally:
            first.process.send_signal(signal.SIGCONT)
    ids += [boot(cluster.url, f"zombie-after-{number}") for number in range(3)]
    cluster.wait("all are active with both", lambda: all_active(cluster, ids))
    cluster.check()


def test_an_engine_that_stands_still_within_a_transaction_stands_in_nobodys_way(
    cluster: Cluster, second: Process, tmp_path: Path
) -> None:
    """It holds the rows of its positions; whoever takes over ends the transaction."""
    first, still = cluster.processes["engine"], tmp_path / "stands-still"
    before, times = first.environment, len(given(first))
    first.environment = {**before, VARIABLE: f"stop@step-moved:3:{still}"}
    first.kill()
    cluster.wait("it has partitions again", lambda: len(given(first)) > times)
    first.environment = before
    starts = first.starts
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = [pool.submit(boot, cluster.url, f"holding-{number}") for number in range(BOOTS)]
        cluster.wait("it stands still", still.exists)
        begin = time.monotonic()
        try:
            cluster.wait("its transaction is open", lambda: holding(cluster))
            (held,) = holding(cluster)
            ids = [each.result() for each in waiting]
            cluster.wait("all are active without the first", lambda: all_active(cluster, ids))
            assert time.monotonic() - begin < TAKEN_OVER
            assert held not in holding(cluster)
            assert first.starts == starts
        finally:
            first.process.send_signal(signal.SIGCONT)
    cluster.wait("it begins anew", lambda: first.starts > starts)
    boot_all(cluster, "holding-after")
    cluster.check()


def holding(cluster: Cluster) -> list[int]:
    """Connections of engines whose transactions have been open for more than a second."""
    query = """
    select pid from pg_stat_activity
     where application_name = 'gostack-engine' and xact_start < clock_timestamp() - interval '1 second'
    """
    with psycopg.connect(cluster.postgres.dsn) as connection:
        return [pid for (pid,) in connection.execute(query)]


def test_engines_that_come_and_go_lose_nothing_and_overtake_nobody(cluster: Cluster) -> None:
    before = overtaken(cluster)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = []
        for turn in range(3):
            waiting += [pool.submit(boot, cluster.url, f"coming-{turn}-{number}") for number in range(BOOTS)]
            with another(cluster):
                time.sleep(1)
        ids = [each.result() for each in waiting]
    cluster.wait("all are active", lambda: all_active(cluster, ids))
    assert overtaken(cluster) == before, "partitions went while a step was under way"
    cluster.check()


def overtaken(cluster: Cluster) -> int:
    """How often an engine was."""
    return sum(log.read_text().count('"error": "Overtaken"') for log in cluster.directory.glob("engine*.log"))


def test_what_another_writes_in_transactions_counts_if_it_is_not_taken_back(cluster: Cluster) -> None:
    """Transactions leave places in the log at which there is nothing."""
    before = cluster.processes["engine"].starts
    names = {"kept": True, "taken-back": False, "kept-too": True}
    commands = {name: _create_flavor(name) for name in names}

    async def write() -> None:
        address = cluster.kafka.address
        async with AIOKafkaProducer(bootstrap_servers=address, transactional_id="somebody") as producer:
            for name, keep in names.items():
                record = commands[name]
                await producer.begin_transaction()
                await producer.send(record.topic, record.value, partition=3, headers=list(record.headers))
                await (producer.commit_transaction() if keep else producer.abort_transaction())

    asyncio.run(write())
    wanted = {name for name, keep in names.items() if keep}

    def there() -> set[str]:
        return {each["name"] for each in httpx.get(f"{cluster.url}/v1/flavors", timeout=10).json()["flavors"]}

    cluster.wait("what was committed is there", lambda: wanted <= there())
    # Nothing waits there, whether or not something comes behind it.
    cluster.check()
    boot_all(cluster, "after-transactions")
    assert there() & names.keys() == wanted
    assert cluster.processes["engine"].starts == before
    cluster.check()


def _create_flavor(name: str) -> Record:
    ident = str(uuid.uuid4())
    data = CreateFlavor(name=name, core=1, memory=1 << 30)
    now = datetime.now(UTC)
    return to_record(Envelope(ident, data, Key("flavor", str(uuid.uuid4())), now, "test", ident), Topic.COMMANDS)


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
