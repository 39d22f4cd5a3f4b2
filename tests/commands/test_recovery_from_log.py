"""An empty database is filled from the log: what was known is known again, and nothing is decided twice."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from cli.check import END_OF_TIME, EVERYTHING, KINDS, TOPICS
from commands.engine import EngineRules
from commands.recovery.from_log import DatabaseNotEmpty, LogIncomplete, ProcessorShare, RefillResult, refill
from commands.rules import CachedAggregate, restored
from commands.startup_guard import DatabaseLost, refuse_lost_database
from commands.timers import Timers
from domain.core.messages import (
    Command,
    Decision,
    Envelope,
    Key,
    Record,
    Topic,
    from_record,
    to_record,
)
from domain.instance import decider
from domain.instance.actions.lifecycle.delete import DeleteInstance
from domain.instance.actions.power.start import StartInstance
from domain.instance.actions.power.stop import StopInstance
from domain.instance.state import Instance, VmState
from domain.network.messages import CreateNetwork
from domain.parking import ReleaseAggregate
from infra.db.memory import MemoryWriteStore
from infra.db.write_store import Due
from infra.log.log import TopicPartition
from infra.log.memory import MemoryLog
from infra.secrets.segments import MemorySegments
from tests.domain.instances import NETWORK, boot_command
from tests.harness.world import World


def instance(number: int) -> Key:
    return Key("instance", str(uuid.UUID(int=number)))


WEB, OLD, LATE = instance(1), instance(2), instance(3)


@pytest.fixture
async def world() -> World:
    """Instances that run, are gone, and are under way; commands that were accepted, needless and refused."""
    made = World()
    await made.start()
    for name in ("h1", "h2"):
        await made.host(name)
    await made.send(Key("network", NETWORK), CreateNetwork(name="lan", cidr="10.0.0.0/28", segment=7))
    for key in (WEB, OLD):
        await made.send(key, boot_command(name=f"i{key.id[-1]}"))
    await made.send(OLD, DeleteInstance())
    await made.send(WEB, boot_command())
    await made.send(WEB, StopInstance())
    await made.send(WEB, StopInstance())
    made.agents.silent.add("DefineGuest")
    await made.send(LATE, boot_command(name="late"))
    return made


async def known(write_store: MemoryWriteStore, name: str) -> tuple[dict[Key, CachedAggregate], dict[Key, Due]]:
    rules = EngineRules()
    entries = {}
    for kind in KINDS[name]:
        for key, row in (await write_store.all(kind)).items():
            found = restored(rules, key, row)
            entries[key] = CachedAggregate(found.version, found.state)
    return entries, {due.key: due for due in await write_store.due(END_OF_TIME, EVERYTHING)}


async def lose_database(world: World) -> RefillResult:
    """All that engine, scheduler and API had in the database is gone, and made again from the log."""
    world.engine_write_store, world.scheduler_write_store = (
        MemoryWriteStore(lambda: world.now),
        MemoryWriteStore(lambda: world.now),
    )
    world.segments = MemorySegments()
    world.timers = Timers(world.engine_write_store, world.log, world.clock, inbox_keep=86400.0)
    done = await refill(world.log, parts(world), world.segments, world.now)
    await world.start()
    return done


def parts(world: World) -> list[ProcessorShare]:
    write_stores = {"engine": world.engine_write_store, "scheduler": world.scheduler_write_store}
    return [ProcessorShare(write_store, KINDS[name], TOPICS[name]) for name, write_store in write_stores.items()]


def size(world: World) -> int:
    return sum(len(world.log.all(topic)) for topic in Topic)


async def state(world: World, key: Key) -> Instance:
    return Instance.model_validate_json((await world.engine_write_store.all("instance"))[key].state)


async def test_what_was_known_is_known_again(world: World) -> None:
    before = [await known(world.engine_write_store, "engine"), await known(world.scheduler_write_store, "scheduler")]
    assert LATE in before[0][1]
    done = await lose_database(world)
    assert before == [
        await known(world.engine_write_store, "engine"),
        await known(world.scheduler_write_store, "scheduler"),
    ]
    assert (done.undecided, done.halves) == (0, [])


async def test_nothing_is_decided_twice(world: World) -> None:
    before = size(world)
    await lose_database(world)
    await world.settle()
    assert size(world) == before


async def test_what_waited_is_decided_once(world: World) -> None:
    world.stopped.add("engine")
    await world.log.publish([to_record(command(WEB, world), Topic.COMMANDS)])
    assert (await lose_database(world)).undecided == 1
    world.stopped.clear()
    await world.settle()
    assert (await state(world, WEB)).vm_state is VmState.SOFT_DELETED
    events = len(world.events(WEB))
    await lose_database(world)
    await world.settle()
    assert len(world.events(WEB)) == events


def command(key: Key, world: World) -> Envelope:
    ident = str(uuid.uuid4())
    return Envelope(
        id=ident,
        data=DeleteInstance(),
        subject=key,
        time=world.clock(),
        source="test",
        correlation=ident,
        actor="admin",
        project="admin",
    )


async def test_a_command_that_comes_again_is_known(world: World) -> None:
    again = next(each for each in world.log.all(Topic.COMMANDS) if b"delete" in dict(each.headers)["ce_type"])
    await lose_database(world)
    events = len(world.events())
    await world.log.publish([Record(again.topic, again.key, again.value, again.headers)])
    await world.settle()
    assert len(world.events()) == events


async def test_life_goes_on(world: World) -> None:
    await lose_database(world)
    await world.answer_late()
    world.agents.silent.clear()
    await world.settle()
    assert (await state(world, LATE)).vm_state is VmState.ACTIVE
    await world.send(instance(4), boot_command(name="next"))
    assert (await state(world, instance(4))).vm_state is VmState.ACTIVE


async def test_segments_go_on_past_the_highest(world: World) -> None:
    await lose_database(world)
    assert await world.segments.next() == 8


class Cut(MemoryLog):
    """A log that the last step's messages of some topics do not reach."""

    lost: frozenset[Topic] = frozenset()

    async def publish(self, records: Sequence[Record]) -> None:
        await super().publish([each for each in records if each.topic not in self.lost])


@pytest.mark.parametrize("lost", [Topic.JOBS, Topic.SCHEDULING, Topic.RESULTS])
async def test_messages_that_were_lost_with_the_database_lead_to_an_end(lost: Topic) -> None:
    world = World()
    world.log = log = Cut()
    world.timers = Timers(world.engine_write_store, log, world.clock, inbox_keep=86400.0)
    await world.start()
    await world.host()
    await world.send(Key("network", NETWORK), CreateNetwork(name="lan", cidr="10.0.0.0/28", segment=7))
    log.lost = frozenset({lost})
    await world.send(WEB, boot_command())
    log.lost = frozenset()
    assert (await state(world, WEB)).task
    await lose_database(world)
    for _ in range(50):
        await world.pass_time(120)
        if (await state(world, WEB)).task is None:
            break
    ended = await state(world, WEB)
    assert (ended.task, ended.vm_state) == (None, VmState.ACTIVE)


async def test_a_command_whose_verdict_was_lost_is_decided_now(world: World) -> None:
    """The last step had two commands of one partition; only what followed from the second came onto the log."""
    partition = next(each.partition for each in world.log.all(Topic.COMMANDS) if each.key == WEB.id.encode())
    first, second = (
        Record(Topic.COMMANDS, each.key, each.value, each.headers, partition)
        for each in (to_record(command(key, world), Topic.COMMANDS) for key in (LATE, WEB))
    )
    kept = world.log.publish

    async def without_the_first(records: Sequence[Record]) -> None:
        await kept([each for each in records if dict(each.headers).get("ce_causationid") != ident(first)])

    await kept([first, second])
    world.log.publish = without_the_first  # type: ignore[method-assign]
    world.stopped = {"agents"}
    await world.settle()
    world.log.publish = kept  # type: ignore[method-assign]
    await lose_database(world)
    await world.settle()
    verdicts = [from_record(each) for each in world.log.all(Topic.EVENTS)]
    for each in (first, second):
        assert len([event for event in verdicts if event.verdict and event.causation.encode() == ident(each)]) == 1


def ident(record: Record) -> bytes:
    return dict(record.headers)["ce_id"]


async def test_a_database_that_is_not_empty_is_left_alone(world: World) -> None:
    before = await known(world.engine_write_store, "engine")
    with pytest.raises(DatabaseNotEmpty, match="not empty"):
        await refill(world.log, parts(world), world.segments, world.now)
    assert await known(world.engine_write_store, "engine") == before


async def test_a_log_without_one_of_its_events_is_refused(world: World) -> None:
    for number in range(12):
        held = world.log._records[TopicPartition(Topic.EVENTS, number)]
        mine = [each for each in held if each.key == WEB.id.encode()]
        if mine:
            held.remove(mine[1])
    with pytest.raises(LogIncomplete, match="version 3 follows 1"):
        await lose_database(world)


@contextmanager
def broken(command: type[Command]) -> Iterator[None]:
    """Deciding on this command fails as it should not."""
    decide = decider.decide

    def fails(now: Instance | None, envelope: Envelope) -> Decision:
        if isinstance(envelope.data, command):
            raise ZeroDivisionError("boom")
        return decide(now, envelope)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(decider, "decide", fails)
        yield


async def test_what_is_parked_stays_parked(world: World) -> None:
    with broken(StartInstance):
        await world.send(WEB, StartInstance())
    with broken(StopInstance):
        await world.send(LATE, StopInstance())
    await world.send(LATE, ReleaseAggregate())
    before = await world.engine_write_store.parked()
    assert before == {WEB: "ZeroDivisionError: boom"}
    done = await lose_database(world)
    assert (await world.engine_write_store.parked(), await world.scheduler_write_store.parked()) == (before, {})
    assert done.parked == 1
    assert (await world.send(WEB, StartInstance()))["code"] == "parked"
    await world.send(WEB, ReleaseAggregate())
    await lose_database(world)
    assert await world.engine_write_store.parked() == {}
    assert (await world.send(WEB, StartInstance()))["verdict"] == "accepted"


async def test_parking_that_was_published_twice_counts_once(world: World) -> None:
    with broken(StartInstance):
        await world.send(WEB, StartInstance())
    await world.send(WEB, ReleaseAggregate())
    parked = next(each for each in world.log.all(Topic.EVENTS) if b"aggregate-parked" in dict(each.headers)["ce_type"])
    await world.log.publish([parked])
    await lose_database(world)
    assert await world.engine_write_store.parked() == {}


@pytest.mark.parametrize("name", ["engine", "scheduler"])
async def test_nobody_decides_on_an_empty_database_beside_a_log_that_is_not(world: World, name: str) -> None:
    setattr(world, f"{name}_write_store", MemoryWriteStore())
    before = size(world)
    with pytest.raises(DatabaseLost, match=f"is a decision of gostack/{name}.*gostack db refill"):
        await world.start()
    assert size(world) == before


async def test_a_first_worker_finds_an_empty_database_and_begins() -> None:
    world = World()
    world.stopped.add("engine")
    await world.start()
    await world.host()
    assert world.events()
    assert await world.engine_write_store.empty()
    await world.start()
    world.stopped.clear()
    await world.send(Key("network", NETWORK), CreateNetwork(name="lan", cidr="10.0.0.0/28", segment=7))
    assert world.events(Key("network", NETWORK))


class Behind(MemoryWriteStore):
    """Empty when it is first looked at; by the second look another worker has begun."""

    looks = 0

    async def empty(self) -> bool:
        self.looks += 1
        return self.looks == 1


async def test_a_worker_that_another_was_quicker_than_begins(world: World) -> None:
    world.engine_write_store = Behind()
    await refuse_lost_database(world.log, world.engine_write_store, "gostack/engine")
    assert world.engine_write_store.looks > 1
