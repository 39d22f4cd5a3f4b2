"""When a rebuilt instance is of another image, and how long its old disk can be put back."""

import pytest

from domain.core.errors import Invalid
from domain.instance.actions.lifecycle.rebuild import RebuildInstance
from domain.instance.actions.power.stop import StopInstance
from domain.instance.state import Instance, VmState
from domain.tasks.messages import JobError
from domain.tasks.task import Direction
from tests.domain.instances import Fails, Scenario
from tests.harness.samples import IMAGE

OTHER = IMAGE.but(id="o", name="other", checksum="1" * 64)


def now(scenario: Scenario) -> Instance:
    assert scenario.now is not None
    return scenario.now


def active() -> Scenario:
    scenario = Scenario().booted()
    scenario.ran.clear()
    return scenario


def fails_at(job: str, times: int = 1000) -> Fails:
    left = [times]

    def fails(name: str, direction: Direction) -> JobError | None:
        if name != job or direction is not Direction.FORWARD or not left[0]:
            return None
        left[0] -= 1
        return JobError(code="no", message="no")

    return fails


def test_a_rebuilt_instance_is_of_the_image_and_keeps_what_it_is() -> None:
    scenario = active()
    before = now(scenario)
    scenario.send(RebuildInstance(image=OTHER))
    assert now(scenario).image == IMAGE, "it is of its old image until it has the new disk"
    scenario.settle()
    assert now(scenario).image == OTHER
    assert now(scenario).vm_state is VmState.ACTIVE
    assert (now(scenario).id, now(scenario).nics, now(scenario).host) == (before.id, before.nics, before.host)


def test_a_stopped_instance_stays_off() -> None:
    scenario = active().send(StopInstance()).settle()
    scenario.ran.clear()
    scenario.send(RebuildInstance()).settle()
    assert "StartGuest" not in scenario.ran
    assert (now(scenario).vm_state, now(scenario).image) == (VmState.STOPPED, IMAGE)


def test_one_that_cannot_be_started_has_its_old_disk_back() -> None:
    scenario = active().send(RebuildInstance(image=OTHER)).settle(fails_at("StartGuest"))
    assert scenario.ran[-4:] == ["StopGuest", "DefineGuest", "RestoreDisk", "StartGuest"]
    assert (now(scenario).vm_state, now(scenario).image) == (VmState.ACTIVE, IMAGE)


@pytest.mark.parametrize("stopped", [True, False])
def test_once_it_has_the_new_disk_it_only_goes_forward(stopped: bool) -> None:
    scenario = active()
    if stopped:
        scenario.send(StopInstance()).settle()
    scenario.send(RebuildInstance(image=OTHER))
    while now(scenario).task is not None and not now(scenario).task.past_pivot:  # type: ignore[union-attr]
        scenario.answer()
    for _ in range(10):
        if now(scenario).due_id:
            scenario.answer(fails_at("DropOldDisk")) if not _held(scenario) else scenario.wait_out()
    scenario.ran.clear()
    while now(scenario).task is not None:
        scenario.wait_out() if _held(scenario) else scenario.answer()
    assert scenario.ran == ["DropOldDisk"]
    assert now(scenario).image == OTHER


def _held(scenario: Scenario) -> bool:
    task = now(scenario).task
    return task is not None and task.dispatch is not None and task.dispatch.held


@pytest.mark.parametrize("image", [OTHER.but(virtual_size=1 << 40), OTHER.but(arch="aarch64")])
def test_an_image_that_does_not_fit_is_refused(image: object) -> None:
    active().refused(RebuildInstance(image=image), Invalid)
