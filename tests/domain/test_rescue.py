"""What a rescued instance is told its host, and when it is none any more."""

from domain.instance.actions.lifecycle.delete import DeleteInstance
from domain.instance.actions.lifecycle.rescue import RescueInstance, UnrescueInstance
from domain.instance.actions.lifecycle.restore import RestoreInstance
from domain.instance.state import Instance, VmState
from domain.tasks.job import Where
from domain.tasks.messages import JobError
from domain.tasks.task import Direction
from tests.domain.instances import Scenario
from tests.harness.samples import IMAGE

OTHER = IMAGE.but(id="r", name="rescuer", checksum="1" * 64)


def now(scenario: Scenario) -> Instance:
    assert scenario.now is not None
    return scenario.now


def rescued() -> Scenario:
    scenario = Scenario().booted().send(RescueInstance(image=OTHER)).settle()
    assert (now(scenario).vm_state, now(scenario).rescue_image) == (VmState.RESCUED, OTHER)
    return scenario


def test_a_rescued_instance_keeps_its_image_and_tells_its_host_the_other() -> None:
    guest = now(rescued()).guest_at(Where.HERE)
    assert (guest.image, guest.rescue_image) == (IMAGE, OTHER)


def test_its_own_image_serves_where_none_is_named() -> None:
    scenario = Scenario().booted().send(RescueInstance()).settle()
    assert now(scenario).rescue_image == IMAGE


def test_an_instance_that_could_not_be_rescued_is_what_it_was() -> None:
    scenario = Scenario().booted().send(RescueInstance(image=OTHER))

    def fails(name: str, direction: Direction) -> JobError | None:
        return JobError(code="no", message="no") if name == "StartGuest" and direction is Direction.FORWARD else None

    scenario.settle(fails)
    assert (now(scenario).vm_state, now(scenario).rescue_image) == (VmState.ACTIVE, None)
    undone = ["StopGuest", "DefineGuest", "StartGuest", "DeleteRescueDisk"]
    assert scenario.ran[-4:] == undone, "the rescue disk goes last, when nothing boots from it"


def test_an_unrescued_instance_is_an_ordinary_one() -> None:
    scenario = rescued().send(UnrescueInstance()).settle()
    assert (now(scenario).vm_state, now(scenario).rescue_image) == (VmState.ACTIVE, None)


def test_a_rescued_instance_that_is_deleted_and_restored_is_rescued() -> None:
    scenario = rescued().send(DeleteInstance()).settle().send(RestoreInstance()).settle()
    assert (now(scenario).vm_state, now(scenario).rescue_image) == (VmState.RESCUED, OTHER)


def test_the_host_is_not_told_of_a_rescue_disk_once_something_could_not_be_undone() -> None:
    def fails(name: str, direction: Direction) -> JobError | None:
        return JobError(code="no", message="no") if name in ("UnrescueGuest", "DefineGuest") else None

    scenario = rescued().send(UnrescueInstance()).settle(fails)
    assert now(scenario).vm_state is VmState.ERROR
    assert now(scenario).guest_at(Where.HERE).rescue_image is None
