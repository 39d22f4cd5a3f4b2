"""What a worker asks of its group, how soon others have a dead one's partitions, who comes back as itself, and that no
record is passed over when partitions come and go."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from commands.worker import FaustWorker
from domain.core.messages import Record, Topic
from infra.log.kafka import COMMITTED
from infra.log.lag import NO_LAG, Lag
from infra.log.log import LogUnavailable
from infra.process.settings import Settings
from tests.commands.bench import COUNT, SMALL, Bench, about, started


@pytest.fixture(autouse=True)
def _leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def asked(**settings: Any) -> Any:
    bench = Bench()
    return FaustWorker("engine", bench.processor, Settings(worker=settings)).app.conf


def test_a_dead_worker_is_missed_within_a_quarter_of_a_minute() -> None:
    """After a session without a heartbeat; the others hear of it with their next."""
    found = asked()
    assert found.broker_session_timeout + found.broker_heartbeat_interval <= 15
    assert found.broker_heartbeat_interval * 3 <= found.broker_session_timeout
    assert asked(session_timeout=30).broker_session_timeout == 30


@pytest.mark.parametrize(("name", "member"), [("second", "engine-second"), ("", None)])
def test_a_worker_with_a_name_comes_back_as_the_member_that_it_was(name: str, member: str | None) -> None:
    assert asked(instance=name).consumer_group_instance_id == member


async def test_it_reads_what_others_committed_from_its_first_fetch_on() -> None:
    made: Any = FaustWorker("engine", (await started()).processor, Settings()).app._new_consumer()
    aiokafkas = made._thread._create_consumer(loop=asyncio.get_running_loop())
    assert aiokafkas._isolation_level == COMMITTED
    await aiokafkas.stop()


ALL = {TP(str(Topic.COMMANDS), number) for number in range(COUNT)}
STOPPED = SimpleNamespace(should_stop=False)
"""A fetcher of Faust's that has not stopped."""


class Consumer:
    """Faust's consumer, in what a worker uses of it: a fetch lasts until there is something or its time is over, what
    it gives is not given again, and it goes on while partitions come and go."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._at: dict[TP, int] = {}
        self._thread = SimpleNamespace(_consumer=None)
        self.should_stop = False
        self.flow_active = True
        self.fetching = asyncio.Event()
        self.assigned = ALL

    def assignment(self) -> set[TP]:
        return self.assigned

    def _get_active_partitions(self) -> set[TP]:
        return ALL

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        self._at.update(partitions)
        # Until the broker has answered where this is: time enough for a fetch.
        await asyncio.sleep(0.02)

    async def _wait_next_records(self, timeout: float) -> tuple[dict[TP, list[Record]], set[TP]]:
        self.fetching.set()
        end = asyncio.get_running_loop().time() + timeout
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.001)
            found: dict[TP, list[Record]] = {}
            for record in self._bench.waiting():
                partition = TP(record.topic, record.partition or 0)
                if record.offset >= self._at.get(partition, 1 << 60):
                    found.setdefault(partition, []).append(record)
            self._at |= {each: records[-1].offset + 1 for each, records in found.items()}
            if found:
                return found, ALL
        return {}, ALL


@contextlib.asynccontextmanager
async def at_work(bench: Bench) -> AsyncIterator[tuple[FaustWorker, Consumer]]:
    """A worker that fetches and decides, without a group."""
    worker, consumer = FaustWorker("engine", bench.processor, Settings()), Consumer(bench)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(each) for each in (worker._drain(consumer, STOPPED), worker._work())]
        yield worker, consumer
        for task in running:
            task.cancel()


async def decided(bench: Bench, count: int) -> bool:
    """Whether so many commands have their verdict, soon."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(3):
            while len(bench.verdicts()) < count:  # noqa: ASYNC110  # a log tells nobody
                await asyncio.sleep(0.005)
    return len(bench.verdicts()) == count


async def test_what_is_fetched_between_the_seek_and_the_flow_is_not_passed_over() -> None:
    """A fetch that began before partitions came reads on from where they were sought to."""
    bench = await started()
    async with at_work(bench) as (worker, consumer):
        await consumer.fetching.wait()
        consumer.flow_active = False
        await bench.send(*[about(SMALL, number, number) for number in range(8)])
        await worker._assigned(consumer)
        await asyncio.sleep(0.02)
        consumer.flow_active = True
        assert await decided(bench, 8)


async def test_what_was_fetched_before_partitions_went_is_not_taken_for_what_follows_when_they_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[int] = []
    monkeypatch.setattr("commands.worker._end", lambda: ended.append(1))
    bench = await started()
    async with at_work(bench) as (worker, consumer), asyncio.TaskGroup() as tasks:
        await worker._assigned(consumer)
        await worker._stepping.acquire()
        consumer.assigned = set()
        tasks.create_task(worker._assigned(consumer))
        for number in range(4):
            # The first is taken and waits for the step, those that follow it wait to be taken.
            await bench.send(about(SMALL, number, number))
            await asyncio.sleep(0.02)
        worker._stepping.release()
        consumer.assigned = ALL
        await worker._assigned(consumer)
        assert await decided(bench, 4)
    assert not ended


async def test_partitions_go_when_the_step_under_way_has_ended_and_no_other_begins() -> None:
    """Else whoever has them next would read positions that move behind its back, and be overtaken."""
    bench = await started()
    begun, held = asyncio.Event(), asyncio.Event()
    bench.processor.step = _held(bench.processor.step, begun, held)  # type: ignore[method-assign]
    async with at_work(bench) as (worker, consumer), asyncio.TaskGroup() as tasks:
        await worker._assigned(consumer)
        await bench.send(about(SMALL, 1, 1))
        await begun.wait()
        going = tasks.create_task(worker._revoked())
        await bench.send(about(SMALL, 2, 2))
        await asyncio.sleep(0.05)
        assert not going.done()
        held.set()
        await going
        assert len(bench.verdicts()) == 1
        await asyncio.sleep(0.05)
        assert len(bench.verdicts()) == 1
        await worker._assigned(consumer)
        assert await decided(bench, 2)


def _held(step: Any, begun: asyncio.Event, held: asyncio.Event) -> Any:
    async def after(records: Any) -> int:
        begun.set()
        await held.wait()
        return int(await step(records))

    return after


async def test_a_step_that_does_not_end_holds_the_group_up_only_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.worker.HANDOVER_SECONDS", 0.02)
    worker = FaustWorker("engine", (await started()).processor, Settings())
    async with worker._stepping, asyncio.timeout(1):
        await worker._revoked()


@pytest.mark.parametrize(
    ("lag", "ends"),
    [
        (Lag(1, 9.0), True),
        # At the end of somebody else's transaction, or of what came just now.
        (Lag(1, 0.0), False),
        (NO_LAG, False),
        (LogUnavailable("away"), False),
    ],
)
async def test_a_worker_ends_when_something_waits_that_it_does_not_process(
    monkeypatch: pytest.MonkeyPatch, lag: Lag | LogUnavailable, ends: bool
) -> None:
    ended = asyncio.Event()
    monkeypatch.setattr("commands.worker._end", ended.set)
    bench = await started()

    async def look() -> dict[str, Lag]:
        if isinstance(lag, LogUnavailable):
            raise lag
        return {"gostack.commands": lag}

    bench.processor.look = look  # type: ignore[method-assign]
    worker = FaustWorker("engine", bench.processor, Settings())
    worker._settings = worker._settings.model_copy(update={"stall_timeout": 0.02})
    watching = asyncio.create_task(worker._watch())
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), 2 if ends else 0.1)
    assert (ended.is_set(), watching.done()) == (ends, False)
    watching.cancel()


async def test_a_worker_that_is_left_with_no_partitions_has_none() -> None:
    """It would go on telling that what others take waits for it, and end of that."""
    bench = await started()
    worker, consumer = FaustWorker("engine", bench.processor, Settings()), Consumer(bench)
    worker.app.consumer = consumer  # type: ignore[assignment]
    await worker._assigned(consumer)
    await bench.send(about(SMALL, 1, 1))
    assert (await bench.processor.look())["gostack.commands"].records == 1
    consumer.assigned = set()
    await worker._revoked()
    await worker._settled(worker.app, consumer.assigned)
    assert worker._leaving is not None
    await worker._leaving
    assert (await bench.processor.look())["gostack.commands"].records == 0
