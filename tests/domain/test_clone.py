"""Clones: new instances of an instance's disk, each with an identity of its own; the instance goes on meanwhile."""

import uuid
from typing import Any

import pytest

from domain.core.errors import Invalid, TaskRunning
from domain.core.messages import Key
from domain.guest_spec import Power
from domain.instance import decider
from domain.instance.actions.lifecycle.boot import BootInstance
from domain.instance.actions.lifecycle.delete import DeleteInstance
from domain.instance.actions.lifecycle.shelve import ShelveInstance
from domain.instance.actions.power.stop import StopInstance
from domain.instance.actions.storage.clone import CloneInstance
from domain.instance.state import Instance, VmState
from domain.jobs.clone import BootCloned
from domain.tasks.events import TaskFailed, TaskFinished
from domain.tasks.messages import Reply
from domain.tasks.task import Direction
from tests.harness.samples import IMAGE, sample
from tests.harness.walk import Fate, Fates, Walk, Walked, all_done, fated

CLONE = sample(CloneInstance)


def booted() -> Walk:
    boot = sample(BootInstance)
    kind = Walked(decider.RULES, decider.decide, boot, Key("instance", str(uuid.UUID(int=1))))
    return Walk(kind, kind.stage()).send(boot).settle()


def clones(walk: Walk) -> list[Instance]:
    found = [walk.stage.states.get(Key("instance", each.id)) for each in CLONE.clones]
    return [each for each in found if each is not None]


def test_each_clone_boots_by_itself_of_a_disk_that_was_read_once() -> None:
    walk = booted()
    before = walk.now
    walk.send(CLONE).settle()
    assert isinstance(walk.ending(walk.task_of("clone")), TaskFinished)
    assert (walk.now.vm_state, walk.now.power) == (VmState.ACTIVE, Power.RUNNING)
    made = clones(walk)
    assert [(each.name, each.vm_state, each.power) for each in made] == [
        ("copy-0", VmState.ACTIVE, Power.RUNNING),
        ("copy-1", VmState.ACTIVE, Power.RUNNING),
    ]
    nics = [each.nics[0] for each in (before, *made)]
    assert len({nic.ip for nic in nics}) == len({nic.mac for nic in nics}) == len({nic.port_id for nic in nics}) == 3
    assert [each.launch_index for each in made] == [0, 1]
    assert all(each.disk_image is None and each.image == before.image for each in made)
    assert [step.name for step in walk.task_of("clone").plan.steps] == ["UploadDisk", "BootClone", "BootClone"]


def test_a_clone_makes_its_disk_of_the_upload_and_takes_that_out_when_it_runs() -> None:
    walk = booted().send(CLONE).settle()
    key = Key("instance", CLONE.clones[0].id)
    accepted = [event for at, event in walk.stage.events if at == key and type(event).__name__ == "TaskAccepted"]
    plan: Any = accepted[0]
    steps = {step.name: step for step in plan.task.plan.steps}
    assert steps["UnpackDisk"].args["image"]["id"] == walk.task_of("clone").id
    assert steps["DiscardUpload"].args == {"task_id": walk.task_of("clone").id}
    assert "CreateDisk" not in steps
    assert [step.name for step in plan.task.plan.steps][-2:] == ["StartGuest", "DiscardUpload"]


def test_it_is_cloned_as_it_is_when_its_disk_was_read() -> None:
    walk = booted()
    other = IMAGE.but(id="j", checksum="1" * 64)
    walk.send(CLONE.but(spec=CLONE.spec.but(image=other, disk=0))).settle()
    assert [(each.image, each.disk) for each in clones(walk)] == [(walk.now.image, walk.now.disk)] * 2


def test_the_instance_can_be_worked_on_and_a_delete_waits() -> None:
    walk = booted().send(CLONE)
    with pytest.raises(TaskRunning):
        walk.send(CLONE)
    with pytest.raises(TaskRunning):
        walk.send(ShelveInstance())
    walk.send(StopInstance()).settle()
    assert walk.now.vm_state is VmState.STOPPED
    assert len(clones(walk)) == 2
    walk.send(DeleteInstance()).settle()
    assert [each.vm_state for each in clones(walk)] == [VmState.ACTIVE] * 2
    other = booted().send(CLONE).send(DeleteInstance()).settle()
    assert other.now.vm_state is VmState.SOFT_DELETED
    assert clones(other) == [], "it was cancelled before there were any"


def test_of_an_upload_that_fails_there_is_no_clone() -> None:
    walk = booted()
    walk.fates = fated((Direction.FORWARD, 0, Fate.FAILS))
    walk.send(CLONE).settle()
    assert isinstance(walk.ending(walk.task_of("clone")), TaskFailed)
    assert (clones(walk), walk.now.vm_state) == ([], VmState.ACTIVE)


def test_what_an_instance_says_is_not_taken_from_it() -> None:
    walk = booted()
    with pytest.raises(Invalid, match="a clone's has that at least"):
        walk.send(CLONE.but(spec=CLONE.spec.but(disk=1 << 20)))
    walk.send(CLONE.but(spec=CLONE.spec.but(disk=4 << 30))).settle()
    assert [each.disk for each in clones(walk)] == [4 << 30] * 2


def clone_booted(fates: Fates) -> Walk:
    """One clone as it is booted, apart from the task of the other instance."""
    first = booted()
    key = Key("instance", CLONE.clones[0].id)
    kind = Walked(decider.RULES, decider.decide, first.kind.create, key)
    reply = Reply(subject=str(first.kind.key), task_id="t", dispatch_id="d", job_id="j")
    boot = {**CLONE.spec.model_dump(mode="json"), "launch_index": 0}
    return Walk(kind, first.stage, fates).send(BootCloned(reply=reply, image=IMAGE, boot=boot)).settle()


def test_a_clone_that_cannot_be_built_is_in_error_and_holds_nothing_but_its_name() -> None:
    whole = clone_booted(all_done)
    steps = [step.name for step in whole.task_of("boot").plan.steps]
    assert steps[-2:] == ["StartGuest", "DiscardUpload"]
    for index in range(len(steps) - 1):
        for fate in (Fate.FAILS, Fate.LATE):
            walk = clone_booted(fated((Direction.FORWARD, index, fate)))
            assert (walk.now.vm_state, walk.now.host, walk.now.disk_image) == (VmState.ERROR, None, None), steps[index]
            walk.assert_undone(walk.task_of("boot"))
            walk.assert_consistent()
    # Its guest runs then: that the image store does not answer is no reason to take it apart.
    walk = clone_booted(fated((Direction.FORWARD, len(steps) - 1, Fate.FAILS)))
    assert (walk.now.vm_state, walk.now.power) == (VmState.ACTIVE, Power.RUNNING)
