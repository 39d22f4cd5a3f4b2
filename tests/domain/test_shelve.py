"""Shelved instances: where their bytes are, what their host holds for them, and where they run again. What all verbs
share is walked by table, by which these flows fail in every way."""

import uuid
from datetime import timedelta
from typing import Any

import pytest

from domain.core.errors import DiskInStore, HasLocalVolumes, Invalid, NotShelved, WrongStatus
from domain.core.messages import Command, Key
from domain.guest_spec import Power
from domain.host.reports import GuestObserved
from domain.instance import decider
from domain.instance.actions.lifecycle.boot import BootInstance
from domain.instance.actions.lifecycle.delete import DeleteInstance, HardDeleteInstance
from domain.instance.actions.lifecycle.reset import ResetInstance
from domain.instance.actions.lifecycle.restore import RestoreInstance
from domain.instance.actions.lifecycle.shelve import OffloadInstance, ShelveInstance, UnshelveInstance
from domain.instance.actions.power.pause import PauseInstance
from domain.instance.actions.power.stop import StopInstance
from domain.instance.actions.power.suspend import SuspendInstance
from domain.instance.actions.storage.volumes import AttachInstanceVolume
from domain.instance.state import VmState
from domain.network.state import Port
from domain.tasks.events import DeadlinePassed, TaskFailed, TaskFinished
from domain.tasks.job import JOBS, HostJob
from domain.tasks.task import Direction
from tests.harness.prepare import VOLUME, volume_beside
from tests.harness.samples import NETWORK, sample
from tests.harness.walk import Fate, Walk, Walked, fated

LATER = ShelveInstance(offload_after=3600)


def booted(*then: Command) -> Walk:
    boot = sample(BootInstance)
    kind = Walked(decider.RULES, decider.decide, boot, Key("instance", str(uuid.UUID(int=1))))
    walk = Walk(kind, kind.stage()).send(boot).settle()
    for command in then:
        done(walk, command)
    return walk


def done(walk: Walk, command: Command) -> Walk:
    walk.send(command).settle()
    (ended,) = [each for each in walk.events if isinstance(each, TaskFinished | TaskFailed)][-1:]
    assert isinstance(ended, TaskFinished), ended
    return walk


def let_due_pass(walk: Walk) -> Walk:
    """Time passes until what is due is due, and all that follows happens."""
    walk.stage.time = max(walk.stage.time, walk.now.due_at)
    return walk.send(DeadlinePassed(due_id=walk.now.due_id)).settle()


def port(walk: Walk) -> Port:
    network: Any = walk.stage.states[Key("network", NETWORK)]
    found: Port = next(iter(network.ports.values()))
    return found


def claims(walk: Walk) -> list[str]:
    return [
        host.name for host in walk.stage.hosts for claim in host.claims.values() if claim.instance_id == walk.now.id
    ]


def names(walk: Walk, action: str) -> list[str]:
    return [step.name for step in walk.task_of(action).plan.steps]


@pytest.mark.parametrize("first", [None, StopInstance(), PauseInstance(), SuspendInstance()])
def test_its_disk_is_in_the_store_and_its_guest_off_whatever_it_was(first: Command | None) -> None:
    walk = booted(*([first] if first else []))
    done(walk, LATER)
    now = walk.now
    assert (now.vm_state, now.power) == (VmState.SHELVED, Power.SHUTDOWN)
    assert now.disk_image.id == walk.task_of("shelve").id
    assert now.disk_image.virtual_size == 1 << 26
    assert claims(walk) == [now.host.name], "its host holds everything for it yet"
    assert walk.stage.time < now.due_at <= walk.stage.time + timedelta(hours=1)


def test_saved_memory_is_thrown_away_only_when_the_disk_is_in_the_store() -> None:
    walk = booted(SuspendInstance())
    assert names(done(Walk(walk.kind, walk.stage.copy()), LATER), "shelve") == ["UploadDisk", "StopGuest"]
    failed = Walk(walk.kind, walk.stage.copy(), fated((Direction.FORWARD, 0, Fate.FAILS))).send(LATER).settle()
    assert (failed.now.vm_state, failed.now.power) == (VmState.SUSPENDED, Power.SUSPENDED)


def test_its_host_is_freed_when_its_time_has_come_and_its_address_stays() -> None:
    walk = done(booted(), LATER)
    before = port(walk)
    let_due_pass(walk)
    now = walk.now
    assert (now.vm_state, now.power, now.host) == (VmState.SHELVED_OFFLOADED, Power.NONE, None)
    assert now.disk_image is not None
    assert claims(walk) == []
    assert port(walk) == before.but(host_id="")
    assert (now.nics[0].ip, now.due_at) == (before.ip, None)


@pytest.mark.parametrize("command", [ShelveInstance(offload=True), OffloadInstance()])
def test_a_shelved_one_is_offloaded_when_somebody_asks_for_it(command: Command) -> None:
    walk = done(done(booted(), LATER), command)
    assert walk.now.vm_state is VmState.SHELVED_OFFLOADED
    walk.send(ShelveInstance()).settle()
    assert walk.now.vm_state is VmState.SHELVED_OFFLOADED


def test_with_no_time_to_wait_it_is_due_at_once() -> None:
    walk = done(booted(), ShelveInstance(offload=True, offload_after=3600))
    assert walk.now.due_at <= walk.stage.time


def test_it_runs_again_on_its_host_with_the_disk_that_is_there() -> None:
    walk = done(booted(), LATER)
    host = walk.now.host
    done(walk, UnshelveInstance())
    assert (walk.now.vm_state, walk.now.power, walk.now.host) == (VmState.ACTIVE, Power.RUNNING, host)
    assert (walk.now.disk_image, walk.now.due_at) == (None, None)
    assert {"Place", "BindPort"}.isdisjoint(names(walk, "unshelve"))


def test_it_runs_again_on_another_host_with_its_address() -> None:
    walk = booted()
    before = walk.now
    done(done(walk, LATER), OffloadInstance())
    other = next(host for host in walk.stage.hosts if host.id != before.host.id)
    image = walk.now.disk_image
    done(walk, UnshelveInstance(host=other.id))
    assert (walk.now.vm_state, walk.now.host.name) == (VmState.ACTIVE, other.name)
    assert claims(walk) == [other.name]
    assert (port(walk).host_id, walk.now.nics) == (other.id, before.nics)
    steps = {step.name: step.args for step in walk.task_of("unshelve").plan.steps}
    assert steps["UnpackDisk"]["image"]["checksum"] == image.checksum
    assert steps["DiscardUpload"] == {"task_id": image.id}


def test_its_host_is_the_only_one_until_it_is_offloaded() -> None:
    walk = done(booted(), LATER)
    other = next(host for host in walk.stage.hosts if host.id != walk.now.host.id)
    with pytest.raises(Invalid, match="--offload"):
        walk.send(UnshelveInstance(host=other.id))
    done(walk, UnshelveInstance(host=walk.now.host.id))


def test_an_unshelve_that_fails_leaves_the_image() -> None:
    walk = done(done(booted(), LATER), OffloadInstance())
    image = walk.now.disk_image
    steps = names(done(Walk(walk.kind, walk.stage.copy()), UnshelveInstance()), "unshelve")
    for index in range(steps.index("StartGuest") + 1):
        failed = Walk(walk.kind, walk.stage.copy(), fated((Direction.FORWARD, index, Fate.FAILS)))
        failed.send(UnshelveInstance()).settle()
        assert (failed.now.vm_state, failed.now.disk_image, claims(failed)) == (VmState.SHELVED_OFFLOADED, image, [])
        assert port(failed).host_id == ""
    # What cannot be undone on a host that is away is asked for again, when that is back.
    unpacked = steps.index("UnpackDisk")
    fates = fated((Direction.FORWARD, unpacked, Fate.LOST), (Direction.UNDO, unpacked, Fate.LOST))
    away = Walk(walk.kind, walk.stage.copy(), fates).send(UnshelveInstance()).settle()
    assert (away.now.vm_state, away.now.disk_image) == (VmState.ERROR, image)
    with pytest.raises(DiskInStore):
        away.send(ResetInstance())
    again = done(Walk(walk.kind, away.stage), UnshelveInstance())
    assert (again.now.vm_state, again.now.disk_image) == (VmState.ACTIVE, None)


def test_a_store_that_does_not_answer_keeps_nobody_from_running() -> None:
    walk = done(done(booted(), LATER), OffloadInstance())
    steps = names(done(Walk(walk.kind, walk.stage.copy()), UnshelveInstance()), "unshelve")
    walk.fates = fated((Direction.FORWARD, steps.index("DiscardUpload"), Fate.FAILS))
    walk.send(UnshelveInstance()).settle()
    assert (walk.now.vm_state, walk.now.disk_image) == (VmState.ACTIVE, None)


def test_an_offload_that_fails_is_not_begun_again_by_itself() -> None:
    walk = done(booted(), LATER)
    walk.fates = fated((Direction.FORWARD, 0, Fate.FAILS))
    let_due_pass(walk)
    assert (walk.now.vm_state, walk.now.due_at) == (VmState.SHELVED, None)
    walk.fates = fated()
    done(walk, OffloadInstance())


@pytest.mark.parametrize("fate", [Fate.FAILS, Fate.REFUSED])
def test_an_offload_that_is_given_up_half_way_can_be_asked_for_again(fate: Fate) -> None:
    walk = done(booted(), LATER)
    release = names(done(Walk(walk.kind, walk.stage.copy()), OffloadInstance()), "offload").index("Release")
    walk.fates = fated((Direction.FORWARD, release, fate))
    walk.send(OffloadInstance()).settle()
    assert walk.now.vm_state is VmState.SHELVED
    unshelved = Walk(walk.kind, walk.stage.copy()).send(UnshelveInstance()).settle()
    # What its host may hold no more, another instance may have by now.
    held = fate is Fate.REFUSED
    assert unshelved.now.vm_state is (VmState.ACTIVE if held else VmState.SHELVED)
    assert held or unshelved.now.fault.code == "claim-gone"
    walk.fates = fated()
    done(done(walk, OffloadInstance()), UnshelveInstance()).assert_consistent()


@pytest.mark.parametrize("offloaded", [False, True])
def test_it_is_deleted_and_comes_back_as_it_was(offloaded: bool) -> None:
    walk = done(booted(), LATER)
    if offloaded:
        done(walk, OffloadInstance())
    before = walk.now
    done(walk, DeleteInstance())
    assert walk.now.due_at == walk.now.purge_at
    purged = let_due_pass(Walk(walk.kind, walk.stage.copy()))
    assert (purged.now.vm_state, purged.now.disk_image) == (VmState.DELETED, None)
    done(walk, RestoreInstance())
    assert (walk.now.vm_state, walk.now.disk_image) == (before.vm_state, before.disk_image)
    done(walk, UnshelveInstance())
    done(walk, HardDeleteInstance())
    walk.assert_consistent()


def test_with_a_volume_of_its_host_it_is_shelved_and_never_offloaded() -> None:
    walk = booted()
    volume_beside(walk.kind, walk.stage)
    done(walk, sample(AttachInstanceVolume))
    with pytest.raises(HasLocalVolumes):
        walk.send(ShelveInstance(offload=True))
    done(walk, ShelveInstance())
    assert walk.now.due_at is None
    for command in (OffloadInstance(), ShelveInstance(offload=True)):
        with pytest.raises(HasLocalVolumes):
            walk.send(command)
    done(walk, UnshelveInstance())
    assert [each.id for each in walk.now.volumes] == [VOLUME.key.id]


def test_a_guest_that_somebody_started_by_hand_is_shelved_no_more() -> None:
    walk = done(booted(), LATER)
    walk.send(GuestObserved(host_id=walk.now.host.id, epoch=1, power=Power.RUNNING))
    assert (walk.now.vm_state, walk.now.due_at) == (VmState.ACTIVE, None)
    with pytest.raises(WrongStatus):
        walk.send(UnshelveInstance())
    first = walk.now.disk_image
    done(walk, LATER)
    assert walk.now.disk_image.id != first.id


def test_what_was_never_shelved_cannot_be_unshelved() -> None:
    walk = booted()
    walk.stage.states[walk.kind.key] = walk.now.ended(VmState.ERROR, walk.stage.time, None, False)
    with pytest.raises(NotShelved):
        walk.send(UnshelveInstance())


def test_no_job_of_a_host_is_asked_of_an_instance_that_has_none() -> None:
    walk = done(done(booted(), LATER), OffloadInstance())
    done(walk, DeleteInstance())
    done(walk, RestoreInstance())
    done(walk, HardDeleteInstance())
    for action in ("delete", "restore", "hard-delete"):
        task = walk.task_of(action)
        assert not [each for each in task.plan.steps if issubclass(JOBS[each.name], HostJob)]
