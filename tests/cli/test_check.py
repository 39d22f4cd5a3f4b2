"""gostack check finds nothing wrong with a world that is well, and each thing that is wrong with one that is not."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cli.agents import (
    AgentSilent,
    HostedGuest,
    Networks,
    PoolVolumes,
    guests_by_http,
    without_networks,
    without_pools,
)
from cli.check import INVARIANTS, CheckedParts, Report, check, domains, usage
from cli.shelved_check import shelved
from domain.core.messages import (
    Command,
    Envelope,
    Key,
    Record,
    Topic,
    derived_id,
    from_record,
    to_record,
)
from domain.dead import DeadDropped, DeadRetried
from domain.guest_spec import HostRef
from domain.host.state import Host
from domain.instance.actions.lifecycle.delete import DeleteInstance
from domain.instance.actions.lifecycle.shelve import OffloadInstance, ShelveInstance
from domain.instance.actions.lifecycle.update import UpdateInstance
from domain.instance.actions.placement.migrate import MigrateInstance
from domain.instance.actions.power.reboot import RebootInstance
from domain.instance.actions.power.start import StartInstance
from domain.instance.actions.power.stop import StopInstance
from domain.instance.state import Instance
from domain.tasks.events import CancelTask
from infra.db.write_store import Due, StoredAggregate
from infra.log.durability import ONE_REPLICA, Durability, Replication
from infra.log.log import TopicPartition
from infra.log.topics import partition_of
from projections.projector import READS, Projector, VersionGap
from tests.domain.instances import NETWORK, boot_command
from tests.harness.agents import host_key, registration
from tests.harness.nonsense import NONSENSE
from tests.harness.world import START, World
from tests.projections.test_dead import closed, dead, place

WEB = Key("instance", "00000000-0000-0000-0000-000000000001")
H1, H2 = host_key("h1"), host_key("h2")


@pytest.fixture
async def world() -> World:
    """Two hosts, one instance that runs, and one that was asked to stop and has."""
    from domain.network.messages import CreateNetwork

    made = World()
    await made.start()
    for name in ("h1", "h2"):
        await made.host(name)
    await made.send(Key("network", NETWORK), CreateNetwork(name="lan", cidr="10.0.0.0/28", segment=1))
    await made.send(WEB, boot_command())
    return made


async def checked(
    world: World,
    guests: Mapping[str, Mapping[str, str]] | None = None,
    epoch: int = 0,
    networks: Networks = without_networks,
    pool_volumes: PoolVolumes = without_pools,
) -> Report:
    """What is found; the hypervisors run what the instances say, or what is given, all since this epoch."""
    rows = [
        Instance.model_validate_json(row.state) for row in (await world.engine_write_store.all("instance")).values()
    ]

    async def running(host: Host) -> Mapping[str, HostedGuest]:
        if guests is not None and host.name not in guests:
            raise AgentSilent
        here = {each.id: str(each.power) for each in rows if each.host and each.host.id == host.id}
        told = here if guests is None else guests[host.name]
        return {ident: HostedGuest(power, epoch) for ident, power in told.items()}

    write_stores = {"engine": world.engine_write_store, "scheduler": world.scheduler_write_store}
    parts = CheckedParts(world.log, world.store, write_stores, running, world.clock, networks, pool_volumes)
    return await check(parts)


def broken(report: Report) -> dict[str, list[str]]:
    return {name: problems for name, problems in report.problems.items() if problems}


async def state(world: World) -> Instance:
    return Instance.model_validate_json((await world.engine_write_store.all("instance"))[WEB].state)


def keep(world: World, changed: Instance | Host, key: Key) -> None:
    write_store = world.engine_write_store if isinstance(changed, Instance) else world.scheduler_write_store
    write_store._rows[key] = replace(
        write_store._rows[key], state=changed.model_dump_json(exclude_defaults=True).encode()
    )


async def test_a_world_that_is_well(world: World) -> None:
    await world.send(WEB, StopInstance())
    report = await checked(world)
    assert (broken(report), report.moving) == ({}, "")
    assert set(report.problems) == {each.__name__ for each in INVARIANTS}
    assert len(report.seen.decided) == 5


async def test_it_tells_how_durable_the_log_is_and_finds_no_fault_with_it(world: World) -> None:
    assert (await checked(world)).seen.durability == ONE_REPLICA
    world.log.pretends = Durability.of({"events": Replication(3, 2, 3)}, brokers=3)
    report = await checked(world)
    assert str(report.seen.durability).startswith("3 replicas on 3 brokers, 2 or more in sync")
    assert broken(report) == {}


async def test_what_is_on_its_way_is_no_mistake(world: World) -> None:
    world.stopped |= {"engine", "projector"}
    stop = Envelope(
        id="00000000-0000-0000-0000-0000000000aa",
        data=StopInstance(),
        subject=WEB,
        time=START,
        source="test",
        correlation="c",
    )
    await world.log.publish([to_record(stop, Topic.COMMANDS)])
    report = await checked(world)
    assert (broken(report), report.moving) == ({}, "1 records to be decided")
    world.stopped.discard("engine")
    world.stopped.add("agents")
    await world.settle()
    report = await checked(world)
    assert broken(report) == {}
    assert "events to be projected" in report.moving
    assert "states ahead" in report.moving


async def test_a_version_that_is_missing(world: World) -> None:
    log = world.log
    last = log.all(Topic.EVENTS)[-1]
    envelope = from_record(last)
    gap = replace(envelope, id="00000000-0000-0000-0000-0000000000ab", aggversion=(envelope.aggversion or 0) + 7)
    world.stopped.add("projector")
    await log.publish([to_record(gap, Topic.EVENTS)])
    world.store._positions = {each: end for each, (_, end) in (await log.bounds([Topic.EVENTS])).items()}
    assert "versions" in broken(await checked(world))


async def test_a_command_without_a_verdict_and_one_with_two(world: World) -> None:
    orphan = Envelope(
        id="00000000-0000-0000-0000-0000000000aa",
        data=StopInstance(),
        subject=WEB,
        time=START,
        source="test",
        correlation="c",
    )
    world.engine_write_store._inbox[orphan.id] = START
    await world.log.publish([to_record(orphan, Topic.COMMANDS)])
    await world.settle()
    (problem,) = broken(await checked(world))["verdicts"]
    assert orphan.id in problem
    assert "0 verdicts" in problem
    verdict = next(each for each in map(from_record, world.log.all(Topic.EVENTS)) if each.verdict == "accepted")
    again = replace(verdict, id="00000000-0000-0000-0000-0000000000ab", aggversion=None)
    await world.log.publish([to_record(again, Topic.EVENTS)])
    await world.settle()
    assert any("2 verdicts" in each for each in broken(await checked(world))["verdicts"])


@pytest.mark.parametrize(
    "command",
    [RebootInstance(), UpdateInstance(name="other"), DeleteInstance(), StartInstance(), CancelTask(task_id="x")],
)
async def test_a_command_that_was_decided_twice(world: World, command: Command) -> None:
    """Whatever became of it: accepted twice, accepted and then so already, so already twice, refused twice."""
    ident = "00000000-0000-0000-0000-0000000000aa"
    await world.send(WEB, command, id=ident)
    assert broken(await checked(world)) == {}
    del world.engine_write_store._inbox[ident]
    await world.log.publish([each for each in world.log.all(Topic.COMMANDS) if from_record(each).id == ident])
    await world.settle()
    (problem,) = broken(await checked(world))["verdicts"]
    assert problem.startswith(f"command {ident} at gostack.commands:")
    assert problem.endswith(" has 2 verdicts")


async def test_events_that_were_published_twice(world: World) -> None:
    await world.send(WEB, StopInstance())
    await world.send(WEB, StopInstance())
    said = world.log.all(Topic.EVENTS)
    await world.log.publish(said)
    await world.settle()
    report = await checked(world)
    assert (broken(report), report.moving) == ({}, "")
    assert report.seen.folded.repeated == len(said)


async def test_two_events_of_one_version(world: World) -> None:
    """As when somebody decides on a state that is not the last: every reader leaves the second out."""
    first = next(each for each in world.log.all(Topic.EVENTS) if from_record(each).subject == WEB)
    other = replace(from_record(first), causation="00000000-0000-0000-0000-0000000000aa", verdict=None)
    await world.log.publish([to_record(other, Topic.EVENTS)])
    await world.settle()
    (problem,) = broken(await checked(world))["versions"]
    assert problem.startswith(f"{WEB}: version 1 is another event at gostack.events:")


async def test_dead_records_are_told_until_something_is_done_about_them(world: World) -> None:
    await world.log.publish([dead(1), dead(2), dead(2), dead(3), closed(1, DeadDropped())])
    await world.settle()
    report = await checked(world)
    told = [f"the record at {place(number)} is dead: boom" for number in (2, 3)]
    assert (report.seen.dead, broken(report), report.moving) == (2, {"dead": told}, "")
    await world.log.publish([closed(2, DeadDropped()), closed(3, DeadRetried(record_id="r"))])
    await world.settle()
    report = await checked(world)
    assert (report.seen.dead, broken(report), report.moving) == (0, {}, "")


async def test_an_event_that_cannot_be_read_is_a_dead_record_and_no_damage_of_the_versions(world: World) -> None:
    await world.log.publish([replace(each, partition=3) for each in NONSENSE.values()])
    world.stopped = {"projector"}
    await world.settle()
    assert "versions" not in broken(await checked(world)), "it is not laid aside yet, and will be"
    world.stopped = set()
    await world.settle()
    report = await checked(world)
    assert (report.seen.dead, report.moving) == (len(NONSENSE), "")
    assert not {"versions", "rows"} & broken(report).keys()
    for ident in [key.id for key in report.seen.folded.dead]:
        fact = Envelope(derived_id(ident, "drop"), DeadDropped(), Key("dead", ident), START, "test", "c")
        await world.log.publish([to_record(fact, Topic.DEAD)])
    await world.settle()
    report = await checked(world)
    assert (report.seen.dead, broken(report), report.moving) == (0, {}, "")


async def test_an_event_that_cannot_be_read_and_was_laid_aside_by_nobody(world: World) -> None:
    await world.log.publish([replace(NONSENSE["broken JSON"], partition=3)])
    projector = Projector(world.log, world.store)
    await projector.start(list(await world.log.bounds(READS)))
    await projector.up_to({each: end for each, (_, end) in (await world.log.bounds(READS)).items()})
    (problem,) = broken(await checked(world))["versions"]
    assert world.log._records[TopicPartition(Topic.EVENTS, 3)][-1].place in problem


async def test_a_version_that_cannot_be_read_stops_the_projector_and_is_told(world: World) -> None:
    events = world.log._records[TopicPartition(Topic.EVENTS, partition_of(WEB.id.encode(), 12))]
    first = len(events)
    world.stopped = {"projector"}
    stop = "00000000-0000-0000-0000-0000000000aa"
    await world.log.publish(
        [to_record(Envelope(stop, StopInstance(), WEB, world.clock(), "test", stop), Topic.COMMANDS)]
    )
    await world.settle()
    version = int(dict(events[first].headers)["ce_aggversion"])
    events[first] = replace(events[first], value=b"{")
    world.stopped = set()
    with pytest.raises(VersionGap, match=f"version {version + 1} follows {version - 1}"):
        await world.settle()
    (problem,) = broken(await checked(world))["versions"]
    assert f"{WEB}: version {version + 1} follows {version - 1}" in problem


async def test_a_task_without_a_deadline_and_one_whose_deadline_nobody_told(world: World) -> None:
    world.agents.silent.add("StopGuest")
    await world.send(WEB, StopInstance())
    assert broken(await checked(world)) == {}
    due = world.engine_write_store._due[WEB]
    world.now = due.due_at + timedelta(seconds=120)
    assert "was due at" in broken(await checked(world))["deadlines"][0]
    del world.engine_write_store._due[WEB]
    found = broken(await checked(world))
    assert "has no deadline" in found["deadlines"][0]
    assert "the timers look at None" in found["dues"][0]


async def test_a_deadline_that_no_state_has(world: World) -> None:
    world.engine_write_store._due[WEB] = Due(WEB, WEB.id, START)
    assert list(broken(await checked(world))) == ["dues"]


async def test_claims_that_are_not_the_instances_there(world: World) -> None:
    releases = [each for each in map(from_record, world.log.all(Topic.EVENTS)) if "claim" in each.data.type_name]
    made = releases[-1]
    here = made.subject
    other = H2 if here == H1 else H1
    doubled = replace(made, id="00000000-0000-0000-0000-0000000000ab", subject=other, aggversion=2)
    await world.log.publish([to_record(doubled, Topic.EVENTS)])
    await world.settle()
    found = broken(await checked(world))
    assert "is held on 2 hosts" in found["claims"][0]
    assert "is stored at version 1; the log has 2" in found["states"][0]


async def test_a_state_that_is_not_what_the_events_make(world: World) -> None:
    keep(world, (await state(world)).but(name="other"), WEB)
    assert list(broken(await checked(world))) == ["states"]
    row = world.engine_write_store._rows.pop(WEB)
    assert "is not stored" in broken(await checked(world))["states"][0]
    world.engine_write_store._rows[WEB] = StoredAggregate(row.version + 1, row.state)
    report = await checked(world)
    assert (broken(report), report.moving) == ({}, "1 states ahead of the read models")


async def test_a_claim_of_another_size_or_project_than_its_instance(world: World) -> None:
    def changed(host: Host) -> Host:
        ((claim_id, claim),) = host.claims.items()
        return host.but(claims={claim_id: claim.but(project="other", vcpus=7)})

    parts = await checked(world)
    found = next(each for each in parts.seen.hosts if each.claims)
    seen = parts.seen
    seen.folded.states[host_key(found.name)] = changed(found)
    instance = await state(world)
    assert list(usage(seen)) == [
        f"project admin uses {instance.disk} of disk, and hosts hold 0 for it",
        f"project admin uses {instance.flavor.memory} of memory, and hosts hold 0 for it",
        "project admin uses 1 of vcpus, and hosts hold 0 for it",
        f"project other uses 0 of disk, and hosts hold {instance.disk} for it",
        f"project other uses 0 of memory, and hosts hold {instance.flavor.memory} for it",
        "project other uses 0 of vcpus, and hosts hold 7 for it",
    ]


async def test_an_aggregate_that_is_parked(world: World) -> None:
    world.engine_write_store._parked[WEB] = "it could not be decided"
    assert broken(await checked(world)) == {"parked": [f"{WEB} takes no commands: it could not be decided"]}


async def test_rows_that_are_wrong_missing_or_too_many(world: World) -> None:
    table = world.store._rows["instances"]
    row = table[WEB.id]
    table[WEB.id] = replace(row, doc={**row.doc, "name": "other"})
    (problem,) = broken(await checked(world))["rows"]
    assert problem == f'instances {WEB.id}: name is "other", the log makes it {orjson.dumps(row.doc["name"]).decode()}'
    del table[WEB.id]
    assert "the row is missing" in broken(await checked(world))["rows"][0]
    table[WEB.id] = row
    table["x"] = replace(row, id="x")
    assert "the log makes no such row" in broken(await checked(world))["rows"][0]


@pytest.mark.parametrize(
    ("guests", "told"),
    [
        (lambda here, there: {here: {}, there: {}}, "does not run it"),
        (lambda here, there: {here: {WEB.id: "shutdown"}, there: {}}, "does not run it"),
        (lambda here, there: {here: {WEB.id: "running"}, there: {WEB.id: "running"}}, f"{WEB.id}, which belongs to h"),
        (lambda here, there: {here: {WEB.id: "running"}, there: {WEB.id: "shutdown"}}, f"{WEB.id}, which belongs to h"),
        (
            lambda here, there: {here: {WEB.id: "running"}, there: {"x": "crashed"}},
            "has a guest x, which is the id of no instance",
        ),
        (
            lambda here, there: {here: {WEB.id: "running"}, there: {"x": "running"}},
            "runs x, which is the id of no instance",
        ),
        (lambda here, there: {there: {}}, "does not answer"),
    ],
)
async def test_guests_that_are_not_where_they_should_be(
    world: World, guests: Callable[[str, str], Mapping[str, Mapping[str, str]]], told: str
) -> None:
    instance = await state(world)
    assert instance.host
    other = "h2" if instance.host.name == "h1" else "h1"
    found = broken(await checked(world, guests(instance.host.name, other)))
    assert list(found) == ["domains"]
    assert any(told in problem for problem in found["domains"])


async def test_a_guest_that_moves_is_at_two_hosts_and_runs_at_one(world: World) -> None:
    await world.send(WEB, MigrateInstance())
    instance = await state(world)
    assert instance.host is not None
    assert instance.incoming is not None
    now, before = instance.host.name, instance.incoming.host.name
    assert broken(await checked(world, {now: {WEB.id: "running"}, before: {WEB.id: "shutdown"}})) == {}
    found = broken(await checked(world, {now: {WEB.id: "running"}, before: {WEB.id: "running"}}))
    assert found == {"domains": [f"host {before} runs instance {WEB.id}, which belongs to {now}"]}
    await world.host("h3")
    found = broken(await checked(world, {now: {WEB.id: "running"}, before: {}, "h3": {WEB.id: "shutdown"}}))
    assert found == {"domains": [f"host h3 has a guest of instance {WEB.id}, which belongs to {now} and {before}"]}


async def test_a_guest_that_a_job_of_an_epoch_that_was_over_made_run(world: World) -> None:
    """Its host was in its second epoch, and the instance was never told of that."""
    instance = await state(world)
    assert instance.host
    name = instance.host.name
    for epoch in (0, 1):
        assert broken(await checked(world, epoch=epoch)) == {}
    told = f"host {name} runs instance {WEB.id} since epoch 2, and the instance knows of epoch 1 alone"
    assert broken(await checked(world, epoch=2)) == {"domains": [told]}
    await world.host(name)
    assert broken(await checked(world, epoch=1)) == {}
    assert broken(await checked(world, epoch=2)) == {"domains": [told]}


async def test_an_instance_in_an_epoch_that_its_host_has_not_come_to(world: World) -> None:
    seen = (await checked(world)).seen
    instance = await state(world)
    assert instance.host
    seen.folded.states[WEB] = instance.but(host=instance.host.but(epoch=3))
    assert list(domains(seen)) == [f"instance {WEB.id} is in epoch 3 of host {instance.host.name}, which is in 1"]


async def test_a_host_that_cannot_be_asked_and_has_instances(world: World) -> None:
    instance = await state(world)
    assert instance.host
    for name in ("h1", "h2"):
        host = (await checked(world)).seen.folded.states[host_key(name)]
        await world.log.publish([anew(host)])
    await world.settle()
    report = await checked(world, {})
    told = f"host {instance.host.name} has no endpoint to ask at, so its guests are not known"
    assert broken(report)["domains"] == [told]


def anew(host: Host) -> Record:
    """Its agent registers it, and says nothing of an endpoint."""
    command = registration(host.name).but(endpoint="")
    ident = "00000000-0000-0000-0000-0000000000a" + host.name[-1]
    return to_record(Envelope(ident, command, Key("host", host.id), START, "test", "c"), Topic.SCHEDULING, host.cell)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({"guests": {"a": "running", "b": "paused"}, "epochs": {"a": 2, "c": 3}}, [("running", 2), ("paused", 0)]),
        ({"guests": {"a": "running"}}, [("running", 0)]),
        (None, AgentSilent),
    ],
)
async def test_agents_are_asked_for_their_guests(
    world: World, answer: dict[str, object] | None, found: list[tuple[str, int]] | type[Exception]
) -> None:
    async def guests(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer t"
        return web.json_response(answer) if answer else web.Response(status=503)

    app = web.Application()
    app.router.add_get(f"/v1/hosts/{H1.id}/guests", guests)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        host = next(each for each in (await checked(world)).seen.hosts if each.name == "h1")
        ask = guests_by_http(session, "t")(host.but(endpoint=str(server.make_url("/"))))
        if isinstance(found, type):
            with pytest.raises(found):
                await ask
        else:
            assert list((await ask).values()) == [HostedGuest(*each) for each in found]


async def test_a_shelved_instance_without_an_image_and_an_offloaded_one_with_a_host(world: World) -> None:
    await world.send(WEB, ShelveInstance(offload_after=3600))
    assert broken(await checked(world)) == {}
    await world.send(WEB, OffloadInstance())
    assert broken(await checked(world)) == {}
    seen = (await checked(world)).seen
    (offloaded,) = seen.instances
    host = next(seen.hosts)
    on = HostRef(id=host.id, name=host.name, partition=0, epoch=1)
    seen.folded.states[WEB] = offloaded.but(host=on, disk_image=None)
    assert list(shelved(seen)) == [
        f"instance {WEB.id} is shelved_offloaded, and no image is known of its disk",
        f"instance {WEB.id} is offloaded and has host {host.name}",
    ]
