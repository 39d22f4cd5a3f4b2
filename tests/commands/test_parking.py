"""What cannot be read or decided goes to the dead, stops only what it is about, and can be released."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from commands.engine import EngineRules
from commands.rules import Rules
from domain.core.messages import Envelope, Key, Outcome, Record, Topic, to_record
from domain.flavor import UpdateFlavor
from domain.parking import AggregateParked, ReleaseAggregate
from domain.tasks.events import CommandRefused
from domain.tasks.messages import JobsAnswered
from tests.commands.bench import BOOM, SMALL, Bench, Crash, CrashingWriteStore, Explosive, about, ident, started

# What cannot be read or applied


POISON = {
    "no headers": Record(Topic.COMMANDS, b"k", b"\xff\x00nonsense"),
    "no text": Record(Topic.COMMANDS, b"k", b"{}", (("ce_id", b"\xff"),)),
    "unknown type": replace(
        to_record(about(SMALL), Topic.COMMANDS),
        headers=tuple(
            (name, b"gostack.x.y.v1" if name == "ce_type" else value)
            for name, value in to_record(about(SMALL), Topic.COMMANDS).headers
        ),
    ),
    "no uuid": to_record(about(SMALL, id="1"), Topic.COMMANDS),
    "no zone": to_record(about(SMALL, time=datetime(2026, 1, 1)), Topic.COMMANDS),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
async def test_a_record_that_cannot_be_read_goes_to_the_dead_and_the_partition_goes_on(poison: Record) -> None:
    bench = await started()
    await bench.log.publish(
        [replace(poison, partition=1), replace(to_record(about(SMALL), Topic.COMMANDS), partition=1)]
    )
    assert await bench.step() == 1
    (dead,) = bench.log.all(Topic.DEAD)
    assert (dead.key, dead.value) == (poison.key, poison.value)
    assert dead.headers[: len(poison.headers)] == poison.headers
    added = dict(dead.headers)
    assert added["gostack_place"] == b"gostack.commands:1:0"
    assert added["gostack_why"]
    assert bench.verdicts() == {ident(1001): ["accepted"]}


async def test_a_header_without_a_value_is_an_empty_one_among_the_dead() -> None:
    bench = await started()
    headers: Any = (("ce_id", None),)
    await bench.log.publish([Record(Topic.COMMANDS, b"k", b"{}", headers, 1)])
    await bench.step()
    (dead,) = bench.log.all(Topic.DEAD)
    assert dead.headers[0] == ("ce_id", b"")


async def parked_bench(rules: Rules | None = None) -> Bench:
    """A worker whose flavor 1 was parked in an earlier step; flavor 2 is well."""
    bench = await started(rules=rules or Explosive())
    await (await bench.send(about(SMALL), about(SMALL, 2, 2), about(BOOM, 1, 3))).step()
    return bench


async def test_a_command_that_cannot_be_decided_goes_to_the_dead_and_is_refused_as_parked() -> None:
    bench = await parked_bench()
    (dead,) = bench.log.all(Topic.DEAD)
    assert dict(dead.headers)["gostack_why"] == b"ZeroDivisionError: boom"
    parked, refused = [each for each in bench.on(Topic.EVENTS) if each.causation == ident(1003)]
    assert isinstance(parked.data, AggregateParked)
    assert (parked.data.place, parked.aggversion, parked.verdict) == (
        dict(dead.headers)["gostack_place"].decode(),
        None,
        None,
    )
    assert isinstance(refused.data, CommandRefused)
    assert (refused.data.code, refused.verdict) == ("parked", "refused")
    assert "boom" in refused.data.message
    assert (await bench.state(about(SMALL))).name == "small"


async def test_later_commands_for_what_is_parked_are_refused_and_others_go_on() -> None:
    bench = await parked_bench()
    for number in (4, 5):
        late, other = about(UpdateFlavor(core=number), 1, number), about(UpdateFlavor(core=number), 2, 10 + number)
        await (await bench.send(late, other)).step()
        assert bench.refusal(late).code == "parked"
        assert bench.verdicts()[other.id] == ["accepted"]


async def test_a_command_behind_the_one_that_could_not_be_decided_is_refused_in_the_same_batch() -> None:
    bench = await started(rules=Explosive())
    late = about(UpdateFlavor(core=4), 1, 4)
    await (await bench.send(about(SMALL), about(BOOM, 1, 3), late)).step()
    assert bench.refusal(late).code == "parked"


async def test_what_is_parked_stays_so_for_the_next_worker() -> None:
    bench = await parked_bench()
    again = await Bench(bench.write_store, bench.log).start()
    late = about(UpdateFlavor(core=4), 1, 4)
    await (await again.send(late)).step()
    assert again.refusal(late).code == "parked"


async def test_what_an_operator_releases_is_decided_again() -> None:
    bench = await parked_bench()
    release, free, again = (
        about(ReleaseAggregate(), 1, 4),
        about(UpdateFlavor(core=4), 1, 5),
        about(ReleaseAggregate(), 1, 6),
    )
    await (await bench.send(release, free, again)).step()
    assert bench.verdicts()[release.id] == ["accepted"]
    assert bench.verdicts()[free.id] == ["accepted"]
    assert bench.verdicts()[again.id] == ["already"]
    assert await bench.write_store.parked() == {}
    assert (await bench.state(free)).core == 4


async def test_what_fails_again_right_after_its_release_is_parked_again() -> None:
    bench = await parked_bench()
    await (
        await bench.send(about(ReleaseAggregate(), 1, 4), about(BOOM, 1, 5), about(UpdateFlavor(core=4), 1, 6))
    ).step()
    assert bench.verdicts()[ident(1004)] == ["accepted"]
    assert bench.verdicts()[ident(1006)] == ["refused"]
    assert list(await bench.write_store.parked()) == [about(SMALL).subject]


async def test_a_crash_at_the_commit_parks_nothing() -> None:
    write_store = CrashingWriteStore()
    bench = await started(write_store=write_store, rules=Explosive())
    await (await bench.send(about(SMALL))).step()
    write_store.crash_in = 1
    await bench.send(about(BOOM, 1, 2))
    with pytest.raises(Crash):
        await bench.step()
    again = await Bench(write_store, bench.log).start()
    await (await again.send(about(UpdateFlavor(core=3), 1, 3))).step()
    assert again.verdicts()[ident(1003)] == ["accepted"], "without its fault the program decides on both"
    assert bench.log.all(Topic.DEAD) == []


async def test_a_record_for_a_kind_that_nobody_decides_goes_to_the_dead() -> None:
    bench = await started()
    command = about(SMALL, kind="unicorn")
    await (await bench.send(command, about(SMALL, 2, 2))).step()
    assert len(bench.log.all(Topic.DEAD)) == 1
    assert bench.refusal(command).code == "parked"
    assert bench.verdicts()[ident(1002)] == ["accepted"]


async def test_an_answer_that_cannot_be_applied_is_not_answered_itself() -> None:
    class Deaf(EngineRules):
        def decide(self, envelope: Envelope, states: Callable[[Key], Any]) -> Outcome:
            raise ZeroDivisionError

    bench = await started(rules=Deaf())
    answer = about(JobsAnswered(task_id="t", dispatch_id="d", results=()), 7, 1, "instance")
    await (await bench.send(answer)).step()
    assert len(bench.log.all(Topic.DEAD)) == 1
    assert [type(each.data) for each in bench.on(Topic.EVENTS)] == [AggregateParked]
