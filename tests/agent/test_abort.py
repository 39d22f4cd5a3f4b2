"""What is to be stopped: what waits is not begun, what runs is cut off where it can be, and it stays so."""

import asyncio
from pathlib import Path

import pytest

from agent.drivers.driver import DriverError, DriverFault
from agent.runner.journal import Journal
from domain.core.messages import from_record
from domain.tasks.job import JOBS
from domain.tasks.messages import JobError, JobsAnswered
from tests.agent.bench import BOOT, Bench, dispatch, ident, outcomes, working, wrapped


@pytest.fixture
def abortable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping a guest can be stopped."""
    monkeypatch.setattr(JOBS["StopGuest"], "abortable", True)


def last_error(answer: JobsAnswered) -> JobError:
    error = answer.results[-1].error
    assert error is not None
    return error


async def test_what_waits_is_answered_at_once_and_never_begun() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        gate = bench.driver.hold("StopGuest", ident(1))
        first, second, third = dispatch(1, 1, "StopGuest"), dispatch(2, 1, "RebootGuest"), dispatch(3, 1, "StartGuest")
        await bench.give(first, second, third)
        bench.abort(second)
        (answer,) = await bench.answered(second)
        assert first.dispatch_id not in bench.answers()
        assert [each.data for each in bench.runner.unanswered()] == [first, third]
        gate.set()
        await bench.answered(first, third)
        await bench.until(lambda: bench.runner.idle)
    assert outcomes(answer) == [("RebootGuest", "aborted")]
    assert not last_error(answer).ran
    assert bench.driver.began("RebootGuest") == []
    assert bench.driver.began("StartGuest") == [ident(1)]
    assert bench.journal.aborted() == set()


async def test_what_waits_for_a_slot_is_answered_at_once() -> None:
    async with working(Bench(parallel=1)) as bench:
        await bench.boot(1, 2)
        gate = bench.driver.hold("StopGuest", ident(1))
        first, second = dispatch(1, 1, "StopGuest"), dispatch(2, 2, "StopGuest")
        await bench.give(first, second)
        bench.abort(second)
        (answer,) = await bench.answered(second)
        gate.set()
        await bench.answered(first)
        await bench.until(lambda: bench.runner.idle)
    assert outcomes(answer) == [("StopGuest", "aborted")]
    assert bench.driver.began("StopGuest") == [ident(1)]


async def test_a_job_that_can_be_stopped_is_cut_off_and_cleans_up_before_it_is_answered(abortable: None) -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        bench.driver.hold("StopGuest", ident(1))
        bench.driver.cleaning = 0.02
        stop = dispatch(1, 1, "StopGuest", "StartGuest")
        await bench.give(stop)
        await bench.until(lambda: bench.driver.began("StopGuest") == [ident(1)])
        for _ in range(2):
            bench.abort(stop)
            await asyncio.sleep(0)
        (answer,) = await bench.answered(stop)
        assert bench.driver.cleaned == [("StopGuest", ident(1))]
        after = dispatch(2, 1, "RebootGuest")
        await bench.answered_all(after)
    assert outcomes(answer) == [("StopGuest", "aborted")]
    assert last_error(answer).ran
    assert bench.driver.began("StartGuest") == []


async def test_cleaning_up_has_the_jobs_time_once_more(abortable: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JOBS["StopGuest"], "deadline", 0.2)
    async with working(Bench()) as bench:
        await bench.boot(1)
        bench.driver.hold("StopGuest", ident(1))
        bench.driver.cleaning = 0.15
        stop = dispatch(1, 1, "StopGuest")
        await bench.give(stop)
        await asyncio.sleep(0.1)
        bench.abort(stop)
        (answer,) = await bench.answered(stop)
    assert outcomes(answer) == [("StopGuest", "aborted")]
    assert bench.driver.cleaned == [("StopGuest", ident(1))]


async def test_a_job_that_cannot_be_stopped_ends_and_the_next_is_not_begun() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        gate = bench.driver.hold("StopGuest", ident(1))
        stop = dispatch(1, 1, "StopGuest", "StartGuest", "RebootGuest")
        await bench.give(stop)
        await bench.until(lambda: bench.driver.began("StopGuest") == [ident(1)])
        bench.abort(stop)
        await asyncio.sleep(0.01)
        assert stop.dispatch_id not in bench.answers()
        gate.set()
        (answer,) = await bench.answered(stop)
    assert outcomes(answer) == [("StopGuest", ""), ("StartGuest", "aborted")]
    assert not last_error(answer).ran
    assert bench.driver.cleaned == []


async def test_a_job_that_fails_to_clean_up_says_what_went_wrong(abortable: None) -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)

        async def clinging(instance_id: str, grace: float) -> None:
            bench.driver.calls.append(("StopGuest", instance_id))
            try:
                await asyncio.Event().wait()
            finally:
                raise DriverError(DriverFault.HYPERVISOR_REFUSED, "it stays")

        bench.driver.stop = clinging  # type: ignore[method-assign]
        stop = dispatch(1, 1, "StopGuest")
        await bench.give(stop)
        await bench.until(lambda: bench.driver.began("StopGuest") == [ident(1)])
        bench.abort(stop)
        (answer,) = await bench.answered(stop)
    assert outcomes(answer) == [("StopGuest", "hypervisor-refused")]
    assert last_error(answer).ran


async def test_a_stopped_job_is_done_again_for_another_dispatch(abortable: None) -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        bench.driver.hold("StopGuest", ident(1))
        stop, again = dispatch(1, 1, "StopGuest", task=1), dispatch(2, 1, "StopGuest", task=1)
        await bench.give(stop)
        await bench.until(lambda: bench.driver.began("StopGuest") == [ident(1)])
        bench.abort(stop)
        await bench.answered(stop)
        bench.driver.gates.clear()
        (answer,) = await bench.answered_all(again)
    assert outcomes(answer) == [("StopGuest", "")]


async def test_an_abort_that_comes_too_early_or_too_late_changes_nothing() -> None:
    async with working(Bench()) as bench:
        boot = dispatch(1, 1, *BOOT)
        bench.abort(boot)
        (answer,) = await bench.answered_all(boot)
        await bench.until(lambda: not bench.journal.pending())
        bench.abort(boot)
        assert (bench.journal.aborted(), bench.runner._held_by_id) == (set(), {})
    assert outcomes(answer)[-1] == ("StartGuest", "")


async def test_what_was_done_before_is_said_of_what_is_stopped() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        gate = bench.driver.hold("RebootGuest", ident(1))
        await bench.answered_all(dispatch(1, 1, "StopGuest", task=1))
        reboot, stop = dispatch(2, 1, "RebootGuest"), dispatch(3, 1, "StopGuest", "StartGuest", task=1)
        await bench.give(reboot, stop)
        bench.abort(stop)
        (answer,) = await bench.answered(stop)
        gate.set()
        await bench.answered(reboot)
    assert outcomes(answer) == [("StopGuest", ""), ("StartGuest", "aborted")]


async def test_what_was_to_be_stopped_when_the_process_ended_is_not_begun_by_the_next(tmp_path: Path) -> None:
    async with working(Bench(Journal(tmp_path / "j"))) as before:
        await before.boot(1)
        before.driver.hold("StopGuest", ident(1))
        stop = dispatch(1, 1, "StopGuest", "StartGuest")
        await before.give(stop)
        await before.until(lambda: before.driver.began("StopGuest") == [ident(1)])
        before.abort(stop)
        for task in before.runner._tasks:
            task.cancel()
        await asyncio.gather(*before.runner._tasks, return_exceptions=True)
    before.journal.close()
    before.driver.gates.clear()
    async with working(Bench(Journal(tmp_path / "j"), before.driver, before.log)) as after:
        assert after.journal.aborted() == {stop.dispatch_id}
        for record in after.journal.pending().values():
            await after.runner.accept(from_record(record), aborted=True, again=True)
        (answer,) = await after.answered(stop)
        await after.until(lambda: not after.journal.pending())
        assert after.journal.aborted() == set()
    assert outcomes(answer) == [("StopGuest", "aborted")]
    assert last_error(answer).ran, "the process before may have been in the middle of it"
    assert before.driver.began("StopGuest") == [ident(1)]
    after.journal.close()


async def test_work_taken_up_again_says_of_what_it_did_not_reach_that_it_did_not_run() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        gate = bench.driver.hold("StopGuest", ident(1))
        stop = dispatch(1, 1, "StopGuest", "StartGuest")
        await bench.runner.accept(wrapped(stop), again=True)
        await bench.until(lambda: bench.driver.began("StopGuest") == [ident(1)])
        bench.runner.abort(stop.dispatch_id)
        gate.set()
        (answer,) = await bench.answered(stop)
    assert outcomes(answer) == [("StopGuest", ""), ("StartGuest", "aborted")]
    assert not last_error(answer).ran
