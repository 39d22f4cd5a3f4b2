"""A host does what it is told: in order for one instance, side by side for others, and never twice."""

import asyncio
import sqlite3
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from agent.drivers.driver import DriverError, DriverFault
from agent.runner.journal import Journal
from domain.core.messages import from_record
from domain.guest_spec import Power
from domain.jobs.guest import PowerSeen
from domain.tasks.job import JOBS
from domain.tasks.messages import JobResult, JobsAnswered, JobStarted
from tests.agent.bench import BOOT, HOST, Bench, dispatch, ident, outcomes, working, wrapped
from tests.harness.metrics import counted, value


async def test_jobs_are_done_in_order_and_answered_with_what_became_known() -> None:
    async with working(Bench()) as bench:
        (answer,) = await bench.answered_all(dispatch(1, 1, *BOOT))
    assert [result.name for result in answer.results] == list(BOOT)
    assert all(result.error is None for result in answer.results)
    assert answer.results[-1].facts == (PowerSeen(power=Power.RUNNING),)
    assert (answer.host_id, answer.epoch, answer.task_id) == (HOST.id, HOST.epoch, ident(20_001))
    assert bench.driver.calls == [(name, ident(1)) for name in ("CreateDisk", "DefineGuest", "StartGuest")]


async def test_an_answer_is_the_dispatchs_under_an_id_that_doing_it_again_makes_again() -> None:
    async with working(Bench()) as first, working(Bench()) as second:
        for bench in (first, second):
            await bench.answered_all(dispatch(1, 1, "PrepareImage"))
    (one,), (two,) = first.said(JobsAnswered), second.said(JobsAnswered)
    assert one.id == two.id
    assert (one.subject.id, one.correlation, one.actor, one.project) == (ident(1), "c", "alice", "p")
    assert one.source == "gostack/agent/h1"
    assert (one.cause_place, one.aggversion, one.verdict) == ("", None, None)


async def test_an_answered_dispatch_is_not_pending_any_more() -> None:
    async with working(Bench()) as bench:
        await bench.answered_all(dispatch(1, 1, "PrepareImage"))
        await bench.until(lambda: not bench.journal.pending())
        assert bench.runner.idle
        assert not bench.runner.busy(ident(1))


# Order


async def test_dispatches_for_one_instance_are_done_one_after_the_other() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        gate = bench.driver.hold("StopGuest", ident(1))
        stop, start, reboot = (
            dispatch(n, 1, name) for n, name in enumerate(("StopGuest", "StartGuest", "RebootGuest"))
        )
        await bench.give(stop, start, reboot)
        await bench.until(lambda: bench.driver.began("StopGuest") == [ident(1)])
        assert bench.runner.busy(ident(1))
        await asyncio.sleep(0.01)
        assert bench.driver.calls == [("StopGuest", ident(1))]
        gate.set()
        await bench.answered(stop, start, reboot)
    assert [name for name, _ in bench.driver.calls] == ["StopGuest", "StartGuest", "RebootGuest"]
    assert [each.data.dispatch_id for each in bench.said(JobsAnswered)[-3:]] == [  # type: ignore[attr-defined]
        each.dispatch_id for each in (stop, start, reboot)
    ]


async def test_dispatches_for_different_instances_are_done_side_by_side() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1, 2, 3)
        gates = [bench.driver.hold("StopGuest", ident(number)) for number in (1, 2)]
        stops = [dispatch(number, number, "StopGuest") for number in (1, 2, 3)]
        await bench.give(*stops)
        await bench.answered(stops[2])
        assert bench.driver.began("StopGuest") == [ident(1), ident(2), ident(3)]
        assert len(bench.answers()) == 3 + 1
        for gate in gates:
            gate.set()
        await bench.answered(*stops)


async def test_no_more_run_side_by_side_than_there_are_slots() -> None:
    async with working(Bench(parallel=2)) as bench:
        await bench.boot(*range(1, 8))
        bench.driver.most = 0
        gates = [bench.driver.hold("StopGuest", ident(number)) for number in range(1, 8)]
        stops = [dispatch(number, number, "StopGuest") for number in range(1, 8)]
        await bench.give(*stops)
        await bench.until(lambda: len(bench.driver.began("StopGuest")) == 2)
        await asyncio.sleep(0.01)
        assert len(bench.driver.began("StopGuest")) == 2
        for gate in gates:
            gate.set()
        await bench.answered(*stops)
    assert bench.driver.most == 2
    assert sorted(bench.driver.began("StopGuest")) == [ident(number) for number in range(1, 8)]


# Refused, done before, failed


@pytest.mark.parametrize(("epoch", "done"), [(HOST.epoch - 1, False), (HOST.epoch, True), (HOST.epoch + 1, True)])
async def test_a_dispatch_of_an_older_epoch_is_refused_and_nothing_of_it_done(epoch: int, done: bool) -> None:
    async with working(Bench()) as bench:
        (answer,) = await bench.answered_all(dispatch(1, 1, *BOOT, epoch=epoch))
        assert bench.journal.epochs(HOST.id) == ({ident(1): HOST.epoch} if done else {})
    assert bool(bench.driver.calls) is done
    if not done:
        assert outcomes(answer) == [("PrepareImage", "stale-epoch")]
        error = answer.results[0].error
        assert error is not None
        assert error.details == {"epoch": HOST.epoch}
        assert "h1" in error.message


async def test_of_a_dispatch_of_an_older_epoch_it_is_said_what_was_done_before() -> None:
    bench = Bench()
    async with working(bench):
        gate = bench.driver.hold("StartGuest", ident(1))
        boot = dispatch(1, 1, *BOOT)
        await bench.give(boot)
        await bench.until(lambda: bench.driver.began("StartGuest") == [ident(1)])
        # The process ends here, and its host is registered anew.
        host = replace(HOST, epoch=HOST.epoch + 1)
        renewed = Bench(journal=bench.journal, driver=bench.driver, log=bench.log, host=host)
        async with working(renewed):
            await renewed.runner.accept(wrapped(boot))
            (answer,) = await renewed.answered(boot)
        gate.set()
    assert outcomes(answer) == [*((name, "") for name in BOOT[:-1]), ("StartGuest", "stale-epoch")]
    error = answer.results[-1].error
    assert error is not None
    assert error.ran, "it may have begun"
    assert bench.driver.began("StartGuest") == [ident(1)]


async def test_a_job_that_was_done_before_is_answered_from_the_journal_and_not_done_again() -> None:
    async with working(Bench()) as bench:
        first = dispatch(1, 1, *BOOT, task=1)
        again = dispatch(2, 1, *BOOT, task=1)
        answers = await bench.answered_all(first, again)
    assert answers[0].results == answers[1].results
    assert bench.driver.began("StartGuest") == [ident(1)]


async def test_the_same_job_of_another_task_is_done_again() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        await bench.answered_all(dispatch(1, 1, "RebootGuest"), dispatch(2, 1, "RebootGuest"))
    assert bench.driver.began("RebootGuest") == [ident(1), ident(1)]


async def test_the_first_job_that_fails_is_the_last_that_is_done() -> None:
    async with working(Bench()) as bench:
        bench.driver.errors["DefineGuest"] = DriverError(DriverFault.HYPERVISOR_REFUSED, "no " * 2000)
        (answer,) = await bench.answered_all(dispatch(1, 1, *BOOT))
    assert outcomes(answer) == [
        ("PrepareImage", ""),
        ("CreateDisk", ""),
        ("PlugPorts", ""),
        ("DefineGuest", "hypervisor-refused"),
    ]
    error = answer.results[-1].error
    assert error is not None
    assert error.ran, "it may have done something, which is to be undone"
    assert error.message.startswith("no no")
    assert len(error.message) == 2000
    assert bench.driver.began("StartGuest") == []


async def test_jobs_are_measured_by_name_and_by_what_came_of_them() -> None:
    series = [{"job": "StopGuest", "result": "done"}, {"job": "StopGuest", "result": "hypervisor-refused"}]

    def measured() -> list[tuple[float, float]]:
        names = "gostack_job_seconds_count", "gostack_job_seconds_sum"
        return [(counted(names[0], **each), counted(names[1], **each)) for each in series]

    async with working(Bench()) as bench:
        await bench.boot(1)
        (before, refused) = measured()
        gate = bench.driver.hold("StopGuest", ident(1))
        stop = dispatch(1, 1, "StopGuest")
        await bench.give(stop)
        await bench.until(lambda: bench.driver.began("StopGuest") == [ident(1)])
        await asyncio.sleep(0.02)
        gate.set()
        await bench.answered(stop)
        (after, unchanged) = measured()
        assert (after[0], unchanged) == (before[0] + 1, refused)
        assert after[1] >= before[1] + 0.01
        bench.driver.errors["StopGuest"] = DriverError(DriverFault.HYPERVISOR_REFUSED, "no")
        await bench.answered_all(dispatch(2, 1, "StopGuest"))
        assert [count for count, _ in measured()] == [after[0], refused[0] + 1]


async def test_dispatches_that_run_or_wait_are_measured() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        await bench.until(lambda: bench.runner.idle)
        before = value("gostack_dispatches")
        assert before is not None
        gate = bench.driver.hold("StopGuest", ident(1))
        stops = [dispatch(number, 1, "StopGuest") for number in (1, 2)]
        await bench.give(*stops)
        assert value("gostack_dispatches") == before + 2
        gate.set()
        await bench.answered(*stops)
        await bench.until(lambda: bench.runner.idle)
        assert value("gostack_dispatches") == before


async def test_a_job_that_failed_is_done_again_when_it_is_asked_for_again() -> None:
    async with working(Bench()) as bench:
        bench.driver.errors["DefineGuest"] = DriverError(DriverFault.HYPERVISOR_REFUSED, "no")
        await bench.answered_all(dispatch(1, 1, *BOOT, task=1))
        bench.driver.errors.clear()
        (answer,) = await bench.answered_all(dispatch(2, 1, *BOOT, task=1))
    assert outcomes(answer)[-1] == ("StartGuest", "")
    assert bench.driver.began("CreateDisk") == [ident(1)]
    assert bench.driver.began("DefineGuest") == [ident(1), ident(1)]


async def test_a_fault_of_the_program_fails_the_job_and_not_the_host(caplog: pytest.LogCaptureFixture) -> None:
    async with working(Bench()) as bench:
        bench.driver.errors["CreateDisk"] = ZeroDivisionError("/state/oops")
        bench.driver.errors["StopGuest"] = OSError(28, "No space left on device", "/state/disk.qcow2")
        failed, full, unknown, other = (
            dispatch(1, 1, "PrepareImage", "CreateDisk"),
            dispatch(4, 1, "StopGuest"),
            dispatch(2, 1, "Teleport"),
            dispatch(3, 1, "PrepareImage"),
        )
        answers = await bench.answered_all(failed, full, unknown, other)
    assert [outcomes(each)[-1] for each in answers] == [
        ("CreateDisk", "job-failed"),
        ("StopGuest", "job-failed"),
        ("Teleport", "job-failed"),
        ("PrepareImage", ""),
    ]
    told = [each.results[-1].error.message for each in answers[:2] if each.results[-1].error is not None]
    assert told == [
        "CreateDisk failed (ZeroDivisionError); the log of the host's agent says why.",
        "StopGuest failed (No space left on device); the log of the host's agent says why.",
    ]
    assert "/state/oops" in caplog.text


async def test_a_job_that_needs_a_guest_and_has_none_fails(caplog: pytest.LogCaptureFixture) -> None:
    async with working(Bench()) as bench:
        (answer,) = await bench.answered_all(dispatch(1, 1, "StartGuest", guest=None))
    assert outcomes(answer) == [("StartGuest", "job-failed")]
    error = answer.results[0].error
    assert error is not None
    assert error.message == "StartGuest failed (TypeError); the log of the host's agent says why."
    assert "StartGuest is for a guest, and was given none" in caplog.text


async def test_arguments_that_are_no_jobs_fail_it() -> None:
    async with working(Bench()) as bench:
        bad = dispatch(1, 1, "StopGuest")
        bad = bad.but(jobs=(bad.jobs[0].but(args={"grace": "long"}),))
        (answer,) = await bench.answered_all(bad)
    assert outcomes(answer) == [("StopGuest", "job-failed")]
    assert bench.driver.calls == []


async def test_a_job_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JOBS["StopGuest"], "deadline", 0.02)
    async with working(Bench()) as bench:
        await bench.boot(1)
        bench.driver.hold("StopGuest", ident(1))
        (answer,) = await bench.answered_all(dispatch(1, 1, "StopGuest", "StartGuest"))
    assert outcomes(answer) == [("StopGuest", "job-failed")]
    error = answer.results[0].error
    assert error is not None
    assert error.message == "StopGuest took longer than 0.02 s."


async def test_a_job_that_takes_a_while_says_that_it_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.runner.attempt.SLOW_SECONDS", 0.01)
    async with working(Bench()) as bench:
        gate = bench.driver.hold("StartGuest", ident(1))
        boot = dispatch(1, 1, *BOOT)
        await bench.give(boot)
        await bench.until(lambda: bool(bench.said(JobStarted)))
        assert bench.answers() == {}
        gate.set()
        await bench.answered(boot)
        (started,) = bench.said(JobStarted)
    assert isinstance(started.data, JobStarted)
    assert started.subject.id == ident(1)
    assert (started.data.name, started.data.job_id) == ("StartGuest", boot.jobs[-1].job_id)
    assert (started.data.task_id, started.data.dispatch_id) == (boot.task_id, boot.dispatch_id)


async def test_a_quick_job_says_nothing_but_its_answer() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
    assert bench.said(JobStarted) == []


async def test_a_journal_that_fails_once_stops_neither_the_instance_nor_the_host(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Full(Journal):
        full = True

        def finish(self, result: JobResult, sent: datetime) -> None:
            if self.full:
                self.full = False
                raise sqlite3.OperationalError("database or disk is full")
            super().finish(result, sent)

    async with working(Bench(Full(":memory:"))) as bench:
        first, second = dispatch(1, 1, "PrepareImage"), dispatch(2, 1, "PrepareImage")
        await bench.give(first, second)
        await bench.answered(second)
        await bench.until(lambda: bench.runner.idle)
    assert set(bench.answers()) == {second.dispatch_id}
    assert set(bench.journal.pending()) == {first.dispatch_id}, "it is taken up again by the next process"
    assert any("disk is full" in each.getMessage() + str(each.exc_info) for each in caplog.records)


# Crashes


async def test_work_that_was_cut_off_is_done_again_after_a_restart_and_answered_once(tmp_path: Path) -> None:
    driver = None
    async with working(Bench(Journal(tmp_path / "j"))) as before:
        driver = before.driver
        driver.hold("StartGuest", ident(1))
        await before.give(dispatch(1, 1, *BOOT))
        await before.until(lambda: driver.began("StartGuest") == [ident(1)])
        assert before.answers() == {}
        for task in before.runner._tasks:
            task.cancel()
        await asyncio.gather(*before.runner._tasks, return_exceptions=True)
    before.journal.close()
    driver.gates.clear()
    async with working(Bench(Journal(tmp_path / "j"), driver, before.log)) as after:
        pending = after.journal.pending()
        assert set(pending) == {dispatch(1, 1).dispatch_id}
        for record in pending.values():
            await after.runner.accept(from_record(record))
        (answer,) = await after.answered(dispatch(1, 1))
        await after.until(lambda: not after.journal.pending())
    assert outcomes(answer)[-1] == ("StartGuest", "")
    assert [name for name, _ in driver.calls] == ["CreateDisk", "DefineGuest", "StartGuest", "StartGuest"]
    assert after.journal.accept({dispatch(1, 1).dispatch_id: record}, {}) == set()
    after.journal.close()


async def test_a_dispatch_that_is_delivered_twice_is_done_and_answered_once() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        gate = bench.driver.hold("RebootGuest", ident(1))
        reboot = dispatch(1, 1, "RebootGuest")
        await bench.give(reboot, reboot)
        gate.set()
        await bench.answered(reboot)
        await bench.until(lambda: not bench.journal.pending())
        await bench.give(reboot)
        await bench.until(lambda: bench.runner.idle)
    assert bench.driver.began("RebootGuest") == [ident(1)]
