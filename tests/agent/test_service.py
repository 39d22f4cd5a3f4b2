"""The agent as a whole, before the real scheduler and engine: registers, takes its jobs, tells what became of them."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent.drivers.driver import DriverError, DriverFault
from agent.drivers.simulated.driver import SimulatedDriver
from agent.host.registration import NotRegistered, job_positions
from agent.runner.journal import Journal
from agent.runner.runner import HostIdentity
from domain.core.messages import Key, Record, Topic, from_record, named_id
from domain.guest_spec import Power
from domain.host.messages import HostRegistered, HostUplinkChanged
from domain.host.reports import GuestObserved, Heartbeat
from domain.instance.actions.power.stop import StopInstance
from domain.network.messages import CreateNetwork
from infra.log.lag import Lag
from infra.log.log import TopicPartition
from infra.process import metrics
from tests.agent.bench import (
    BOOT,
    Hypervisor,
    dispatch,
    ident,
    job_record,
    outcomes,
)
from tests.agent.site import INSTANCE, NO_HOST, OPTIONS, Site, boot, running
from tests.domain.instances import NETWORK, boot_command
from tests.simulation.loop import simulate


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    async with running(made):
        yield made


async def test_a_host_registers_with_what_it_has_and_learns_who_it_is(site: Site) -> None:
    async with site.working():
        assert site.host() == HostIdentity(named_id("host", "h1"), "h1", epoch=1, partition=0)
        (event,) = site.said(Topic.EVENTS, HostRegistered)
        assert (event.zone, event.endpoint) == ("z1", "http://agent")
        assert event.inventory == await site.drivers["h1"].inventory()


async def test_a_host_tells_where_its_networks_are_reached_and_by_which_key(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def uplink(_: SimulatedDriver) -> str:
        return "10.2.0.11"

    async def key(_: SimulatedDriver) -> str:
        return "key"

    monkeypatch.setattr(SimulatedDriver, "uplink_address", uplink)
    monkeypatch.setattr(SimulatedDriver, "tunnel_key", key)
    async with site.working():
        (event,) = site.said(Topic.EVENTS, HostUplinkChanged)
    assert (event.uplink, event.tunnel_key) == ("10.2.0.11", "key")


async def test_a_host_that_the_scheduler_will_not_have_says_why(site: Site) -> None:
    await site.world.host("h1", zone="z0")
    site.service._options = replace(site.service._options, cell="east")
    with pytest.raises(
        NotRegistered, match="h1 cannot be registered as a host: Host h1 belongs to cell default, and cannot be moved"
    ):
        await site.service.start()


async def test_each_start_is_a_new_epoch(site: Site) -> None:
    for epoch in (1, 2, 3):
        async with site.working():
            assert site.host().epoch == epoch
        site.service = site.agent()
    site.service._journal.close()


async def test_without_an_answer_of_the_scheduler_the_agent_gives_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.host.registration.TRIES", 2)
    monkeypatch.setattr("agent.host.registration.ANSWER_SECONDS", 0.01)
    site.world.stopped = {"agents", "scheduler"}
    with pytest.raises(NotRegistered):
        await site.service.start()
    await site.service.close()


async def test_an_instance_is_booted_and_stopped_through_log_and_agent(site: Site) -> None:
    async with site.working():
        await boot(site)
        assert await site.drivers["h1"].guests() == {INSTANCE.id: Power.RUNNING}
        await site.world.send(INSTANCE, StopInstance())
        doc = await site.instance("stopped")
    assert (doc["host"]["name"], doc["power"]) == ("h1", "shutdown")
    assert len(site.answers()) == 2


async def test_a_guest_that_stops_by_itself_is_seen_to_be_stopped(site: Site) -> None:
    async with site.working():
        await boot(site)
        await site.drivers["h1"].power_off_by_itself(INSTANCE.id)
        await site.instance("stopped")
    assert [each.power for each in site.said(Topic.RESULTS, GuestObserved)] == [Power.SHUTDOWN]


async def test_a_guest_that_stopped_unheard_is_seen_at_the_next_look(site: Site) -> None:
    async with site.working():
        await boot(site)
        site.drivers["h1"]._watcher = None
        await site.drivers["h1"].power_off_by_itself(INSTANCE.id)
        await site.instance("stopped")


async def test_hosts_send_heartbeats_with_epoch_and_guests(site: Site) -> None:
    async with site.working():
        await boot(site)
        await site.until(lambda: any(beat.guests for beat in site.said(Topic.REPORTS, Heartbeat)))
    beats = site.said(Topic.REPORTS, Heartbeat)
    assert {(beat.host_id, beat.epoch) for beat in beats} == {(site.host().id, 1)}
    assert len({from_record(record).id for record in site.world.log.all(Topic.REPORTS)}) == len(beats)


def test_heartbeats_of_many_hosts_are_spread_over_the_interval(tmp_path: Path) -> None:
    async def said() -> list[int]:
        site = Site(tmp_path, tuple(f"h{number}" for number in range(100)))
        site.service = site.agent(options=replace(OPTIONS, heartbeat=10.0, reconcile=1000.0))
        counts = [0]
        async with running(site), site.working():
            for _ in range(20):
                await asyncio.sleep(1.0)
                counts.append(len(site.said(Topic.REPORTS, Heartbeat)))
        return [after - before for before, after in itertools.pairwise(counts)]

    said_each_second = simulate(said())
    assert max(said_each_second) <= 12
    assert sum(said_each_second) in range(195, 206)


# Taking jobs


async def test_jobs_for_other_hosts_in_the_same_partition_are_left_alone_and_passed_by(site: Site) -> None:
    async with site.working():
        mine = dispatch(2, 2, "PrepareImage", host=site.host())
        stranger = replace(NO_HOST, partition=site.host().partition)
        strange = job_record(dispatch(1, 1, *BOOT, host=stranger), stranger)
        await site.world.log.publish([strange, job_record(mine, site.host())])
        await site.until(lambda: site.answers(mine.dispatch_id))
        position = TopicPartition(Topic.JOBS, site.host().partition)
        assert site.service._journal.positions() == {position: 2}
    assert site.drivers["h1"].calls == []
    assert len(site.answers()) == 1


def counted() -> float:
    """Records that agents sent to gostack.dead."""
    return metrics.REGISTRY.get_sample_value("gostack_dead_records_total", {"process": "agent"}) or 0.0


async def test_a_job_record_that_cannot_be_read_goes_to_the_dead(site: Site) -> None:
    before = counted()
    async with site.working():
        host = site.host()
        nonsense = Record(Topic.JOBS, host.id.encode(), b"\xff", (("ce_id", b"\xff"),), host.partition)
        elses = replace(nonsense, key=b"another")
        good = dispatch(2, 2, "PrepareImage", host=host)
        await site.world.log.publish([nonsense, elses, job_record(good, host)])
        await site.until(lambda: site.answers(good.dispatch_id))
    (dead,) = site.world.log.all(Topic.DEAD)
    assert (dead.key, dead.value, dead.headers[0]) == (nonsense.key, b"\xff", ("ce_id", b"\xff"))
    assert dict(dead.headers)["gostack_place"] == f"gostack.jobs:{host.partition}:0".encode()
    assert counted() == before + 1


async def test_a_dispatch_that_is_delivered_again_is_done_and_answered_once(site: Site) -> None:
    async with site.working() as service:
        once = dispatch(1, 1, *BOOT, host=site.host())
        record = job_record(once, site.host())
        await site.world.log.publish([record, record])
        await site.until(lambda: site.answers(once.dispatch_id))
        await service.take([record])
        last = dispatch(2, 1, "StopGuest", host=site.host())
        await service.take([job_record(last, site.host())])
        await site.until(lambda: site.answers(last.dispatch_id))
    assert len(site.answers(once.dispatch_id)) == 1
    assert site.drivers["h1"].began("StartGuest") == [ident(1)]


async def test_what_is_no_dispatch_is_passed_by(site: Site) -> None:
    async with site.working() as service:
        await service.take([])
        beat = site.said(Topic.REPORTS, Heartbeat)
        await site.until(lambda: site.said(Topic.REPORTS, Heartbeat) != beat)
        (heartbeat, *_) = site.world.log.all(Topic.REPORTS)
        await service.take([replace(heartbeat, topic=Topic.JOBS, partition=0, offset=4)])
        assert service._journal.positions()[TopicPartition(Topic.JOBS, 0)] == 5
    assert site.answers() == []


async def test_a_process_holds_no_more_dispatches_than_it_may_and_does_them_all(site: Site) -> None:
    site.service._journal.close()
    site.service = site.agent(options=replace(OPTIONS, held=5))
    gate = site.drivers["h1"].hold("StopGuest", ident(1))
    async with site.working() as service:
        sent = [dispatch(1, 1, "StopGuest", host=site.host())]
        sent += [dispatch(number, 1, "PrepareImage", host=site.host()) for number in range(2, 30)]
        await site.world.log.publish([job_record(each, site.host()) for each in sent])
        held = service.runners[site.host().id]._queues
        await site.until(lambda: sum(map(len, held.values())) == 5)
        await site.world.log.publish([job_record(dispatch(40, 2, "PrepareImage", host=site.host()), site.host())])
        await asyncio.sleep(0.05)
        assert sum(map(len, held.values())) == 5
        assert service.reading[TopicPartition(Topic.JOBS, site.host().partition)] == len(sent)
        gate.set()
        await site.until(lambda: len(site.answers()) == len(sent) + 1)


async def test_more_than_a_process_may_hold_is_taken_up_after_a_restart(site: Site) -> None:
    async with site.working():
        pass
    host = replace(site.host(), epoch=2)
    sent = [dispatch(number, number, "PrepareImage", host=host) for number in range(1, 30)]
    before = Journal(site.path / "journal.db")
    before.accept({each.dispatch_id: job_record(each, host) for each in sent}, {})
    before.close()
    site.service = site.agent(options=replace(OPTIONS, held=3))
    async with site.working():
        await site.until(lambda: len(site.answers()) == len(sent))


async def test_a_job_from_before_all_that_is_remembered_is_refused_and_answered(site: Site) -> None:
    """A year later the journal has forgotten it, and the log, or somebody, delivers it again."""
    async with site.working():
        once = dispatch(1, 1, *BOOT, host=site.host())
        await site.world.log.publish([job_record(once, site.host())])
        await site.until(lambda: site.answers(once.dispatch_id))
        await site.until(lambda: not site.service._journal.pending())
    began = list(site.drivers["h1"].calls)
    site.world.now += timedelta(days=365)
    site.service = site.agent()
    async with site.working() as service:
        host = site.host()
        late = dispatch(2, 2, "PrepareImage", host=host)
        record = job_record(late, host)
        headers = tuple(each for each in record.headers if each[0] != "ce_time")
        now = site.world.clock().isoformat().encode()
        await site.world.log.publish([replace(record, headers=(*headers, ("ce_time", now)))])
        await site.until(lambda: site.answers(late.dispatch_id))
        service._journal.forget_old(site.world.clock())
        again = once.but(epoch=host.epoch)
        await site.world.log.publish([job_record(again, host)])
        await site.until(lambda: len(site.answers(once.dispatch_id)) == 2)
    assert site.drivers["h1"].calls == began
    answer = site.answers(once.dispatch_id)[-1]
    assert outcomes(answer) == [(BOOT[0], "job-too-old")]
    error = answer.results[0].error
    assert error is not None
    assert error.ran
    assert error.message.startswith("The job was sent at 2026-01-01T")


# Many hosts in one process


async def test_one_process_carries_many_hosts_and_each_does_its_own_jobs(tmp_path: Path) -> None:
    site = Site(tmp_path, ("h1", "h2", "h3"))
    async with running(site), site.working():
        assert [site.host(name).partition for name in ("h1", "h2", "h3")] == [0, 1, 2]
        sent = [dispatch(n, n, *BOOT, host=site.host(f"h{n}")) for n in (1, 2, 3)]
        await site.world.log.publish([job_record(each, site.host(f"h{n}")) for n, each in enumerate(sent, 1)])
        await site.until(lambda: len(site.answers()) == 3)
    for number in (1, 2, 3):
        assert site.drivers[f"h{number}"].began("StartGuest") == [ident(number)]
    assert {each.host_id: outcomes(each)[-1] for each in site.answers()} == {
        named_id("host", name): ("StartGuest", "") for name in site.drivers
    }


async def test_a_guests_change_is_told_by_the_host_that_has_it(tmp_path: Path) -> None:
    site = Site(tmp_path, ("h1", "h2"))
    async with running(site), site.working():
        once = dispatch(1, 1, *BOOT, host=site.host("h2"))
        await site.world.log.publish([job_record(once, site.host("h2"))])
        await site.until(lambda: site.answers(once.dispatch_id))
        await site.until(lambda: site.service.runners[site.host("h2").id].idle)
        await site.drivers["h2"].power_off_by_itself(ident(1))
        await site.until(lambda: bool(site.said(Topic.RESULTS, GuestObserved)))
    (observed,) = site.said(Topic.RESULTS, GuestObserved)
    assert observed.host_id == site.host("h2").id


async def test_a_guest_that_moved_to_another_host_of_the_process_is_forgotten_by_its_first(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path, ("h1", "h2"))
    async with running(site), site.working() as service:
        for number, name, jobs in (
            (1, "h1", BOOT),
            (2, "h2", BOOT),
            (3, "h1", ("UndefineGuest",)),
            (4, "h1", ("DeleteDisk",)),
        ):
            host = site.host(name)
            once = dispatch(number, 1, *jobs, host=host)
            await site.world.log.publish([job_record(once, host)])
            await site.until(lambda once=once: site.answers(once.dispatch_id))
            if number == 3:
                assert service.runners[host.id].reported_guests() == {ident(1): Power.NONE}
        assert service.runners[site.host("h1").id].reported_guests() == {}
        assert service.runners[site.host("h2").id].reported_guests() == {ident(1): Power.RUNNING}
        assert service._journal.epochs(site.host("h2").id) == {ident(1): 1}


# Restarts


async def test_what_a_killed_agent_left_undone_is_done_and_answered_once(site: Site) -> None:
    site.drivers["h1"].hold("StartGuest", INSTANCE.id)
    async with site.working():
        await site.world.send(Key("network", NETWORK), CreateNetwork(name="lan", cidr="10.0.0.0/24", segment=1))
        await site.world.send(INSTANCE, boot_command())
        await site.until(lambda: site.drivers["h1"].began("StartGuest"))
    assert site.answers() == []
    site.drivers["h1"].gates.clear()
    site.service = site.agent()
    async with site.working():
        doc = await site.instance("active")
        await site.until(lambda: not site.service._journal.pending())
    assert doc["host"]["epoch"] == 2
    answers = site.answers()
    assert [outcomes(each)[-1] for each in answers] == [("StartGuest", "stale-epoch"), ("StartGuest", "")]
    assert len({each.dispatch_id for each in answers}) == 2
    assert [name for name, _ in site.drivers["h1"].calls] == ["CreateDisk", "DefineGuest", "StartGuest", "StartGuest"]


async def test_jobs_that_came_while_no_agent_ran_are_done_by_the_next(site: Site) -> None:
    async with site.working():
        await boot(site)
    await site.world.send(INSTANCE, StopInstance())
    site.service = site.agent()
    async with site.working():
        await site.instance("stopped")


async def test_an_agent_killed_before_its_first_job_finds_it_at_its_next_start(site: Site) -> None:
    async with site.working():
        pass
    host = site.host()
    missed = dispatch(1, 1, "PrepareImage", host=replace(host, epoch=2))
    await site.world.log.publish([job_record(missed, host)])
    site.service = site.agent()
    async with site.working():
        await site.until(lambda: site.answers(missed.dispatch_id))
    assert outcomes(site.answers()[0]) == [("PrepareImage", "")]


def test_a_partition_is_read_from_where_the_journal_left_off_or_from_where_it_ended() -> None:
    first, second = TopicPartition(Topic.JOBS, 1), TopicPartition(Topic.JOBS, 2)
    ends = {first: 10, second: 20, TopicPartition(Topic.JOBS, 3): 30}
    assert job_positions({1, 2}, {first: 7}, ends) == {first: 7, second: 20}


async def test_a_hypervisor_that_does_not_let_go_keeps_the_agent_from_nothing(site: Site) -> None:
    class Clinging(Hypervisor):
        async def close(self) -> None:
            raise DriverError(DriverFault.HYPERVISOR_UNREACHABLE, "away")

    other = Hypervisor()
    site.service._journal.close()
    site.service = site.agent({"h1": Clinging(), "h2": other})
    async with site.working():
        assert other._watcher is not None
    assert other._watcher is None


async def test_what_was_taken_and_is_not_answered_waits_and_ages(site: Site) -> None:
    async with site.working():
        await boot(site)
        assert (await site.service.look())["dispatches"] == Lag(0, 0.0)
        gate = site.drivers["h1"].hold("StopGuest", INSTANCE.id)
        await site.world.send(INSTANCE, StopInstance())
        await site.until(lambda: site.drivers["h1"].began("StopGuest"))
        site.world.now += timedelta(seconds=30)
        found = await site.service.look()
        assert found["dispatches"].records == 1
        assert 30 <= found["dispatches"].seconds < 31
        assert found["gostack.jobs"] == Lag(0, 0.0)
        gate.set()
        await site.instance("stopped")
