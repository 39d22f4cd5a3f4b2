"""A world goes on when its log was archived and restored, with the database that it had or with an empty one."""

import uuid
from pathlib import Path

import pytest

from cli.check import KINDS, TOPICS
from commands.recovery.from_log import ProcessorShare, RefillResult, refill
from domain.core.messages import FILLER, Key, Record, Topic
from domain.instance.actions.power.stop import StopInstance
from domain.instance.state import Instance, VmState
from infra.archive.archive import archive
from infra.archive.restore import restore
from infra.db.memory import MemoryWriteStore
from infra.log.behind import LogBehind
from infra.log.memory import MemoryLog
from infra.secrets.segments import MemorySegments
from projections.store.memory import MemoryStore
from tests.cli.test_check import WEB, broken, checked, world
from tests.domain.instances import boot_command
from tests.harness.world import World

__all__ = ["world"]


def instance(number: int) -> Key:
    return Key("instance", str(uuid.UUID(int=number)))


async def vm_state(world: World, key: Key) -> VmState:
    return Instance.model_validate_json((await world.engine_write_store.all("instance"))[key].state).vm_state


async def fill(log: MemoryLog, topics: tuple[Topic, ...] = tuple(Topic)) -> None:
    """A filler at the end of every partition."""
    everywhere = await log.bounds(topics)
    await log.publish([Record(each.topic, b"", b"", ((FILLER, b"1"),), each.partition) for each in everywhere])


async def assert_well(world: World) -> None:
    report = await checked(world)
    assert (broken(report), report.moving) == ({}, "")
    assert [each for each in world.log.all(Topic.DEAD) if not each.filler] == []


async def lose_database(world: World) -> RefillResult:
    world.engine_write_store, world.scheduler_write_store = (
        MemoryWriteStore(lambda: world.now),
        MemoryWriteStore(lambda: world.now),
    )
    world.store, world.segments = MemoryStore(), MemorySegments()
    write_stores = {"engine": world.engine_write_store, "scheduler": world.scheduler_write_store}
    parts = [ProcessorShare(write_store, KINDS[name], TOPICS[name]) for name, write_store in write_stores.items()]
    done = await refill(world.log, parts, world.segments, world.now)
    assert done.halves == []
    await world.move_to(world.log)
    return done


async def test_every_reader_passes_fillers_over(world: World) -> None:
    await fill(world.log)
    await world.send(instance(5), boot_command(name="between"))
    await fill(world.log)
    await fill(world.log)
    await world.send(WEB, StopInstance())
    await fill(world.log)
    await world.settle()
    assert await vm_state(world, instance(5)) is VmState.ACTIVE
    assert await vm_state(world, WEB) is VmState.STOPPED
    await assert_well(world)
    assert (await lose_database(world)).undecided == 0, "a filler is nothing to be decided"
    await world.settle()
    await world.send(instance(6), boot_command(name="after"))
    assert await vm_state(world, instance(6)) is VmState.ACTIVE
    await assert_well(world)


async def test_a_world_goes_on_where_it_was(world: World, tmp_path: Path) -> None:
    """Positions in the database are those of the restored log, although the log has holes."""
    await world.log.trim({each: end for each, (_, end) in (await world.log.bounds([Topic.JOBS])).items()})
    await archive(world.log, tmp_path)
    await fill(world.log, (Topic.COMMANDS, Topic.EVENTS, Topic.SCHEDULING, Topic.RESULTS))
    await world.send(instance(5), boot_command(name="second"))
    await archive(world.log, tmp_path)
    before, log = len(world.events()), MemoryLog()
    assert (await restore(log, tmp_path)).fillers >= 48
    await world.move_to(log)
    await world.settle()
    assert len(world.events()) == before
    await world.send(instance(6), boot_command(name="after"))
    assert await vm_state(world, instance(6)) is VmState.ACTIVE
    await assert_well(world)


async def test_an_empty_database_is_filled_from_a_restored_log(world: World, tmp_path: Path) -> None:
    await archive(world.log, tmp_path)
    log = MemoryLog()
    await restore(log, tmp_path)
    world.log = log
    await lose_database(world)
    await world.settle()
    await world.send(instance(6), boot_command(name="after"))
    assert await vm_state(world, instance(6)) is VmState.ACTIVE
    await assert_well(world)


async def test_nothing_begins_on_a_log_that_is_older_than_the_database(world: World, tmp_path: Path) -> None:
    await archive(world.log, tmp_path)
    await world.send(instance(5), boot_command(name="lost"))
    log = MemoryLog()
    await restore(log, tmp_path)
    with pytest.raises(LogBehind, match=r"gostack\.\w+:\d+ ends at \d+, and the database is at \d+"):
        await world.move_to(log)
    await lose_database(world)
    await world.settle()
    with pytest.raises(KeyError):
        await vm_state(world, instance(5))
    await world.send(instance(6), boot_command(name="after"))
    assert await vm_state(world, instance(6)) is VmState.ACTIVE
    await assert_well(world)
