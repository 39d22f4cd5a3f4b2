"""Steps of the scheduler: jobs that are answered, hosts that are known again, cells beside each other."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from domain.core.messages import Envelope, Key, Topic, to_record
from domain.host.messages import DisableHost, HostClaimMade, HostRegistered, Inventory, RegisterHost
from domain.jobs.network import BindNetworkPort
from domain.jobs.scheduling import PlaceInstance
from domain.scheduling.table import Ratios
from domain.tasks.messages import JobsAnswered, Reply
from infra.db.memory import MemoryLedger, MemoryStep
from infra.db.write_store import Ledger
from infra.log.topics import partition_of
from tests.commands.bench import (
    COUNT,
    Bench,
    BreakingLog,
    Crash,
    CrashingLedger,
    ExplosiveScheduler,
    about,
    ident,
    started,
)

# Jobs for others


def bind(number: int = 1) -> Envelope:
    reply = Reply(subject=f"instance/{ident(7)}", task_id=ident(8), dispatch_id=ident(9), job_id=ident(10))
    message = BindNetworkPort(reply=reply, nic=0, port_id="p", instance_id=ident(7), host_id="h")
    return about(message, 5, number, "network")


def place(number: int, instance: int = 7, zone: str = "") -> Envelope:
    job = ident(100 + instance)
    reply = Reply(subject=f"instance/{ident(instance)}", task_id=ident(8), dispatch_id=ident(9), job_id=job)
    message = PlaceInstance(reply=reply, instance_id=ident(instance), project="p", vcpus=1, memory=1, disk=1, zone=zone)
    return about(message, 1, number, "cell")


async def test_a_job_that_is_refused_is_answered_as_failed_and_gets_no_verdict() -> None:
    bench = await started()
    await (await bench.send(bind())).step()
    assert bench.log.all(Topic.EVENTS) == []
    (answer,) = bench.on(Topic.RESULTS)
    assert answer.subject == Key("instance", ident(7))
    assert isinstance(answer.data, JobsAnswered)
    assert (answer.data.task_id, answer.data.dispatch_id) == (ident(8), ident(9))
    (result,) = answer.data.results
    assert result.job_id == ident(10)
    assert result.error is not None
    assert (result.error.code, result.error.ran) == ("not-found", False)
    assert result.error.details == {"kind": "network", "id": ident(5)}


async def test_a_job_for_what_is_parked_is_answered_as_failed() -> None:
    bench = await started(rules=ExplosiveScheduler(Ratios(), 4), topics=(Topic.SCHEDULING,))
    await (await bench.send(place(1, zone="boom"))).step()
    (answer,) = bench.on(Topic.RESULTS)
    assert isinstance(answer.data, JobsAnswered)
    error = answer.data.results[0].error
    assert error is not None
    assert (error.code, error.ran) == ("parked", False)
    assert len(bench.log.all(Topic.DEAD)) == 1


# The scheduler's processor


async def scheduler(ledger: Ledger | None = None, log: BreakingLog | None = None) -> Bench:
    rules = ExplosiveScheduler(Ratios(), 4)
    return await started(ledger=ledger, log=log, rules=rules, topics=(Topic.SCHEDULING,))


def register(which: int, number: int) -> Envelope:
    inventory = Inventory(vcpus=4, memory=100, disk=100)
    return about(RegisterHost(name=f"h{which}", zone="z", cell=ident(1), inventory=inventory), which, number, "host")


async def test_the_scheduler_knows_its_hosts_again_after_a_restart() -> None:
    bench = await scheduler()
    await (await bench.send(register(1, 1), place(2))).step()
    again = await scheduler(bench.ledger, bench.log)
    await (await again.send(place(3), place(4, 8), register(1, 5))).step()
    events = {each.id: each.data for each in again.on(Topic.EVENTS)}.values()
    assert [event.instance_id for event in events if isinstance(event, HostClaimMade)] == [ident(7), ident(8)]
    assert [event.epoch for event in events if isinstance(event, HostRegistered)] == [1, 2]


async def test_what_the_scheduler_decided_in_a_step_that_failed_did_not_happen() -> None:
    ledger = CrashingLedger()
    bench = await scheduler(ledger)
    await (await bench.send(register(1, 1))).step()
    ledger.crash_in = 1
    await bench.send(place(2))
    with pytest.raises(Crash):
        await bench.step()
    await bench.step()
    assert [each.aggversion for each in bench.on(Topic.EVENTS) if each.subject.kind == "host"] == [1, 2]
    assert len([each for each in bench.on(Topic.EVENTS) if isinstance(each.data, HostClaimMade)]) == 1


async def test_a_parked_host_is_refused_what_it_is_asked_and_its_cell_goes_on() -> None:
    bench = await scheduler()
    await (await bench.send(register(1, 1), register(2, 2), about(DisableHost(why="boom"), 1, 3, "host"))).step()
    late, other = about(DisableHost(), 1, 4, "host"), about(DisableHost(), 2, 5, "host")
    await (await bench.send(late, other)).step()
    assert bench.refusal(late).code == "parked"
    assert bench.verdicts()[other.id] == ["accepted"]


async def test_a_placement_that_cannot_be_decided_does_not_stop_those_of_other_instances() -> None:
    bench = await scheduler()
    await (await bench.send(register(1, 1), place(2, 7, zone="boom"))).step()
    await (await bench.send(place(3, 8))).step()
    again = await scheduler(bench.ledger, bench.log)
    await (await again.send(place(4, 9))).step()
    claimed = {each.data.instance_id for each in again.on(Topic.EVENTS) if isinstance(each.data, HostClaimMade)}
    assert claimed == {ident(8), ident(9)}


# Cells, and who has which


CELLS = {cell: partition_of(cell.encode(), COUNT) for cell in ("default", "east")}


def join(which: int, number: int, cell: str, zone: str) -> Envelope:
    inventory = Inventory(vcpus=4, memory=100, disk=100)
    return about(RegisterHost(name=f"h{which}", zone=zone, cell=cell, inventory=inventory), which, number, "host")


async def sent_to(log: BreakingLog, cell: str, *envelopes: Envelope) -> None:
    await log.publish([to_record(each, Topic.SCHEDULING, key=cell) for each in envelopes])


async def schedulers(ledger: Ledger | None = None) -> dict[str, Bench]:
    """One for each cell, which share ledger and log."""
    first = Bench(ledger, None, ExplosiveScheduler(Ratios(), 4), (Topic.SCHEDULING,))
    second = Bench(first.ledger, first.log, ExplosiveScheduler(Ratios(), 4), (Topic.SCHEDULING,))
    return {cell: await bench.start([CELLS[cell]]) for cell, bench in zip(CELLS, (first, second), strict=True)}


def wish(number: int, instance: int, cell: str) -> Envelope:
    return replace(place(number, instance), subject=Key("cell", cell))


async def test_each_cell_places_on_its_own_hosts_whoever_decides_for_it() -> None:
    assert len(set(CELLS.values())) == 2, "else one scheduler has both"
    both = await schedulers()
    log, ledger = both["default"].log, both["default"].ledger
    for number, cell in enumerate(CELLS, 1):
        await sent_to(log, cell, join(number, number, cell, cell), wish(10 + number, 10 + number, cell))
        await both[cell].step()
    alone = await Bench(ledger, log, ExplosiveScheduler(Ratios(), 4), (Topic.SCHEDULING,)).start()
    for number, cell in enumerate(CELLS, 1):
        await sent_to(log, cell, wish(20 + number, 20 + number, cell))
    await alone.step()
    claims = [
        (each.subject.id, each.data.instance_id, each.data.report.total)
        for each in alone.on(Topic.EVENTS)
        if isinstance(each.data, HostClaimMade)
    ]
    assert sorted(claims) == [(ident(host), ident(turn + host), 1) for host in (1, 2) for turn in (10, 20)]


async def test_a_name_that_another_cell_took_meanwhile_is_refused() -> None:
    """The other scheduler began before there was such a host or zone: it learns of them when it needs to."""
    both = await schedulers()
    log = both["default"].log
    await sent_to(log, "east", join(3, 1, "east", "x"))
    await both["east"].step()
    await sent_to(log, "default", join(1, 2, "default", "z"))
    await both["default"].step()
    host, zone, free = join(1, 3, "east", "y"), join(2, 4, "east", "z"), join(2, 5, "east", "y")
    await sent_to(log, "east", host, zone, free)
    await both["east"].step()
    assert [both["east"].refusal(each).code for each in (host, zone)] == ["other-cell", "other-cell"]
    assert both["east"].verdicts()[free.id] == ["accepted"]


class Interrupted(MemoryLedger):
    """A database in which something else happens between a step's reading and its writing."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    @asynccontextmanager
    async def step(self) -> AsyncIterator[MemoryStep]:
        async with super().step() as step:
            close = step.close

            async def closed(*about: Any) -> int | None:
                if happens := self.meanwhile:
                    self.meanwhile = None
                    await happens()
                return await close(*about)

            step.close = closed  # type: ignore[method-assign, assignment]
            yield step


async def test_a_name_that_two_cells_take_at_once_is_one_cells() -> None:
    ledger = Interrupted()
    both = await schedulers(ledger)
    first, second = join(1, 1, "default", "z"), join(2, 2, "east", "z")
    await sent_to(both["default"].log, "default", first)
    await sent_to(both["east"].log, "east", second)
    ledger.meanwhile = both["default"].step
    await both["east"].step()
    verdicts = both["east"].verdicts()
    assert (verdicts[first.id], verdicts[second.id]) == (["accepted"], ["refused"])
    assert both["east"].refusal(second).code == "other-cell"
