"""Periodic work: how often it runs, what it waits out, and what an operator sees of it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator

import pytest

from infra.process.loops import LoopStatus, every
from tests.harness import metrics
from tests.simulation.loop import simulate

Work = Callable[[], Awaitable[None]]


class Away(Exception):
    pass


def script(outcomes: Iterator[Exception | None], times: list[float], seconds: float = 0.0) -> Work:
    """Work that notes when it runs, takes so long, and ends as scripted; cancelled at the end of the script."""

    async def work() -> None:
        times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(seconds)
        outcome = next(outcomes, asyncio.CancelledError())
        if outcome is not None:
            raise outcome

    return work


def run(period: float, work: Work, first: float = 0.0, status: LoopStatus | None = None) -> None:
    with pytest.raises(asyncio.CancelledError):
        simulate(every(period, work, name="test", failures=(Away,), first=first, status=status))


def runs(result: str) -> float:
    return metrics.value("gostack_loop_runs_total", loop="test", result=result) or 0.0


def test_the_pause_begins_when_the_work_has_ended() -> None:
    times: list[float] = []
    run(10.0, script(iter([None, None]), times, seconds=3.0))
    assert times == [0.0, 13.0, 26.0]


def test_the_first_run_can_be_put_off() -> None:
    times: list[float] = []
    run(10.0, script(iter([None]), times), first=60.0)
    assert times == [60.0, 70.0]


def test_a_failure_that_is_expected_is_tried_again_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    status, times = LoopStatus(), list[float]()
    run(1.0, script(iter([Away("no log"), Away("no log"), Away("no database"), None, None]), times), status=status)
    assert times == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("WARNING", "the loop test failed and is tried again: no log"),
        ("WARNING", "the loop test failed and is tried again: no database"),
        ("INFO", "the loop test works again"),
    ]
    assert status == LoopStatus(runs=5, succeeded_at=4.0, problem="")


def test_the_status_keeps_the_problem_of_a_failure_and_the_last_success() -> None:
    status = LoopStatus()
    run(1.0, script(iter([None, Away("no log")]), []), status=status)
    assert status == LoopStatus(runs=2, succeeded_at=0.0, problem="no log")


def test_a_failure_without_a_text_is_a_problem_too() -> None:
    status = LoopStatus()
    run(1.0, script(iter([Away()]), []), status=status)
    assert status.problem == "Away"


def test_any_other_exception_ends_the_loop() -> None:
    before = runs("error")
    with pytest.raises(LookupError):
        simulate(every(1.0, script(iter([None, LookupError()]), []), name="test", failures=(Away,)))
    assert runs("error") == before + 1


def test_runs_are_counted_by_how_they_ended_and_timed() -> None:
    before = [runs("success"), runs("failure"), runs("cancelled")]
    seconds = metrics.value("gostack_loop_seconds_sum", loop="test") or 0.0
    run(1.0, script(iter([None, Away("no log"), None]), [], seconds=2.0))
    assert [runs("success"), runs("failure"), runs("cancelled")] == [before[0] + 2, before[1] + 1, before[2] + 1]
    assert metrics.value("gostack_loop_seconds_sum", loop="test") == seconds + 8.0
    assert metrics.value("gostack_loop_last_success_timestamp_seconds", loop="test")
