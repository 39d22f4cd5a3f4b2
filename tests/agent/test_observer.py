"""A host tells of its guests what no job of its own made so, once, and what it is not sure of never."""

import asyncio

from agent.host.observer import observe_guest, observe_guests, observe_hosts
from domain.core.messages import Topic, from_record
from domain.guest_spec import Power
from domain.host.reports import GuestObserved
from domain.tasks.messages import JobsAnswered
from tests.agent.bench import BOOT, HOST, Bench, Hypervisor, dispatch, ident, outcomes, working


def observed(bench: Bench) -> list[tuple[str, Power]]:
    """What was reported of guests outside of any job."""
    found = []
    for each in bench.said(GuestObserved):
        assert isinstance(each.data, GuestObserved)
        assert (each.data.host_id, each.data.epoch) == (HOST.id, HOST.epoch)
        found.append((each.subject.id, each.data.power))
    return found


async def heard(bench: Bench) -> list[tuple[str, Power]]:
    """The like, when all that was said so far is on the log."""
    await bench.answered_all(dispatch(900 + len(bench.answers()), 900, "PrepareImage"))
    return observed(bench)


async def test_a_guest_that_stopped_by_itself_is_reported_once() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1, 2)
        await observe_guests(bench.runner)
        assert await heard(bench) == []
        await bench.driver.power_off_by_itself(ident(1))
        for _ in range(3):
            await observe_guests(bench.runner)
        assert await heard(bench) == [(ident(1), Power.SHUTDOWN)]
        assert bench.runner.reported_guests() == {ident(1): Power.SHUTDOWN, ident(2): Power.RUNNING}


async def test_what_was_seen_and_not_said_before_the_process_ended_is_said_by_the_next() -> None:
    bench = Bench()
    async with working(bench):
        await bench.boot(1)
    # Nobody sends any more.
    await bench.driver.power_off_by_itself(ident(1))
    await observe_guests(bench.runner)
    async with working(Bench(journal=bench.journal, driver=bench.driver, log=bench.log)) as other:
        await observe_guests(other.runner)
        assert await heard(other) == [(ident(1), Power.SHUTDOWN)]


async def test_what_a_job_did_since_is_not_overwritten_by_what_was_seen_before() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        await bench.driver.power_off_by_itself(ident(1))
        await observe_guests(bench.runner)
        await bench.answered_all(dispatch(1, 1, "StartGuest"))
        assert bench.runner.reported_guests() == {ident(1): Power.RUNNING}
        await observe_guests(bench.runner)
        assert await heard(bench) == [(ident(1), Power.SHUTDOWN)]


async def test_a_guest_that_crashed_and_runs_again_is_reported_both_times() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        await bench.driver.power_off_by_itself(ident(1), Power.CRASHED)
        await observe_guests(bench.runner)
        await bench.driver.start(ident(1))
        await observe_guests(bench.runner)
        assert await heard(bench) == [(ident(1), Power.CRASHED), (ident(1), Power.RUNNING)]


async def test_a_guest_that_the_hypervisor_does_not_know_any_more_is_reported() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        await bench.driver.undefine(ident(1))
        await observe_guests(bench.runner)
        assert await heard(bench) == [(ident(1), Power.NONE)]


async def test_a_guest_that_a_full_disk_stopped_is_reported_and_goes_on_when_there_is_room() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        await bench.driver.power_off_by_itself(ident(1), Power.BLOCKED)
        await observe_guests(bench.runner)
        assert bench.runner.reported_guests() == {ident(1): Power.BLOCKED}
        await observe_guests(bench.runner)
        assert await heard(bench) == [(ident(1), Power.BLOCKED), (ident(1), Power.RUNNING)]


async def test_guests_that_nobody_told_of_are_not_reported() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        strange = Bench(driver=bench.driver, log=bench.log)
        await observe_guests(strange.runner)
        await observe_guest(strange.runner, ident(1))
        assert await heard(bench) == []


async def test_a_guest_with_jobs_is_not_reported_since_they_are_the_reason() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        gate = bench.driver.hold("StopGuest", ident(1))
        stop = dispatch(1, 1, "StopGuest")
        await bench.give(stop)
        await bench.until(lambda: bench.driver.began("StopGuest") == [ident(1)])
        await bench.driver.power_off_by_itself(ident(1))
        await observe_guests(bench.runner)
        await observe_guest(bench.runner, ident(1))
        await bench.runner.observe(ident(1), Power.SHUTDOWN, bench.runner.dispatch_count(ident(1)))
        gate.set()
        await bench.answered(stop)
        await bench.until(lambda: bench.runner.idle)
        await observe_guests(bench.runner)
        assert await heard(bench) == []


async def test_what_was_seen_before_a_job_that_says_nothing_of_it_is_said_again_behind_its_answer() -> None:
    """Else it is lost where it came after the instance's task had begun, which heeds nothing but answers."""
    async with working(Bench()) as bench:
        await bench.boot(1)
        await bench.driver.power_off_by_itself(ident(1))
        await observe_guests(bench.runner)
        bench.driver.failures["RebootGuest"] = 1.0
        await bench.answered_all(dispatch(1, 1, "RebootGuest"))
        await bench.until(lambda: bench.runner.idle)
        await heard(bench)
        said = [from_record(each) for each in bench.log.all(Topic.RESULTS)]
        assert [type(each.data) for each in said if each.subject.id == ident(1)][1:] == [
            GuestObserved,
            JobsAnswered,
            GuestObserved,
        ]
        assert observed(bench) == [(ident(1), Power.SHUTDOWN)] * 2


async def test_what_a_job_did_to_a_guest_is_no_news() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        await bench.answered_all(dispatch(1, 1, "StopGuest"))
        await observe_guests(bench.runner)
        await bench.answered_all(dispatch(2, 1, "UndefineGuest"))
        await observe_guests(bench.runner)
        await bench.answered_all(dispatch(3, 1, "DeleteDisk"))
        await observe_guests(bench.runner)
        assert await heard(bench) == []
        assert bench.runner.reported_guests() == {}


async def test_a_look_that_was_overtaken_by_a_job_reports_nothing() -> None:
    """The hypervisor is asked, a job changes the guest, and only then the answer comes."""
    async with working(Bench()) as bench:
        await bench.boot(1)
        asked, go_on = asyncio.Event(), asyncio.Event()
        ask = bench.driver.power

        async def slow(instance_id: str) -> Power:
            power = await ask(instance_id)
            if not asked.is_set():
                asked.set()
                await go_on.wait()
            return power

        bench.driver.power = slow  # type: ignore[method-assign]
        looking = asyncio.create_task(observe_guest(bench.runner, ident(1)))
        await asked.wait()
        await bench.answered_all(dispatch(1, 1, "StopGuest"))
        await bench.until(lambda: bench.runner.idle)
        go_on.set()
        await looking
        assert await heard(bench) == []
        assert bench.runner.reported_guests() == {ident(1): Power.SHUTDOWN}


async def test_a_hypervisor_that_cannot_be_reached_says_nothing_about_its_guests() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        bench.driver.unreachable = True
        await observe_guests(bench.runner)
        await observe_guest(bench.runner, ident(1))
        assert await heard(bench) == []
        bench.driver.unreachable = False
        await observe_guests(bench.runner)
        assert await heard(bench) == []


async def test_looking_goes_on_for_ever() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        looking = asyncio.create_task(observe_hosts([bench.runner], 0.001))
        await bench.driver.power_off_by_itself(ident(1))
        await bench.until(lambda: observed(bench) == [(ident(1), Power.SHUTDOWN)])
        await bench.driver.start(ident(1))
        await bench.until(lambda: len(observed(bench)) == 2)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def test_a_guest_that_is_not_as_its_job_leaves_it_fails_the_job_and_what_is_so_is_told() -> None:
    class Falling(Hypervisor):
        async def start(self, instance_id: str) -> None:
            await super().start(instance_id)
            await self.power_off_by_itself(instance_id, Power.CRASHED)

    async with working(Bench(driver=Falling())) as bench:
        (answer,) = await bench.answered_all(dispatch(1, 1, *BOOT))
        await bench.until(lambda: bench.runner.idle)
        await observe_guests(bench.runner)
        assert (await heard(bench))[-1] == (ident(1), Power.CRASHED)
    assert outcomes(answer)[-1] == ("StartGuest", "power-differs")
    error = answer.results[-1].error
    assert error is not None
    assert error.ran
    assert error.message == "StartGuest leaves a guest running, but the hypervisor says it is crashed."
