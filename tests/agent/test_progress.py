"""How far a long job is: said when it is worth saying, and its time-out counts from the last word."""

import asyncio
import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from agent.jobs import HANDLERS, Context, Facts, Handler
from agent.runner.sender import RecordSender
from domain.core.messages import Record
from domain.guest_spec import GuestSpec
from domain.jobs.disk import PrepareImage
from domain.tasks.job import JOBS, Job
from domain.tasks.messages import JobProgressed, JobsAnswered
from infra.log.memory import MemoryLog
from tests.agent.bench import Bench, dispatch, ident, outcomes, working

Work = Callable[[Context, Bench], Any]


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> Callable[[Work], None]:
    """Have an image prepared like this."""

    def given(work: Work) -> None:
        async def prepare(job: PrepareImage, guest: GuestSpec | None, context: Context) -> Facts:
            await work(context, bench)
            return ()

        handlers: dict[type[Job], Handler[Any]] = {PrepareImage: Handler(PrepareImage, prepare)}
        monkeypatch.setattr("agent.runner.attempt.HANDLERS", HANDLERS | handlers)

    return given


def progressed(bench: Bench) -> list[JobProgressed]:
    return [each.data for each in bench.said(JobProgressed) if isinstance(each.data, JobProgressed)]


async def test_progress_is_said_at_first_and_then_when_a_twentieth_more_is_done(
    bench: Bench, long: Callable[[Work], None]
) -> None:
    async def work(context: Context, bench: Bench) -> None:
        for done in range(0, 1001, 7):
            context.progress(done, 1000)

    long(work)
    prepare = dispatch(1, 1, "PrepareImage")
    async with working(bench):
        await bench.answered_all(prepare)
    said = progressed(bench)
    assert said[0].percent == 0
    percents = [each.percent for each in said]
    assert all(5 <= after - before < 5.8 for before, after in itertools.pairwise(percents))
    assert percents[-1] > 94
    (last,) = said[-1:]
    assert (last.total, last.percent) == (1000, last.done / 10)
    assert (last.task_id, last.dispatch_id) == (prepare.task_id, prepare.dispatch_id)
    assert (last.job_id, last.name) == (prepare.jobs[0].job_id, "PrepareImage")
    envelopes = bench.said(JobProgressed)
    assert len({each.id for each in envelopes}) == len(envelopes)
    assert {(each.subject.id, each.correlation, each.actor) for each in envelopes} == {(ident(1), "c", "alice")}


async def test_progress_is_said_when_a_minute_has_passed(bench: Bench, long: Callable[[Work], None]) -> None:
    async def work(context: Context, bench: Bench) -> None:
        for done in range(10):
            context.progress(done, 1000)
            bench.now += timedelta(seconds=25)

    long(work)
    async with working(bench):
        await bench.answered_all(dispatch(1, 1, "PrepareImage"))
    assert [each.done for each in progressed(bench)] == [0, 3, 6, 9]


async def test_progress_towards_an_end_that_is_not_known_has_no_percents(
    bench: Bench, long: Callable[[Work], None]
) -> None:
    async def work(context: Context, bench: Bench) -> None:
        context.progress(17, 0)
        context.progress(18, 0)

    long(work)
    async with working(bench):
        await bench.answered_all(dispatch(1, 1, "PrepareImage"))
    assert [(each.done, each.total, each.percent) for each in progressed(bench)] == [(17, 0, 0.0)]


async def test_more_than_all_is_all(bench: Bench, long: Callable[[Work], None]) -> None:
    async def work(context: Context, bench: Bench) -> None:
        context.progress(30, 20)

    long(work)
    async with working(bench):
        await bench.answered_all(dispatch(1, 1, "PrepareImage"))
    assert [each.percent for each in progressed(bench)] == [100.0]


async def test_the_time_out_counts_from_the_last_progress(
    bench: Bench, long: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JOBS["PrepareImage"], "deadline", 0.25)

    async def work(context: Context, bench: Bench) -> None:
        for done in range(8):
            context.progress(done, 8)
            await asyncio.sleep(0.05)
        await asyncio.Event().wait()

    long(work)
    async with working(bench):
        began = asyncio.get_running_loop().time()
        (answer,) = await bench.answered_all(dispatch(1, 1, "PrepareImage"))
        assert asyncio.get_running_loop().time() - began >= 0.35 + 0.25
    assert outcomes(answer) == [("PrepareImage", "job-failed")]
    assert answer.results[0].error is not None
    assert answer.results[0].error.message == "PrepareImage took longer than 0.25 s."


async def test_nothing_is_said_of_a_job_that_has_ended(bench: Bench, long: Callable[[Work], None]) -> None:
    kept: list[Context] = []

    async def work(context: Context, bench: Bench) -> None:
        kept.append(context)
        context.progress(1, 10)

    long(work)
    async with working(bench):
        await bench.answered_all(dispatch(1, 1, "PrepareImage"))
        kept[0].progress(9, 10)
        await bench.answered_all(dispatch(2, 2, "PlugPorts"))
    assert [each.done for each in progressed(bench)] == [1]


async def test_progress_is_before_its_answer_on_the_log(bench: Bench, long: Callable[[Work], None]) -> None:
    async def work(context: Context, bench: Bench) -> None:
        context.progress(10, 10)

    long(work)
    async with working(bench):
        await bench.answered_all(dispatch(1, 1, "PrepareImage"))
    kinds = (JobProgressed, JobsAnswered)
    assert [type(each.data) for each in bench.said(object) if isinstance(each.data, kinds)] == list(kinds)  # type: ignore[arg-type]


async def test_what_can_be_done_without_is_not_sent_where_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.runner.sender.WAITING", 1)
    sender = RecordSender(MemoryLog())
    record = Record("gostack.results", b"k", b"v")
    assert [sender.offer(record), sender.offer(record)] == [True, False]
