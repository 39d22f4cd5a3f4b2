"""A cell's past off the log: long ago is folded, what is asked about is kept in the order of the decisions."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from domain.core.errors import PastMissing, PastTooLong
from domain.core.messages import Key, Record, Topic, from_record
from domain.host.messages import DisableHost, HostClaimMade
from domain.instance.actions.lifecycle.delete import HardDeleteInstance
from domain.network.messages import CreateNetwork
from domain.scheduling.policy import DEFAULT
from domain.scheduling.simulation import Question, Simulated, simulate
from domain.scheduling.table import Ratios
from infra.log.log import TopicPartition
from projections.history import scheduler_history
from projections.history.scheduler_history import SKEW, read_past
from tests.domain.instances import NETWORK, boot_command
from tests.harness.agents import host_key
from tests.harness.nonsense import NONSENSE
from tests.harness.world import World
from tests.projections.test_projector import instance_key

LATER = timedelta(hours=5)


async def day() -> tuple[World, datetime]:
    """Hosts and instances of the morning; then, from the moment that is told on, of the afternoon."""
    world = World()
    await world.start()
    for name in ("h1", "h2", "h3"):
        await world.host(name)
    await world.send(Key("network", NETWORK), CreateNetwork(name="lan", cidr="10.0.0.0/26", segment=7))
    for number in range(1, 6):
        await world.send(instance_key(number), boot_command(name=f"i{number}"))
    await world.send(host_key("h3"), DisableHost())
    world.now += LATER
    noon = world.now
    await world.send(instance_key(2), HardDeleteInstance())
    huge = boot_command(name="huge")
    await world.send(instance_key(6), huge.but(flavor=huge.flavor.but(core=200)))
    for number in range(7, 10):
        await world.send(instance_key(number), boot_command(name=f"i{number}"))
    return world, noon


async def simulated(world: World, since: datetime, until: datetime) -> Simulated:
    question = Question(DEFAULT, Ratios(), DEFAULT, Ratios(), since, until, 1000)
    return simulate(await read_past(world.log, since, until), question)


async def test_long_ago_is_folded_and_the_rest_is_decided_as_it_was() -> None:
    world, noon = await day()
    found = await read_past(world.log, noon, world.now)
    assert {host.name: (host.enabled, len(host.claims)) for host in found.hosts.values()} == {
        "h1": (True, 2),
        "h2": (True, 2),
        "h3": (False, 1),
    }
    assert all(fact.time >= noon for fact in found.facts)
    result = await simulated(world, noon, world.now + SKEW)
    assert [bool(each.was) for each in result.decided] == [False, True, True, True]
    assert [each.was for each in result.decided] == [each.would for each in result.decided]
    assert (result.unlike, result.unknown) == ({}, 0)
    assert (result.was.refused, result.was.used["vcpus"]) == ({"vcpu": 1}, 7)


async def test_what_came_after_the_window_is_no_part_of_it() -> None:
    world, noon = await day()
    found = await simulated(world, noon - LATER - SKEW, noon - SKEW)
    assert (len(found.decided), found.was.used["vcpus"]) == (5, 5)


async def test_decisions_are_in_the_order_of_what_they_were_made_on_whatever_the_clocks_said() -> None:
    world, noon = await day()
    made = [each for each in map(from_record, world.log.all(Topic.EVENTS)) if isinstance(each.data, HostClaimMade)]
    rewrite(world, lambda record: dated(record, noon - timedelta(minutes=50), from_record(record).id == made[-1].id))
    found = await read_past(world.log, noon, world.now)
    order = [fact.cause for fact in found.facts]
    assert order == sorted(order)
    assert [fact.time for fact in found.facts] == sorted(fact.time for fact in found.facts)
    assert made[-1].id in [fact.id for fact in found.facts]


def rewrite(world: World, turn: Callable[[Record], Record]) -> None:
    """The log's events are others."""
    for number in range(12):
        held = world.log._records[TopicPartition(Topic.EVENTS, number)]
        held[:] = map(turn, held)


def dated(record: Record, time: datetime, meant: bool) -> Record:
    return with_header(record, "ce_time", time.isoformat().encode()) if meant else record


def with_header(record: Record, name: str, value: bytes) -> Record:
    return replace(record, headers=tuple({**dict(record.headers), name: value}.items()))


async def test_events_that_were_published_twice_count_once() -> None:
    world, noon = await day()
    before = await simulated(world, noon - LATER - SKEW, world.now)
    await world.log.publish([replace(each, partition=each.partition) for each in world.log.all(Topic.EVENTS)])
    assert await simulated(world, noon - LATER - SKEW, world.now) == before


async def test_a_host_whose_event_is_missing_cannot_be_understood() -> None:
    world, noon = await day()
    for number in range(12):
        held = world.log._records[TopicPartition(Topic.EVENTS, number)]
        mine = [each for each in held if each.key == host_key("h1").id.encode()]
        if mine:
            held.remove(mine[1])
    with pytest.raises(PastMissing, match="version 3 follows 1"):
        await read_past(world.log, noon, world.now)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [("ce_causeplace", b"", "does not name the record"), ("ce_type", b"gostack.host.moved.v9", "not a known type")],
)
async def test_an_event_that_cannot_be_placed_is_named(name: str, value: bytes, why: str) -> None:
    world, noon = await day()
    rewrite(
        world, lambda each: with_header(each, name, value) if b"host/" in dict(each.headers)["ce_subject"] else each
    )
    with pytest.raises(PastMissing, match=why):
        await read_past(world.log, noon - LATER, world.now)


async def test_more_than_can_be_kept_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    world, noon = await day()
    monkeypatch.setattr(scheduler_history, "MOST_FACTS", 3)
    with pytest.raises(PastTooLong, match="More than 3 decisions"):
        await read_past(world.log, noon, world.now)


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
async def test_what_cannot_be_read_and_is_of_no_host_is_no_part_of_it(nonsense: Record) -> None:
    world, noon = await day()
    whole = await read_past(world.log, noon, world.now)
    await world.log.publish([nonsense])
    assert await read_past(world.log, noon, world.now) == whole
