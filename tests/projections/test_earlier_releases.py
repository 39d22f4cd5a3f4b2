"""Events that earlier releases wrote are in history as they were written, and are read like today's."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from domain.core.messages import Key, Record, Topic, names_of
from domain.host.messages import HostClaimMade, HostRegistered, PlacementRefused
from domain.instance.events import InstanceCreated
from domain.network.messages import CreateNetwork
from domain.zone import ZoneCreated
from projections.history.causality import explain
from projections.history.placements import placements
from projections.history.time_travel import Moment, row_at
from projections.store.memory import MemoryStore
from projections.store.port import HistoryQuery
from projections.views.table import VIEWS
from tests.domain.instances import NETWORK, boot_command
from tests.harness.agents import host_key
from tests.harness.world import World
from tests.projections.test_projector import instance_key, project

ADDED = {
    HostRegistered.type_name: {"cell"},
    HostClaimMade.type_name: {"arch", "zone", "wanted_host", "number"},
    InstanceCreated.type_name: {"cells"},
    PlacementRefused.type_name: {"cell", "vcpus", "memory", "disk", "arch", "zone", "wanted_host"},
    ZoneCreated.type_name: {"cell"},
}
"""What the first revision did not tell."""


def as_first_written(record: Record) -> Record:
    """The event as the release before wrote it."""
    headers = dict(record.headers)
    added = ADDED.get(headers["ce_type"].decode())
    if added is None:
        return record
    value = {name: each for name, each in json.loads(record.value).items() if name not in added}
    headers["ce_type"] = headers["ce_type"][:-1] + b"1"
    return replace(record, value=json.dumps(value).encode(), headers=tuple(headers.items()))


async def story(written: Callable[[Record], Record] = lambda record: record) -> MemoryStore:
    """An instance that was placed and one that was not, projected by a projector that is started anew each time."""
    world = World()
    await world.start()
    await world.host("h1")
    await world.send(Key("network", NETWORK), CreateNetwork(name="lan", cidr="10.0.0.0/28", segment=7))
    await world.send(instance_key(1), boot_command())
    huge: Any = boot_command(name="huge")
    await world.send(instance_key(2), huge.but(flavor=huge.flavor.but(core=200)))
    store = MemoryStore()
    for record in map(written, world.log.all(Topic.EVENTS)):
        await project(store, [record])
    return store


@pytest.fixture
async def store() -> MemoryStore:
    return await story(as_first_written)


async def test_history_has_them_as_they_were_written(store: MemoryStore) -> None:
    for kind in (HostClaimMade, PlacementRefused):
        today, *before = names_of(kind)
        assert not await store.history(HistoryQuery(types=(today,)))
        (entry,) = await store.history(HistoryQuery(types=(before[0],)))
        assert not ADDED[today] & json.loads(entry.data).keys()


async def test_rows_are_the_same_now_and_at_any_moment(store: MemoryStore) -> None:
    key = host_key("h1")
    found, todays = await store.get("hosts", key.id), await (await story()).get("hosts", key.id)
    assert found == todays
    row = await row_at(store, VIEWS["hosts"], key.id, key, Moment())
    assert row is not None
    assert (row.version, row.doc["instances"]) == (found.version if found else 0, 1)


async def test_placements_are_explained(store: MemoryStore) -> None:
    (made,) = await placements(store, instance_key(1).id)
    assert (made.host_id, made.report.best[0].host) == (host_key("h1").id, "h1")
    (refused,) = await placements(store, instance_key(2).id)
    assert (refused.host_id, refused.report.total) == ("", 1)
    told = [step.says for step in (await explain(store, instance_key(1))).steps]
    assert any(says.startswith("The scheduler chose this host") for says in told)
