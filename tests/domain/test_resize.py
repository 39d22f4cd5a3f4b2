"""Resizes: on the instance's host or another, confirmed, reverted, and what is held for them meanwhile. What all verbs
share is walked by table, by which these flows fail in every way."""

import uuid
from datetime import timedelta

import pytest

from domain.core.errors import BeingReverted, Invalid, NothingToRevert, SameSize, WrongStatus
from domain.core.messages import Command, Key
from domain.core.resources import Resources
from domain.core.text import in_units
from domain.guest_spec import Power
from domain.instance import decider
from domain.instance.actions.lifecycle.boot import BootInstance
from domain.instance.actions.lifecycle.delete import DeleteInstance, HardDeleteInstance
from domain.instance.actions.lifecycle.restore import RestoreInstance
from domain.instance.actions.placement.migrate import MigrateInstance
from domain.instance.actions.placement.resize import ResizeInstance
from domain.instance.actions.placement.undecided import (
    ConfirmMigration,
    ConfirmResize,
    RevertMigration,
    RevertResize,
)
from domain.instance.actions.power.stop import StopInstance
from domain.instance.actions.storage.volumes import AttachInstanceVolume
from domain.instance.migration import MigrationStatus, MigrationType
from domain.instance.state import VmState
from domain.tasks.events import DeadlinePassed, TaskFailed, TaskFinished, TaskPlanned
from domain.tasks.job import Where
from domain.tasks.task import Direction
from domain.tasks.walk import FORWARD_ATTEMPTS
from domain.volume import decider as volume_decider
from domain.volume.actions import CreateVolume
from tests.harness.prepare import host_full
from tests.harness.samples import FLAVOR, LARGER, sample
from tests.harness.stage import host_key
from tests.harness.walk import Fate, Walk, Walked, fated

GIB = 1 << 30
SMALL = Resources(vcpus=1, memory=GIB, disk=GIB)
LARGE = Resources(vcpus=2, memory=2 * GIB, disk=2 * GIB)
BOTH = Resources(vcpus=2, memory=2 * GIB, disk=3 * GIB)
RESIZE = ResizeInstance(flavor=LARGER, disk=2 * GIB)


def booted(stopped: bool = False) -> Walk:
    boot = sample(BootInstance, wanted_host=host_key("h1").id)
    kind = Walked(decider.RULES, decider.decide, boot, Key("instance", str(uuid.UUID(int=1))))
    walk = Walk(kind, kind.stage()).send(boot).settle()
    return walk.send(StopInstance()).settle() if stopped else walk


def done(walk: Walk, command: Command) -> Walk:
    walk.send(command).settle()
    (ended,) = [each for each in walk.events if isinstance(each, TaskFinished | TaskFailed)][-1:]
    assert isinstance(ended, TaskFinished), ended
    return walk


def held(walk: Walk) -> dict[str, Resources]:
    """Host's name -> what it holds for the instance."""
    return {
        host.name: Resources.of(claim)
        for host in walk.stage.hosts
        for claim in host.claims.values()
        if claim.instance_id == walk.now.id
    }


def known(walk: Walk) -> tuple[VmState, Power, str, int, str]:
    now = walk.now
    return now.vm_state, now.power, now.flavor.name, now.disk, now.host.name


@pytest.mark.parametrize("stopped", [False, True])
def test_it_is_resized_on_its_host_which_holds_room_for_both_until_that_is_decided(stopped: bool) -> None:
    before = VmState.STOPPED if stopped else VmState.ACTIVE
    power = Power.SHUTDOWN if stopped else Power.RUNNING
    walk = done(booted(stopped), RESIZE)
    assert known(walk) == (VmState.RESIZED, power, "large", 2 * GIB, "h1")
    assert held(walk) == {"h1": BOTH}
    migration = walk.now.migration
    assert (migration.type, migration.status) == (MigrationType.RESIZE, MigrationStatus.FINISHED)
    assert (migration.source_name, migration.destination_name) == ("h1", "h1")
    names = [step.name for step in walk.task_of("resize").plan.steps]
    assert ("StartGuest" in names, "StopGuest" in names) == (not stopped, not stopped)

    reverted = done(Walk(walk.kind, walk.stage.copy()), RevertResize())
    assert known(reverted) == (before, power, "small", GIB, "h1")
    assert held(reverted) == {"h1": SMALL}
    assert reverted.now.migration.status is MigrationStatus.REVERTED

    done(walk, ConfirmResize())
    assert known(walk) == (before, power, "large", 2 * GIB, "h1")
    assert held(walk) == {"h1": LARGE}
    assert walk.now.migration.status is MigrationStatus.CONFIRMED


def test_the_flavors_root_disk_is_the_instances_unless_another_is_said() -> None:
    of_flavor = done(booted(), ResizeInstance(flavor=LARGER.but(disk=3 * GIB)))
    assert known(of_flavor)[3] == 3 * GIB
    said = done(booted(), ResizeInstance(flavor=LARGER.but(disk=3 * GIB), disk=2 * GIB))
    assert known(said)[3] == 2 * GIB
    with pytest.raises(Invalid) as caught:
        booted().send(ResizeInstance(flavor=LARGER.but(disk=GIB >> 1)))
    assert str(caught.value).startswith("flavor is large: the root disk has 1 GiB, and never shrinks, and the flavor's")
    kept = done(booted(), ResizeInstance(flavor=LARGER.but(disk=GIB >> 1), disk=GIB))
    assert known(kept)[3] == GIB


def test_a_flavor_with_less_takes_less_once_that_is_confirmed() -> None:
    walk = done(done(booted(), RESIZE), ConfirmResize())
    done(walk, ResizeInstance(flavor=FLAVOR))
    assert held(walk) == {"h1": Resources(vcpus=2, memory=2 * GIB, disk=4 * GIB)}
    names = [step.name for step in walk.task_of("resize").plan.steps]
    assert "GrowDisk" not in names, "its disk stays as large as it is"
    done(walk, ConfirmResize())
    assert held(walk) == {"h1": SMALL.but(disk=2 * GIB)}


def test_it_goes_to_another_host_where_its_own_has_no_room_and_comes_back() -> None:
    walk = booted()
    host_full(walk.kind, walk.stage)
    done(walk, RESIZE)
    there = walk.now.host.name
    assert known(walk) == (VmState.RESIZED, Power.RUNNING, "large", 2 * GIB, there)
    assert there != "h1"
    assert held(walk) == {"h1": SMALL, there: LARGE}
    assert (walk.now.migration.source_name, walk.now.migration.destination_name) == ("h1", there)
    (planned,) = [each for each in walk.events if isinstance(each, TaskPlanned)]
    assert planned.task.plan.flow == "resize-elsewhere"
    assert walk.now.guest_at(Where.THERE).flavor.name == "small", "the first host has it as it was"

    confirmed = done(Walk(walk.kind, walk.stage.copy()), ConfirmResize())
    assert held(confirmed) == {there: LARGE}
    assert confirmed.now.incoming is None

    done(walk, RevertResize())
    assert known(walk) == (VmState.ACTIVE, Power.RUNNING, "small", GIB, "h1")
    assert held(walk) == {"h1": SMALL}
    assert walk.now.incoming is None


def test_where_no_host_has_room_nothing_is_touched() -> None:
    walk = booted()
    for number, name in enumerate(("h1", "h2", "h3"), 80):
        room = walk.stage.cell.table.room(host_key(name).id)["disk"]
        create = sample(CreateVolume, host=host_key(name).id, size=room - room % 512)
        key = Key("volume", str(uuid.UUID(int=number)))
        Walk(Walked(volume_decider.RULES, volume_decider.decide, create, key), walk.stage).send(create).settle()
    walk.send(RESIZE).settle()
    failed = walk.ending(walk.task_of("resize"))
    assert isinstance(failed, TaskFailed)
    assert failed.fault.code == "no-valid-host"
    assert known(walk) == (VmState.ACTIVE, Power.RUNNING, "small", GIB, "h1")
    assert held(walk) == {"h1": SMALL}
    assert walk.now.migration.status is MigrationStatus.FAILED
    assert "StopGuest" not in [walk.task_of("resize").plan.steps[at].name for at in walk.done(walk.task_of("resize"))]


def test_one_with_volumes_of_its_host_stays_there_and_its_fault_says_why_it_cannot() -> None:
    walk = booted()
    volume = sample(CreateVolume, host=host_key("h1").id)
    key = Key("volume", str(uuid.UUID(int=5)))
    Walk(Walked(volume_decider.RULES, volume_decider.decide, volume, key), walk.stage).send(volume).settle()
    done(walk, AttachInstanceVolume(volume_id=key.id))
    done(done(walk, RESIZE), RevertResize())
    host_full(walk.kind, walk.stage)
    walk.send(RESIZE).settle()
    failed = walk.ending(walk.task_of("resize"))
    assert isinstance(failed, TaskFailed)
    assert failed.fault.code == "host-full"
    assert failed.fault.message.startswith("Host h1 has no room for it: ")


def test_what_asks_for_nothing_new_or_for_less_disk_is_refused_before_anything() -> None:
    walk = booted()
    with pytest.raises(SameSize) as same:
        walk.send(ResizeInstance(flavor=FLAVOR))
    assert "has flavor small" in str(same.value)
    with pytest.raises(Invalid) as smaller:
        walk.send(ResizeInstance(flavor=LARGER, disk=GIB // 2))
    assert str(smaller.value) == "disk is 512 MiB: the root disk has 1 GiB, and never shrinks."
    assert walk.now.migration is None
    changed = FLAVOR.but(core=8)
    assert done(walk, ResizeInstance(flavor=changed)).now.flavor.core == 8, "the flavor was changed since the boot"


def test_while_it_waits_other_verbs_say_what_to_do_first() -> None:
    walk = done(booted(), RESIZE)
    for command in (StopInstance(), MigrateInstance(), RESIZE.but(disk=4 * GIB)):
        with pytest.raises(WrongStatus) as caught:
            walk.send(command)
        assert caught.value.hint == (
            "Confirm it (gs instance resize-confirm web) or revert it (gs instance resize-revert) first."
        )
    migrated = done(booted(), MigrateInstance())
    with pytest.raises(WrongStatus) as caught:
        migrated.send(StopInstance())
    assert "migrate-confirm" in caught.value.hint
    with pytest.raises(WrongStatus) as caught:
        booted().send(ConfirmResize())
    assert caught.value.hint == ""


def test_either_pair_of_verbs_does_for_a_resize_and_a_migration() -> None:
    assert done(done(booted(), RESIZE), ConfirmMigration()).now.flavor.name == "large"
    assert done(done(booted(), RESIZE), RevertMigration()).now.flavor.name == "small"
    assert done(done(booted(), MigrateInstance()), RevertResize()).now.host.name == "h1"


@pytest.mark.parametrize(
    ("first", "step", "other", "refusal", "again"),
    [
        (ConfirmResize(), "ResizeClaim", RevertResize(), NothingToRevert, "resize-confirm"),
        (RevertResize(), "StartGuest", ConfirmResize(), BeingReverted, "resize-revert"),
    ],
)
def test_what_was_given_up_in_the_middle_can_be_asked_for_again_and_the_other_cannot(
    first: Command, step: str, other: Command, refusal: type[Exception], again: str
) -> None:
    walk = done(booted(), RESIZE)
    plan = decider.RULES.actions[again].flow.plan(walk.now, first)
    index = [each.name for each in plan.steps].index(step)
    walk.fates = fated((Direction.FORWARD, index, Fate.FAILS), times=FORWARD_ATTEMPTS)
    walk.send(first).settle()
    assert (walk.now.vm_state, walk.now.fault.code) == (VmState.RESIZED, "job-failed")
    with pytest.raises(refusal) as caught:
        walk.send(other)
    assert f"gs instance {again}" in getattr(caught.value, "hint", "")
    assert done(walk, first).now.vm_state is VmState.ACTIVE
    walk.assert_consistent()


def test_a_revert_that_failed_before_anything_was_taken_away_leaves_it_waiting() -> None:
    walk = done(booted(), RESIZE)
    walk.fates = fated((Direction.FORWARD, 0, Fate.REFUSED), times=1)
    walk.send(RevertResize()).settle()
    assert (walk.now.vm_state, walk.now.migration.status) == (VmState.RESIZED, MigrationStatus.FINISHED)
    assert done(walk, ConfirmResize()).now.flavor.name == "large"


def test_one_that_waits_is_deleted_with_all_that_is_held_for_it() -> None:
    walk = done(booted(), RESIZE)
    done(walk, DeleteInstance())
    assert held(walk) == {"h1": BOTH}
    done(walk, RestoreInstance())
    assert walk.now.vm_state is VmState.RESIZED
    done(done(walk, DeleteInstance()), HardDeleteInstance())
    assert held(walk) == {}


def test_it_is_confirmed_by_itself_when_its_time_has_come() -> None:
    walk = done(booted(), RESIZE.but(confirm_after=3600.0))
    due = walk.now.due_at
    assert due == walk.now.migration.confirm_at
    assert walk.now.due_id == walk.now.migration.id
    walk.send(DeadlinePassed(due_id=walk.now.due_id))
    assert walk.now.task is None, "its time has not come"
    walk.stage.time = due
    walk.send(DeadlinePassed(due_id=walk.now.due_id)).settle()
    assert (walk.now.vm_state, walk.now.migration.status) == (VmState.ACTIVE, MigrationStatus.CONFIRMED)
    assert (walk.now.due_at, walk.now.due_id) == (None, "")
    assert held(walk) == {"h1": LARGE}


def test_one_that_is_reverted_or_deleted_is_not_confirmed_by_itself() -> None:
    walk = done(booted(), RESIZE.but(confirm_after=3600.0))
    ident = walk.now.due_id
    deleted = done(Walk(walk.kind, walk.stage.copy()), DeleteInstance(keep_for=60.0))
    assert deleted.now.due_id == deleted.now.id, "the purge is due"
    done(walk, RevertResize())
    assert walk.now.due_at is None
    walk.stage.time += timedelta(hours=2)
    walk.send(DeadlinePassed(due_id=ident))
    assert walk.now.task is None
    assert done(booted(), RESIZE).now.due_at is None, "without such a setting nothing is due"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (512, "512 bytes"),
        (10 << 30, "10 GiB"),
        (3 << 29, "1536 MiB"),
        (1 << 50, "1024 TiB"),
        ((1 << 30) + 1, "1073741825 bytes"),
    ],
)
def test_a_size_is_said_in_the_largest_unit_without_a_fraction(count: int, text: str) -> None:
    assert in_units(count) == text
