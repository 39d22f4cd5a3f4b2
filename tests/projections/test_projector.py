"""Read models say what the events say: however these come, how often, and whoever died in between."""

import asyncio
import uuid
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.aggregates import AGGREGATES
from domain.core.messages import (
    Command,
    Envelope,
    Event,
    Key,
    Message,
    Record,
    Topic,
    from_record,
    named_id,
    to_record,
)
from domain.flavor import (
    CreateFlavor,
    DeleteFlavor,
    FlavorCreated,
    FlavorUpdated,
    UpdateFlavor,
)
from domain.floating_ip import AssociateFloatingIp, CreateFloatingIp, DeleteFloatingIp, DisassociateFloatingIp
from domain.guest_spec import Power
from domain.host.messages import DisableHost, EnableHost, HearHost, SuspectHost
from domain.host.reports import GuestObserved
from domain.host.state import Host
from domain.image import CreateImage, DeleteImage
from domain.instance.actions.lifecycle.delete import DeleteInstance, HardDeleteInstance
from domain.instance.actions.lifecycle.restore import RestoreInstance
from domain.instance.actions.lifecycle.update import UpdateInstance
from domain.instance.actions.placement.migrate import MigrateInstance
from domain.instance.actions.power.start import StartInstance
from domain.instance.actions.power.stop import StopInstance
from domain.instance.state import Instance
from domain.instance.status import status
from domain.keypair import CreateKeypair, DeleteKeypair
from domain.named import heir_of
from domain.network.messages import (
    CreateNetwork,
    CreatePort,
    DeleteNetwork,
    DeletePort,
    UpdateNetwork,
    UpdatePort,
)
from domain.network.state import Network
from domain.parking import AggregateParked, AggregateReleased
from domain.pool import CreatePool, DeletePool, DrainPool
from domain.tasks.events import CancelTask
from domain.tasks.messages import JobError, JobStarted
from domain.tasks.subject import TaskSubject
from domain.tasks.task import Fault
from domain.webhook import CreateWebhook, DisableWebhook, Wanted, Webhook
from domain.zone import CreateZone, DeleteZone
from infra.log.log import Positions, Reader, TopicPartition
from infra.log.memory import MemoryLog
from projections.projector import Projector, VersionGap
from projections.store.memory import MemoryStore
from projections.store.port import HistoryQuery, NotMoved, Store
from projections.views.of_kind import OF_PLACES, OF_TASKS
from projections.views.table import VIEWS
from projections.views.view import Change, Query
from tests.domain.instances import NETWORK, boot_command
from tests.harness.agents import host_key
from tests.harness.samples import sample
from tests.harness.world import START, World

LAN = Key("network", NETWORK)
FAILS = JobError(code="job-failed", message="out of luck")
REFUSES = JobError(code="job-failed", message="out of luck", ran=False)
STEPS = [
    "Place",
    "BindPort",
    "PrepareImage",
    "CreateDisk",
    "WriteConfigDrive",
    "PlugPorts",
    "DefineGuest",
    "StartGuest",
]
ALL = 10_000


def ident(number: int) -> str:
    return str(uuid.UUID(int=number))


def instance_key(number: int = 1) -> Key:
    return Key("instance", ident(number))


# A log as a script: batches that come as they are written here


class Script(MemoryLog):
    """Delivers these batches, in order, to whoever reads from the positions before them."""

    def __init__(self, batches: Sequence[Sequence[Record]]) -> None:
        super().__init__()
        self.batches = deque(batches)

    async def reader(self, positions: Positions, patience: float = 0.0, gather: float = 0.0) -> Reader:
        return ScriptReader(self, dict(positions))

    async def bounds(self, topics: Sequence[str]) -> dict[TopicPartition, tuple[int, int]]:
        return dict.fromkeys(await super().bounds(topics), (0, 1 << 40))

    @property
    def over(self) -> bool:
        return not self.batches


class ScriptReader:
    """Reads a Script."""

    def __init__(self, script: Script, positions: dict[TopicPartition, int]) -> None:
        self._script = script
        self._positions = positions

    async def fetch(self, most: int, wait: float) -> list[Record]:
        batch = self._script.batches.popleft()
        assert len(batch) <= most
        return [
            each for each in batch if each.offset >= self._positions[TopicPartition(each.topic, each.partition or 0)]
        ]

    async def position(self, partition: TopicPartition) -> int:
        return self._positions[partition]

    async def close(self) -> None:
        pass


async def project(store: Store, *batches: Sequence[Record]) -> None:
    """A projector starts, takes these batches, and ends."""
    script = Script(batches)
    await Projector(script, store, pace=0).run(lambda: script.over)


def numbered(records: Sequence[Record]) -> list[Record]:
    """The records with the offsets that they would have in this order."""
    ends: Counter[int | None] = Counter()
    found = []
    for record in records:
        found.append(replace(record, offset=ends[record.partition]))
        ends[record.partition] += 1
    return found


def fact(data: Event, version: int | None, subject: Key, number: int, partition: int = 0) -> Record:
    """A record of an event, made by hand."""
    envelope = Envelope(
        id=ident(5000 + number),
        data=data,
        subject=subject,
        time=START,
        source="test",
        correlation="c",
        aggversion=version,
    )
    return replace(to_record(envelope, Topic.EVENTS), partition=partition, offset=number)


async def document(store: Store, view: str, name: str) -> dict[str, Any]:
    found = await store.get(view, name)
    assert found is not None, f"{view} has no {name}"
    doc: dict[str, Any] = orjson.loads(found.doc)
    return doc


async def whole(store: Store) -> dict[str, Any]:
    """All that can be read."""
    views: dict[str, Any] = {}
    for name in VIEWS:
        page = await store.page(name, Query(limit=ALL))
        views[name] = [orjson.loads(doc) for doc in page.docs]
    history = await store.history(HistoryQuery(limit=ALL))
    views["history"] = sorted((each.id, each.version, each.type, str(each.subject), each.data) for each in history)
    return views


# One long story, told once: what a day brings


async def tell() -> list[Record]:
    """Everything that the events of a busy system hold, as they lie on the log."""
    world = World()
    await world.start()
    number = 100

    async def say(subject: Key, *commands: Command, **about: Any) -> None:
        nonlocal number
        for command in commands:
            number += 1
            await world.send(subject, command, id=ident(number), **about)

    for name in ("h1", "h2"):
        await world.host(name)
    await say(host_key("h2"), DisableHost(why="disk"), SuspectHost(), SuspectHost())
    small = CreateFlavor(name="small", core=1, memory=1 << 30)
    flavor = Key("flavor", ident(60))
    await say(flavor, small, small, UpdateFlavor(core=2), UpdateFlavor(core=2), DeleteFlavor(), small)
    await say(Key("flavor", heir_of(flavor.id)), small)
    image = CreateImage(name="tiny", checksum="0" * 64, format="qcow2", size=1, virtual_size=1)
    await say(Key("image", ident(61)), image, DeleteImage())
    hook = CreateWebhook(name="h", url="http://h", wanted=Wanted(types=("a", "b")), begins=(1,), secret_ref="s")
    await say(Key("webhook", ident(63)), hook, DisableWebhook(reason="r", turn=1))
    await say(Key("keypair", ident(62)), CreateKeypair(name="k", public_key="x", fingerprint="y"), DeleteKeypair())
    address = Key("floating-ip", ident(64))
    leading = AssociateFloatingIp(port_id="p", network_id=ident(99), ip="10.0.0.2")
    await say(address, CreateFloatingIp(name="192.0.2.1"), leading, DeleteFloatingIp(), DisassociateFloatingIp())
    pool = Key("pool", named_id("pool", "nfs"))
    await say(pool, CreatePool(name="nfs", path="/srv/nfs"), DrainPool(), DeletePool())
    zone = Key("zone", named_id("zone", "z"))
    await say(zone, CreateZone(name="z"), DeleteZone(), CreateZone(name="z"))
    await say(Key("zone", heir_of(zone.id)), CreateZone(name="z"))
    await say(LAN, CreateNetwork(name="lan", cidr="10.0.0.0/28", segment=1))
    kept = CreatePort(port_id=ident(70), name="vip")
    await say(LAN, kept, DeletePort(port_id=ident(70)), kept, DeleteNetwork())
    await say(Key("network", ident(98)), CreateNetwork(name="dmz", cidr="10.1.0.0/28", segment=2), DeleteNetwork())
    await say(instance_key(1), boot_command(), UpdateInstance(name="other"), StopInstance(), StartInstance())
    observed = GuestObserved(host_id=host_key("h1").id, epoch=1, power=Power.SHUTDOWN)
    await world.log.publish([report(observed, instance_key(1), 1)])
    await world.settle()
    await say(instance_key(1), DeleteInstance(), RestoreInstance(), HardDeleteInstance(), StopInstance())
    for which, job, error in ((2, "DefineGuest", REFUSES), (3, "StartGuest", FAILS), (4, "PrepareImage", FAILS)):
        world.agents.failures = {job: error}
        await say(instance_key(which), boot_command(name=f"unlucky{which}"))
    world.agents.failures = {}
    await say(host_key("h2"), EnableHost(), HearHost())
    await say(instance_key(8), boot_command(), MigrateInstance())
    await say(host_key("h2"), DisableHost(why="disk"), SuspectHost())
    world.stopped = {"scheduler"}
    await say(instance_key(5), boot_command(), CancelTask(task_id=ident(number + 1)))
    await say(instance_key(6), boot_command(), HardDeleteInstance())
    world.stopped = set()
    await world.settle()
    await say(instance_key(7), boot_command(), DeleteInstance(keep_for=60))
    await world.pass_time(61)
    for which, event in enumerate(
        (AggregateParked(why="boom", place="p"), AggregateReleased(why="boom"), AggregateParked(why="again", place="q"))
    ):
        command = ident(9600 + which)
        about = Envelope(ident(9500 + which), event, instance_key(2), world.clock(), "test", command, command)
        await world.log.publish([to_record(about, Topic.EVENTS)])
    made = {from_record(record).subject.kind for record in world.log.all(Topic.EVENTS)}
    for which, kind in enumerate(each for each in AGGREGATES.values() if each.create and each.name not in made):
        assert kind.create is not None
        await say(Key(kind.name, ident(200 + which)), sample(kind.create))
    await world.settle()
    return world.log.all(Topic.EVENTS)


def report(message: Message, subject: Key, number: int) -> Record:
    """What a host says."""
    envelope = Envelope(ident(9000 + number), message, subject, START, "test", "c")
    return to_record(envelope, Topic.RESULTS)


@dataclass(frozen=True)
class Told:
    """The story, and what is to be read when all of it was projected in one batch; too long to be printed."""

    story: list[Record] = field(repr=False)
    expected: dict[str, Any] = field(repr=False)


@pytest.fixture(scope="module")
def story() -> list[Record]:
    with asyncio.Runner() as runner:
        return runner.run(tell())


@pytest.fixture(scope="module")
def expected(story: list[Record]) -> dict[str, Any]:
    async def read() -> dict[str, Any]:
        store = MemoryStore()
        await project(store, story)
        return await whole(store)

    with asyncio.Runner() as runner:
        return runner.run(read())


@pytest.fixture(scope="module")
def told(story: list[Record], expected: dict[str, Any]) -> Told:
    return Told(story, expected)


def states(story: list[Record]) -> dict[Key, tuple[int, Any]]:
    """Each aggregate as its events make it."""
    found: dict[Key, tuple[int, Any]] = {}
    for record in story:
        envelope = from_record(record)
        if envelope.aggversion is not None:
            key = envelope.subject
            before = found[key][1] if key in found else None
            assert isinstance(envelope.data, Event)
            found[key] = (envelope.aggversion, AGGREGATES[key.kind].evolve(before, envelope.data, key.id))
    return found


def test_the_story_tells_of_every_view(expected: dict[str, Any]) -> None:
    assert all(expected[name] for name, view in VIEWS.items() if view.kinds != {"dead"}), (
        "that one is no topic of events"
    )
    assert {each["status"] for each in expected["tasks"]} == {"finished", "failed", "cancelled"}
    assert {each["status"] for each in expected["jobs"]} == {"finished", "failed", "skipped"}
    assert {each["verdict"] for each in expected["verdicts"]} == {"accepted", "already", "refused"}
    assert len(expected["history"]) > 150


async def test_rows_say_what_the_states_say(story: list[Record], expected: dict[str, Any]) -> None:
    docs = {view: {doc["id"]: doc for doc in expected[view]} for view in VIEWS}
    for key, (version, state) in states(story).items():
        view = {"instance": "instances", "host": "hosts", "network": "networks"}.get(key.kind, f"{key.kind}s")
        doc = docs[view].pop(key.id)
        assert (doc["name"], doc["version"]) == (state.name, version)
        match state:
            case Instance():
                assert (doc["status"], doc["vm_state"], doc["power"]) == (status(state), state.vm_state, state.power)
                assert doc["host"] == (state.host and {"id": state.host.id, "name": state.host.name, "epoch": 1})
                fault = doc["fault"] and {name: doc["fault"][name] for name in Fault.model_fields}
                assert fault == (state.fault and state.fault.model_dump())
                assert state.fault is None or "gs instance delete" in doc["fault"]["hint"]
                assert doc["addresses"] == [nic.ip for nic in state.nics if nic.ip]
                assert doc["task"] is None
            case Host():
                assert doc["instances"] == sum(claim.holder_kind == "instance" for claim in state.claims.values())
                for resource in ("vcpus", "memory", "disk"):
                    total = getattr(state.inventory, resource)
                    assert doc[resource] == {"total": total, "used": state.used()[resource]}
                assert (doc["status"], doc["health"]) == ("enabled" if state.enabled else "disabled", state.health)
            case Network():
                assert (doc["cidr"], doc["ports"], doc["segment"]) == (state.cidr, len(state.ports), state.segment)
            case Webhook():
                assert (doc["url"], doc["wanted"]) == (state.url, state.wanted.model_dump(mode="json"))
                assert (doc["status"], doc["reason"]) == ("enabled" if state.enabled else "disabled", state.reason)
                assert not doc.keys() & {"secret_ref", "old_secret_ref"}
            case _:
                of_tasks = OF_TASKS | OF_PLACES if isinstance(state, TaskSubject) else frozenset()
                left_out = {"project", *AGGREGATES[key.kind].hidden, *of_tasks}
                rest = state.model_dump(mode="json", exclude=left_out)
                if fault := rest.get("fault"):
                    rest["fault"] = {**fault, "hint": doc["fault"]["hint"]}
                assert {name: doc[name] for name in rest} == rest
    assert not any(docs[view] for view in ("instances", "hosts", "networks", "flavors", "images", "keypairs", "zones"))


def test_a_view_that_names_events_has_nothing_to_say_of_others(story: list[Record]) -> None:
    found: dict[Key, Any] = {}
    for record in story:
        envelope = from_record(record)
        event, key, before = envelope.data, envelope.subject, found.get(envelope.subject)
        assert isinstance(event, Event)
        if envelope.aggversion is not None:
            found[key] = AGGREGATES[key.kind].evolve(before, event, key.id)
        change = Change(envelope, before, found.get(key), ("t", 0, 0))
        for view in VIEWS.values():
            if key.kind in view.kinds and view.events and type(event) not in view.events:
                assert [*view.rows(change), *view.gone(change)] == [], (view.name, event)


async def test_a_fixed_column_has_the_same_for_ever(story: list[Record]) -> None:
    first: dict[tuple[str, str, str], Any] = {}
    store = MemoryStore()
    for record in story:
        await project(store, [record])
        for name, view in VIEWS.items():
            for row in store._rows[name].values():
                for column in view.columns:
                    if column.fixed:
                        was = first.setdefault((name, row.id, column.name), row.columns[column.name])
                        assert row.columns[column.name] == was, (name, column)
    assert {column for _, _, column in first} >= {"project", "flavor_id", "image_id"}


async def test_rows_are_found_by_columns_that_say_what_the_documents_say(story: list[Record]) -> None:
    store = MemoryStore()
    await project(store, story)
    (deleted,) = await store.find("instances", "other", {"deleted": True})
    assert orjson.loads(deleted.doc)["vm_state"] == "deleted"
    (small,) = await store.find("flavors", "small", {"deleted": False})
    assert small.version == 1
    (disabled,) = await store.find("hosts", "h2", {"enabled": False, "health": "suspect"})
    assert disabled.id == host_key("h2").id


async def test_every_event_is_history_once_with_who_and_why(story: list[Record], expected: dict[str, Any]) -> None:
    assert [each[0] for each in expected["history"]] == sorted(from_record(record).id for record in story)
    store = MemoryStore()
    await project(store, story)
    for record in story:
        envelope = from_record(record)
        entry = await store.event(envelope.id)
        assert entry is not None
        assert (entry.subject, entry.version, entry.time) == (envelope.subject, envelope.aggversion or 0, envelope.time)
        assert (entry.causation, entry.correlation, entry.actor) == (
            envelope.causation,
            envelope.correlation,
            envelope.actor,
        )
        assert (entry.partition, entry.offset, entry.data) == (record.partition, record.offset, record.value)


@settings(max_examples=15, deadline=None, database=None, print_blob=True)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 120), twice=st.integers(0, 30), restarts=st.integers(0, 4))
async def test_read_models_are_the_same_however_the_events_come(
    told: Told, seed: int, size: int, twice: int, restarts: int
) -> None:
    """Partitions interleaved anyhow, cut into any batches, some records published again later, projectors replaced."""
    random = Random(seed)
    partitions: dict[int | None, deque[Record]] = {}
    for record in told.story:
        partitions.setdefault(record.partition, deque()).append(record)
    mixed: list[Record] = []
    while partitions:
        number = random.choice(sorted(partitions, key=str))
        mixed.append(partitions[number].popleft())
        if not partitions[number]:
            del partitions[number]
    for _ in range(twice):
        first = random.randrange(len(mixed))
        mixed.insert(random.randrange(first, len(mixed)) + 1, mixed[first])
    mixed = numbered(mixed)
    batches = []
    start = 0
    while start < len(mixed):
        end = start + random.randint(1, size)
        batches.append(mixed[start:end])
        start = end
    store = MemoryStore()
    share = len(batches) // (restarts + 1) + 1
    for start in range(0, len(batches), share):
        await project(store, *batches[start : start + share])
    assert await whole(store) == told.expected


# Versions


SMALL = Key("flavor", ident(1))


def flavor_events(count: int) -> list[Record]:
    """A flavor that is made and changed: as many facts, core is their number."""
    made = FlavorCreated(name="small", core=1, memory=1, mode="prefer", multi_queue=0, policy="Default", at=START)
    changes = [FlavorUpdated(at=START, core=number) for number in range(2, count + 1)]
    return [fact(each, number + 1, SMALL, number) for number, each in enumerate([made, *changes])]


async def test_a_batch_that_comes_again_changes_nothing() -> None:
    store = MemoryStore()
    events = flavor_events(4)
    await project(store, events)
    before = await whole(store)
    again = [replace(each, offset=each.offset + 4) for each in events]
    await project(store, again, [replace(each, offset=each.offset + 8) for each in events])
    assert await whole(store) == before
    assert (await document(store, "flavors", SMALL.id))["core"] == 4


async def test_a_gap_in_the_versions_stops_the_projector_and_nothing_of_the_batch_is_kept() -> None:
    store = MemoryStore()
    first, second, third, fourth = flavor_events(4)
    await project(store, [first])
    with pytest.raises(VersionGap, match="version 4 follows 2"):
        await project(store, numbered([first, second, fourth])[1:], [third])
    assert (await document(store, "flavors", SMALL.id))["version"] == 1
    assert len(await store.history(HistoryQuery())) == 1
    assert await store.positions([TopicPartition(Topic.EVENTS, 0)]) == {TopicPartition(Topic.EVENTS, 0): 1}


async def test_a_first_event_that_is_none_is_a_gap() -> None:
    with pytest.raises(VersionGap, match="version 2 follows 0"):
        await project(MemoryStore(), flavor_events(2)[1:])


async def test_a_record_that_cannot_be_read_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    first, second = flavor_events(2)
    nonsense = [
        Record(Topic.EVENTS, b"k", b"\xff", (), 0),
        Record(Topic.EVENTS, b"k", b"{}", (("ce_type", b"\xff"),), 0),
    ]
    await project(store, numbered([nonsense[0], first, nonsense[1], second]))
    assert (await document(store, "flavors", SMALL.id))["core"] == 2
    assert [each.levelname for each in caplog.records] == ["ERROR", "ERROR"]
    assert await store.positions([TopicPartition(Topic.EVENTS, 0)]) == {TopicPartition(Topic.EVENTS, 0): 4}


async def test_a_projector_goes_on_where_another_left_off(story: list[Record], expected: dict[str, Any]) -> None:
    log, store = MemoryLog(), MemoryStore()
    half = len(story) // 2
    for records in (story[:half], story[half:]):
        await log.publish([replace(each, offset=-1) for each in records])
        looks = iter([False, True])
        await Projector(log, store).run(lambda looks=looks: next(looks))  # type: ignore[misc]
    assert await whole(store) == expected


async def test_a_projector_whose_positions_another_moved_stops() -> None:
    store = MemoryStore()
    first, second = flavor_events(2)
    script = Script([[first], [second]])

    async def other() -> None:
        await project(store, [first, second])

    class Slow(Projector):
        async def apply(self, records: Sequence[Record]) -> None:
            await other()
            await super().apply(records)

    with pytest.raises(NotMoved):
        await Slow(script, store).run(lambda: script.over)
    assert (await document(store, "flavors", SMALL.id))["version"] == 2


async def test_a_store_that_fails_once_is_no_reason_to_skip_an_event() -> None:
    class Failing(MemoryStore):
        fails = True

        async def apply(self, batch: Any) -> None:
            if self.fails:
                self.fails = False
                raise ConnectionError
            await super().apply(batch)

    store = Failing()
    script = Script([flavor_events(2), flavor_events(2)])
    projector = Projector(script, store)
    with pytest.raises(ConnectionError):
        await projector.run(lambda: script.over)
    await projector.run(lambda: script.over)
    assert (await document(store, "flavors", SMALL.id))["version"] == 2


async def test_a_port_that_is_made_gone_and_made_again_in_one_batch_is_there() -> None:
    world = World()
    await world.start()
    await world.send(LAN, CreateNetwork(name="lan", cidr="10.0.0.0/28", segment=1))
    port = CreatePort(port_id=ident(70))
    for command in (port, DeletePort(port_id=port.port_id), port):
        await world.send(LAN, command)
    events = world.log.all(Topic.EVENTS)
    for batches in ([events], [[each] for each in events]):
        store = MemoryStore()
        await project(store, *batches)
        assert (await document(store, "ports", port.port_id))["ip"] == "10.0.0.3"
        assert await store.count("ports") == 1


async def test_the_ports_of_a_network_that_gets_an_ipv6_range_have_addresses_in_it() -> None:
    world = World()
    await world.start()
    await world.send(LAN, CreateNetwork(name="lan", cidr="10.0.0.0/28", segment=1))
    for command in (
        CreatePort(port_id=ident(70)),
        CreatePort(port_id=ident(71)),
        UpdateNetwork(cidr6="fd00:1::/64"),
        DeletePort(port_id=ident(71)),
        UpdateNetwork(name="wan"),
        UpdatePort(port_id=ident(70), name="db"),
        CreatePort(port_id=ident(72)),
    ):
        await world.send(LAN, command)
    events = world.log.all(Topic.EVENTS)
    for batches in ([events], [events[:-3], events[-3:]], [[each] for each in events]):
        store = MemoryStore()
        await project(store, *batches)
        for port in (ident(70), ident(72)):
            assert (await document(store, "ports", port))["ip6"].startswith("fd00:1::"), port
        assert (await document(store, "ports", ident(70)))["name"] == "db"
        assert await store.count("ports") == 2


# Verdicts


@pytest.fixture
async def world() -> World:
    made = World()
    await made.start()
    await made.host()
    await made.send(LAN, CreateNetwork(name="lan", cidr="10.0.0.0/24", segment=1))
    return made


async def test_a_verdict_says_what_a_command_was_answered(world: World) -> None:
    small = CreateFlavor(name="small", core=1, memory=1)
    accepted = await world.send(SMALL, small, fingerprint="f", actor="alice", project="p")
    assert (accepted["verdict"], accepted["task_id"], accepted["subject"]) == ("accepted", None, str(SMALL))
    assert (accepted["fingerprint"], accepted["actor"], accepted["project_id"]) == ("f", "alice", "p")
    refused = await world.send(SMALL, small)
    assert (refused["verdict"], refused["code"], refused["values"]) == (
        "refused",
        "already-exists",
        {"kind": "flavor", "id": "small"},
    )
    assert refused["message"] == "The flavor small exists already."
    assert "another name" in refused["hint"]
    already = await world.send(SMALL, UpdateFlavor(core=1))
    assert (already["verdict"], already["code"], already["task_id"]) == ("already", None, None)
    assert already["message"] == "flavor small is as requested already; nothing was changed"


async def test_a_verdict_names_the_task_that_a_command_became(world: World) -> None:
    booted = await world.send(instance_key(), boot_command(), id=ident(100))
    assert (booted["id"], booted["task_id"]) == (ident(100), ident(100))
    stopped = await world.send(instance_key(), StopInstance(), id=ident(101))
    assert stopped["task_id"] == ident(101)
    updated = await world.send(instance_key(), UpdateInstance(name="x"))
    assert updated["task_id"] is None
    again = await world.send(instance_key(), StopInstance())
    assert (again["verdict"], again["task_id"]) == ("already", None)


# Tasks and jobs


async def job_statuses(world: World) -> dict[str, str]:
    """Job name -> status, in the order of the plan and its undoing."""
    page = await world.store.page("jobs", Query(limit=ALL))
    docs = [orjson.loads(doc) for doc in page.docs]
    return {doc["name"]: doc["status"] for doc in docs}


async def jobs(world: World) -> dict[str, dict[str, Any]]:
    page = await world.store.page("jobs", Query(limit=ALL))
    return {doc["name"]: doc for doc in map(orjson.loads, page.docs)}


async def test_a_boots_task_and_jobs_are_followed_to_the_end(world: World) -> None:
    world.stopped = {"scheduler"}
    boot = world.send(instance_key(), boot_command(), id=ident(100))
    verdict = await boot
    assert verdict["verdict"] == "accepted"
    task = await world.document("tasks", ident(100))
    assert (task["status"], task["step"], task["steps_done"], task["steps"]) == ("running", "Place", 0, STEPS)
    assert (task["action"], task["instance_id"], task["instance_name"]) == ("boot", ident(1), "web")
    assert (task["attempt"], task["finished"], task["fault"]) == (1, None, None)
    assert task["deadline"] > task["accepted"]
    assert await job_statuses(world) == {"Place": "dispatched"}
    assert (await world.document("instances", ident(1)))["task"] == {
        "id": ident(100),
        "action": "boot",
        "step": "Place",
    }
    world.stopped = {"agents"}
    await world.settle()
    task = await world.document("tasks", ident(100))
    assert (task["status"], task["step"], task["steps_done"]) == ("running", "PrepareImage", 2)
    sent = dict.fromkeys(STEPS[2:], "dispatched")
    assert await job_statuses(world) == {"Place": "finished", "BindPort": "finished"} | sent
    started = JobStarted(task_id=ident(100), dispatch_id=await dispatch_id(world), job_id="j", name="WriteConfigDrive")
    await world.log.publish([report(started, instance_key(), 2)])
    await world.settle()
    assert (await job_statuses(world))["WriteConfigDrive"] == "started"
    assert (await world.document("tasks", ident(100)))["step"] == "WriteConfigDrive"
    world.stopped = set()
    await world.settle()
    task = await world.document("tasks", ident(100))
    assert (task["status"], task["step"], task["steps_done"]) == ("finished", "", len(STEPS))
    assert task["finished"] > task["accepted"]
    found = await jobs(world)
    assert {name: doc["status"] for name, doc in found.items()} == dict.fromkeys(STEPS, "finished")
    assert {doc["task_id"] for doc in found.values()} == {ident(100)}
    host = host_key("h1").id
    assert {name: doc["host_id"] for name, doc in found.items()} == {
        name: "" if name in ("Place", "BindPort") else host for name in STEPS
    }
    assert all(doc["finished"] >= doc["dispatched"] for doc in found.values())
    assert found["BindPort"]["args"] == {"nic": 0}


async def dispatch_id(world: World) -> str:
    """What is on its way to the host."""
    (record,) = world.log.all(Topic.JOBS)
    found: str = orjson.loads(record.value)["dispatch_id"]
    return found


@pytest.mark.parametrize("error", [FAILS, REFUSES], ids=["tried again", "refused"])
async def test_a_failed_boots_task_and_jobs_say_where_and_what_was_undone(world: World, error: JobError) -> None:
    world.agents.failures = {"DefineGuest": error}
    await world.send(instance_key(), boot_command(), id=ident(100))
    task = await world.document("tasks", ident(100))
    assert (task["status"], task["fault"]["code"], task["fault"]["step"]) == ("failed", "job-failed", "DefineGuest")
    assert (task["undo_fault"], task["step"], task["deadline"]) == (None, "", None)
    found = await jobs(world)
    forward = {name: doc["status"] for name, doc in found.items() if doc["direction"] == "forward"}
    assert forward == dict.fromkeys(STEPS[:6], "finished") | {"DefineGuest": "failed", "StartGuest": "skipped"}
    assert found["DefineGuest"]["fault"]["message"] == "out of luck"
    assert found["StartGuest"]["fault"] is None
    assert found["DefineGuest"]["attempt"] == (2 if error.ran else 1)
    undone = {name: doc["status"] for name, doc in found.items() if doc["direction"] == "undo"}
    names = ["UnplugPorts", "DeleteDisk", "UnbindPort", "Release"] + (["UndefineGuest"] if error.ran else [])
    assert undone == dict.fromkeys(names, "finished")


async def test_an_undo_that_fails_is_seen_at_its_job_and_at_the_task(world: World) -> None:
    world.agents.failures = {"StartGuest": FAILS, "UnplugPorts": FAILS}
    await world.send(instance_key(), boot_command(), id=ident(100))
    task = await world.document("tasks", ident(100))
    assert (task["status"], task["fault"]["step"], task["undo_fault"]["step"]) == (
        "failed",
        "StartGuest",
        "UnplugPorts",
    )
    undone = {name: doc["status"] for name, doc in (await jobs(world)).items() if doc["direction"] == "undo"}
    assert (undone.pop("UndefineGuest"), undone.pop("UnplugPorts")) == ("finished", "failed")
    assert set(undone.values()) <= {"skipped"}


async def test_a_task_that_is_being_undone_says_so(world: World) -> None:
    world.agents.failures = {"CreateDisk": FAILS}
    world.agents.silent = {"DeleteDisk"}
    await world.send(instance_key(), boot_command(), id=ident(100))
    task = await world.document("tasks", ident(100))
    assert (task["status"], task["step"], task["fault"]["step"]) == ("undoing", "DeleteDisk", "CreateDisk")
    assert (await job_statuses(world))["DeleteDisk"] == "dispatched"
    assert (await world.document("instances", ident(1)))["status"] == "building"


async def test_a_cancelled_task_is_cancelling_and_then_cancelled(world: World) -> None:
    world.stopped = {"scheduler"}
    await world.send(instance_key(), boot_command(), id=ident(100))
    await world.send(instance_key(), CancelTask(task_id=ident(100)), actor="bob")
    task = await world.document("tasks", ident(100))
    assert (task["status"], task["cancelled_by"]) == ("cancelling", "bob")
    world.stopped = set()
    await world.settle()
    task = await world.document("tasks", ident(100))
    assert (task["status"], task["fault"]["code"]) == ("cancelled", "cancelled")
    assert await job_statuses(world) == {"Place": "finished", "Release": "finished"}
    assert (await world.document("instances", ident(1)))["host"] is None


async def test_a_task_that_waits_for_another_to_be_undone_is_queued(world: World) -> None:
    world.stopped = {"scheduler"}
    await world.send(instance_key(), boot_command(), id=ident(100))
    await world.send(instance_key(), HardDeleteInstance(), id=ident(101))
    assert (await world.document("tasks", ident(101)))["status"] == "queued"
    assert (await world.document("tasks", ident(100)))["status"] == "cancelling"
    world.stopped = set()
    await world.settle()
    assert (await world.document("tasks", ident(100)))["status"] == "cancelled"
    assert (await world.document("tasks", ident(101)))["status"] == "finished"
    assert (await world.document("instances", ident(1)))["status"] == "deleted"


async def test_a_task_that_nobody_works_on_is_tried_again_and_fails(world: World) -> None:
    world.agents.silent = {"StopGuest"}
    await world.send(instance_key(), boot_command())
    await world.send(instance_key(), StopInstance(), id=ident(101))
    await world.pass_time(200)
    task = await world.document("tasks", ident(101))
    assert (task["status"], task["attempt"]) == ("running", 2)
    assert (await jobs(world))["StopGuest"]["attempt"] == 2
    await world.pass_time(200)
    world.agents.silent = set()
    task = await world.document("tasks", ident(101))
    assert (task["status"], task["fault"]["code"]) == ("failed", "deadline-passed")
    assert (await jobs(world))["StopGuest"]["status"] == "failed"


async def test_an_instance_that_is_deleted_stays_to_be_read(world: World) -> None:
    await world.send(instance_key(), boot_command())
    before = await world.document("instances", ident(1))
    assert before["addresses"] == ["10.0.0.2"]
    await world.send(instance_key(), HardDeleteInstance())
    after = await world.document("instances", ident(1))
    assert (after["status"], after["addresses"], after["host"]) == ("deleted", [], None)
    assert after["deleted"] is not None
    assert await world.store.find("instances", "web", {"deleted": False}) == []
    assert after["version"] > before["version"]
