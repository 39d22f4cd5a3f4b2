"""A silent host is suspect, a voice clears it, and each is told once."""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from commands.processor import Processor
from commands.reconcilers.liveness import AT_ONCE, TURN, LivenessMonitor
from commands.scheduler import SchedulerRules
from domain.core.messages import (
    Envelope,
    Key,
    Message,
    Record,
    Topic,
    from_record,
    to_record,
)
from domain.host.messages import (
    HearHost,
    HostHeard,
    HostRegistered,
    HostSuspected,
    Inventory,
    RegisterHost,
    SuspectHost,
)
from domain.host.reports import Heartbeat
from domain.host.state import Host, HostHealth
from domain.scheduling.table import Ratios
from infra.db.memory import MemoryWriteStore
from infra.log.log import TopicPartition
from infra.log.memory import MemoryLog
from tests.harness.nonsense import NONSENSE

START = datetime(2026, 1, 1, tzinfo=UTC)
GRACE = 15.0
HOST = str(uuid.UUID(int=1))
OTHER = str(uuid.UUID(int=2))
INVENTORY = Inventory(vcpus=1, memory=1, disk=1)


class Ward:
    """Beats with a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = START
        self.log = MemoryLog()
        self.wrong = timedelta()
        """How far the clock is ahead."""
        self.beats = LivenessMonitor(self.log, GRACE, lambda: self.now + self.wrong, lambda: self.now.timestamp())
        self.number = 0

    def record(self, message: Message, host: str = HOST, age: float = 0.0) -> Record:
        self.number += 1
        envelope = Envelope(
            id=str(uuid.UUID(int=1000 + self.number)),
            data=message,
            subject=Key("host", host),
            time=self.now - timedelta(seconds=age),
            source="test",
            correlation="c",
        )
        return to_record(envelope, Topic.REPORTS if isinstance(message, Heartbeat) else Topic.EVENTS)

    def take(self, *messages: Message, host: str = HOST, age: float = 0.0) -> "Ward":
        self.beats.take([self.record(each, host, age) for each in messages])
        return self

    def beat(self, host: str = HOST, age: float = 0.0) -> "Ward":
        return self.take(Heartbeat(host_id=host, epoch=1, guests=0), host=host, age=age)

    def later(self, seconds: float) -> "Ward":
        self.now += timedelta(seconds=seconds)
        return self

    def changes(self) -> list[tuple[str, type[Message]]]:
        """Whom what is told now."""
        told = [from_record(each) for each in self.beats.changes()]
        return [(each.subject.id, type(each.data)) for each in told]


def known(ident: str, health: HostHealth = HostHealth.UP) -> Host:
    return Host(
        id=ident,
        name=ident,
        zone="z",
        inventory=INVENTORY,
        partition=0,
        epoch=1,
        health=health,
        created=START,
        updated=START,
    )


def there(*hosts: Host) -> Callable[[], Awaitable[Sequence[Host]]]:
    async def asked() -> Sequence[Host]:
        return hosts

    return asked


def registered() -> HostRegistered:
    return HostRegistered(
        name="h", zone="z", cell="cell", inventory=INVENTORY, endpoint="", partition=0, epoch=1, at=START
    )


def test_a_host_that_is_heard_now_and_then_is_well() -> None:
    ward = Ward().take(registered())
    for _ in range(10):
        assert ward.later(GRACE - 1).beat().changes() == []


def test_a_host_that_is_silent_is_suspect_when_the_grace_is_over_and_not_before() -> None:
    ward = Ward().take(registered())
    assert ward.later(GRACE).changes() == []
    assert ward.later(0.1).changes() == [(HOST, SuspectHost)]


def test_what_was_told_is_not_told_again_until_it_had_time_to_be_heard() -> None:
    ward = Ward().take(registered()).later(GRACE + 1)
    assert ward.changes() == [(HOST, SuspectHost)]
    assert ward.later(1).changes() == []
    assert ward.later(GRACE).changes() == [(HOST, SuspectHost)]


def test_a_host_that_is_suspect_already_is_not_told_again() -> None:
    ward = Ward().take(registered()).later(GRACE + 1)
    assert ward.changes() == [(HOST, SuspectHost)]
    ward.take(HostSuspected(at=START))
    assert ward.later(GRACE * 5).changes() == []


def test_a_suspect_host_that_is_heard_again_is_cleared() -> None:
    ward = Ward().take(registered()).later(GRACE + 1).take(HostSuspected(at=START))
    assert ward.changes() == []
    assert ward.beat().changes() == [(HOST, HearHost)]
    ward.take(HostHeard(at=START))
    assert ward.changes() == []


def test_a_host_that_registers_is_heard() -> None:
    ward = Ward().take(HostSuspected(at=START)).later(GRACE * 2).take(registered())
    assert ward.changes() == []
    assert ward.later(GRACE + 1).changes() == [(HOST, SuspectHost)]


@pytest.mark.parametrize("age", [-3600, GRACE, 3600])
def test_a_host_whose_clock_is_wrong_is_heard_like_any_other(age: float) -> None:
    ward = Ward().take(registered()).later(GRACE + 1).beat(age=age)
    assert ward.changes() == []
    assert ward.later(GRACE + 1).changes() == [(HOST, SuspectHost)]


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_jumps_makes_no_host_silent_and_none_heard(hours: int) -> None:
    ward = Ward().take(registered()).take(registered(), host=OTHER).later(GRACE - 1).beat()
    ward.wrong = timedelta(hours=hours)
    assert ward.changes() == []
    assert ward.later(2).changes() == [(OTHER, SuspectHost)]


@pytest.mark.parametrize(("seconds", "told"), [(60.0, []), (0.5, [(HOST, SuspectHost)])])
async def test_while_the_log_does_not_answer_nobody_is_silent(seconds: float, told: list[object]) -> None:
    ward = Ward().take(registered()).later(GRACE)
    bounds = ward.log.bounds

    async def slow(topics: Sequence[str]) -> dict[TopicPartition, tuple[int, int]]:
        ward.later(seconds)
        return await bounds(topics)

    ward.log.bounds = slow  # type: ignore[method-assign]
    await ward.beats.check_log()
    assert ward.changes() == told


async def test_all_silence_begins_anew_but_nobody_is_heard_by_that() -> None:
    ward = Ward().take(registered()).take(HostSuspected(at=START))
    await ward.beats.check_log()
    ward.later(TURN + 1)
    await ward.beats.check_log()
    assert ward.later(GRACE + 1).changes() == []


def test_hosts_are_told_apart() -> None:
    ward = Ward().take(registered()).take(registered(), host=OTHER).later(GRACE + 1).beat(OTHER)
    assert ward.changes() == [(HOST, SuspectHost)]


def test_of_a_host_whose_cell_is_not_known_nothing_is_told() -> None:
    ward = Ward().take(HostSuspected(at=START)).beat()
    assert ward.later(GRACE + 1).changes() == []


def test_what_cannot_be_read_or_is_about_something_else_is_left_out() -> None:
    ward = Ward()
    ward.beats.take([Record(Topic.REPORTS, b"k", b"\xff", (("ce_id", b"\xff"),)), ward.record(HearHost())])
    assert ward.later(GRACE + 1).changes() == []


def test_a_command_goes_to_the_cell_under_an_id_that_the_same_moment_makes_again() -> None:
    ward, twin = Ward(), Ward()
    records = [each.take(registered()).later(GRACE + 1).beats.changes() for each in (ward, twin)]
    assert records[0] == records[1]
    (record,) = records[0]
    assert (record.topic, record.key) == (Topic.SCHEDULING, b"cell")
    assert from_record(record).source == "gostack/beats"


async def test_listening_starts_now_with_the_hosts_there_are() -> None:
    ward = Ward()
    await ward.log.publish([ward.record(Heartbeat(host_id=OTHER, epoch=1, guests=0), OTHER)])
    partitions = list(await ward.log.bounds([Topic.SCHEDULING]))
    scheduler = Processor(
        SchedulerRules(Ratios(), 4), MemoryWriteStore(), ward.log, (Topic.SCHEDULING,), lambda: ward.now
    )
    reader = await ward.log.reader(await scheduler.assigned(partitions))
    command = RegisterHost(name="h", zone="z", inventory=INVENTORY)
    await ward.log.publish(
        [to_record(Envelope(HOST, command, Key("host", HOST), START, "test", "c"), Topic.SCHEDULING)]
    )
    await scheduler.step(await reader.fetch(10, 0))
    running = asyncio.create_task(ward.beats.run(there(known(HOST))))
    try:
        async with asyncio.timeout(5):
            while not (told := await reader.fetch(10, 0.01)):
                # A turn after the other, none of them long.
                ward.later(AT_ONCE)
                await ward.log.publish([ward.record(Heartbeat(host_id=OTHER, epoch=1, guests=0), OTHER)])
            await scheduler.step(told)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    events = [from_record(each) for each in ward.log.all(Topic.EVENTS)]
    assert [each.subject.id for each in events if isinstance(each.data, HostSuspected)] == [HOST]


async def test_after_standing_still_what_lies_there_is_read_before_anybody_is_silent() -> None:
    """It beats all along, each host as often as ever; the rest of the backlog comes after the first fetch."""
    ward = Ward()
    hosts = [str(uuid.UUID(int=10 + number)) for number in range(300)]
    running = asyncio.create_task(ward.beats.run(there(*map(known, hosts))))
    try:
        await ward.log.publish([ward.record(Heartbeat(host_id=OTHER, epoch=1, guests=0), OTHER)])
        await asyncio.sleep(0.05)
        beats = []
        for _ in range(6):
            ward.later(3.4)
            beats += [ward.record(Heartbeat(host_id=each, epoch=1, guests=0), each) for each in hosts]
        await ward.log.publish(beats)
        await asyncio.sleep(0.2)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert ward.log.all(Topic.SCHEDULING) == []


async def test_listening_anew_clears_no_host_that_is_still_silent() -> None:
    ward = Ward()
    running = asyncio.create_task(ward.beats.run(there(*(known(each, HostHealth.SUSPECT) for each in (HOST, OTHER)))))
    try:
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
            await ward.log.publish([ward.record(Heartbeat(host_id=OTHER, epoch=1, guests=0), OTHER)])
            while not (told := ward.log.all(Topic.SCHEDULING)):
                await ward.log.wait(1)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert [from_record(each).subject.id for each in told] == [OTHER]


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
def test_what_cannot_be_read_is_not_heard(nonsense: Record) -> None:
    ward = Ward()
    ward.beats.take([nonsense, ward.record(registered())])
    ward.now += timedelta(seconds=GRACE + 1)
    assert len(ward.beats.changes()) == 1
