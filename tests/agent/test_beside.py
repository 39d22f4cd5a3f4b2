"""Work beside an aggregate's other work: neither waits for the other, and neither starves the other."""

import asyncio

from agent.host.observer import observe_guests
from domain.guest_spec import Power
from domain.host.reports import GuestObserved
from tests.agent.bench import Bench, dispatch, ident, outcomes, working


async def test_work_beside_does_not_wait_for_other_work_nor_that_for_it() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        stopping, rebooting = bench.driver.hold("StopGuest", ident(1)), bench.driver.hold("RebootGuest", ident(1))
        stop, beside = dispatch(1, 1, "StopGuest"), dispatch(2, 1, "RebootGuest", beside=True)
        quick, behind = dispatch(3, 1, "PrepareImage", beside=True), dispatch(4, 1, "PrepareImage")
        await bench.give(stop, beside, quick, behind)
        await bench.answered(quick)
        await bench.until(lambda: len(bench.driver.calls) == 2)
        assert set(bench.answers()) >= {quick.dispatch_id}
        assert not {stop.dispatch_id, beside.dispatch_id, behind.dispatch_id} & set(bench.answers())
        stopping.set()
        await bench.answered(stop, behind)
        assert beside.dispatch_id not in bench.answers()
        rebooting.set()
        await bench.answered(beside)
        await bench.until(lambda: bench.runner.idle)


async def test_the_dispatches_of_one_task_beside_are_done_one_after_the_other() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        gate = bench.driver.hold("RebootGuest", ident(1))
        first = dispatch(1, 1, "RebootGuest", beside=True, task=9)
        second = dispatch(2, 1, "StopGuest", beside=True, task=9)
        await bench.give(first, second)
        await bench.until(lambda: bench.driver.began("RebootGuest") == [ident(1)])
        await asyncio.sleep(0.01)
        assert bench.driver.began("StopGuest") == []
        gate.set()
        await bench.answered(first, second)


async def test_much_work_beside_leaves_all_slots_to_other_work_and_is_bounded() -> None:
    async with working(Bench(parallel=4)) as bench:
        await bench.boot(*range(1, 11))
        bench.driver.most = 0
        gates = [bench.driver.hold("RebootGuest", ident(number)) for number in range(1, 11)]
        beside = [dispatch(number, number, "RebootGuest", beside=True) for number in range(1, 11)]
        await bench.give(*beside)
        await bench.until(lambda: len(bench.driver.began("RebootGuest")) == 2)
        await asyncio.sleep(0.01)
        assert len(bench.driver.began("RebootGuest")) == 2, "half as many as there are slots"
        stopping = [bench.driver.hold("StopGuest", ident(number)) for number in range(1, 5)]
        stops = [dispatch(number + 20, number, "StopGuest") for number in range(1, 5)]
        await bench.give(*stops)
        await bench.until(lambda: len(bench.driver.began("StopGuest")) == 4)
        for gate in (*gates, *stopping):
            gate.set()
        await bench.answered(*beside, *stops)
    assert bench.driver.most == 6


async def test_where_there_is_one_slot_there_is_one_for_work_beside() -> None:
    async with working(Bench(parallel=1)) as bench:
        (answer,) = await bench.answered_all(dispatch(1, 1, "PrepareImage", beside=True))
    assert outcomes(answer) == [("PrepareImage", "")]


async def test_a_guest_with_work_beside_alone_is_watched() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        gate = bench.driver.hold("RebootGuest", ident(1))
        given = bench.runner.dispatch_count(ident(1))
        beside = dispatch(1, 1, "RebootGuest", beside=True)
        await bench.give(beside)
        await bench.until(lambda: bench.driver.began("RebootGuest") == [ident(1)])
        assert not bench.runner.busy(ident(1))
        assert bench.runner.dispatch_count(ident(1)) == given
        await bench.driver.power_off_by_itself(ident(1), Power.CRASHED)
        await observe_guests(bench.runner)
        await bench.until(lambda: bool(bench.said(GuestObserved)))
        gate.set()
        await bench.answered(beside)


async def test_work_for_a_volume_waits_for_none_of_an_instance_with_the_same_id() -> None:
    async with working(Bench()) as bench:
        await bench.boot(1)
        gate = bench.driver.hold("StopGuest", ident(1))
        stop = dispatch(1, 1, "StopGuest")
        volume = dispatch(2, 1, "PrepareImage", subject=f"volume/{ident(1)}")
        await bench.give(stop, volume)
        (answer,) = await bench.answered(volume)
        assert answer.dispatch_id == volume.dispatch_id
        gate.set()
        await bench.answered(stop)
        await bench.until(lambda: bench.runner.idle)
        held = bench.driver.hold("RebootGuest", ident(1))
        await bench.give(dispatch(3, 1, "RebootGuest", subject=f"volume/{ident(1)}"))
        assert not bench.runner.busy(ident(1))
        held.set()
        await bench.until(lambda: bench.runner.idle)
