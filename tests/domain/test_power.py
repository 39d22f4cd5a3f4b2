"""What becomes of instances whose guest is paused or suspended: seen from outside, deleted, restored."""

import pytest

from domain.guest_spec import Power
from domain.host.reports import GuestObserved
from domain.instance.actions.lifecycle.delete import DeleteInstance
from domain.instance.actions.lifecycle.restore import RestoreInstance
from domain.instance.actions.placement.migrate import MigrateInstance
from domain.instance.actions.placement.undecided import ConfirmMigration, RevertMigration
from domain.instance.actions.power.pause import PauseInstance, UnpauseInstance
from domain.instance.actions.power.reboot import HardRebootInstance
from domain.instance.actions.power.stop import StopInstance
from domain.instance.actions.power.suspend import ResumeInstance, SuspendInstance
from domain.instance.actions.storage.volumes import AttachInstanceVolume
from domain.instance.state import VmState
from domain.tasks.events import CancelTask
from domain.tasks.messages import JobError
from domain.tasks.task import Direction
from tests.domain.instances import HOST, SECOND_HOST, Scenario


def seen(power: Power, there: bool = False) -> GuestObserved:
    return GuestObserved(host_id=(SECOND_HOST if there else HOST).id, epoch=1, power=power)


def paused() -> Scenario:
    scenario = Scenario().booted().send(PauseInstance()).settle()
    assert now(scenario) == (VmState.PAUSED, Power.PAUSED)
    scenario.ran.clear()
    return scenario


def now(scenario: Scenario) -> tuple[VmState, Power]:
    assert scenario.now is not None
    return scenario.now.vm_state, scenario.now.power


def fails_at(job: str) -> object:
    def fails(name: str, direction: Direction) -> JobError | None:
        return JobError(code="no", message="no") if name == job and direction is Direction.FORWARD else None

    return fails


def test_a_paused_instance_goes_on() -> None:
    assert now(paused().send(UnpauseInstance()).settle()) == (VmState.ACTIVE, Power.RUNNING)


@pytest.mark.parametrize(
    ("power", "state"),
    [
        (Power.SHUTDOWN, VmState.STOPPED),
        (Power.CRASHED, VmState.STOPPED),
        (Power.RUNNING, VmState.ACTIVE),
        (Power.NONE, VmState.PAUSED),
    ],
)
def test_a_paused_guest_that_changes_by_itself_is_shown_as_it_is(power: Power, state: VmState) -> None:
    assert now(paused().send(seen(power))) == (state, power)


def test_a_guest_that_a_full_disk_stops_is_paused_until_it_goes_on() -> None:
    blocked = paused().send(UnpauseInstance()).settle().send(seen(Power.BLOCKED))
    assert now(blocked) == (VmState.PAUSED, Power.BLOCKED)
    assert now(blocked.send(seen(Power.RUNNING))) == (VmState.ACTIVE, Power.RUNNING)


def test_a_guest_that_is_paused_from_outside_is_shown_so_and_goes_on_when_asked() -> None:
    scenario = Scenario().booted().send(seen(Power.PAUSED))
    assert now(scenario) == (VmState.PAUSED, Power.PAUSED)
    assert now(scenario.send(UnpauseInstance()).settle()) == (VmState.ACTIVE, Power.RUNNING)


def test_a_paused_instance_is_deleted_off_and_restored_running() -> None:
    scenario = paused().send(DeleteInstance()).settle()
    assert scenario.ran == ["UnpauseGuest", "StopGuest"]
    assert now(scenario) == (VmState.SOFT_DELETED, Power.SHUTDOWN)
    assert now(scenario.send(RestoreInstance()).settle()) == (VmState.ACTIVE, Power.RUNNING)


def test_a_delete_that_fails_leaves_a_paused_instance_paused() -> None:
    scenario = paused().send(DeleteInstance())
    scenario.settle(fails_at("StopGuest"))  # type: ignore[arg-type]
    assert now(scenario) == (VmState.PAUSED, Power.PAUSED)


def test_a_delete_that_is_cancelled_does_not_start_a_stopped_instance() -> None:
    scenario = Scenario().booted().send(StopInstance()).settle().send(DeleteInstance())
    assert scenario.now is not None
    assert scenario.now.task is not None
    scenario.send(CancelTask(task_id=scenario.now.task.id)).settle()
    assert now(scenario) == (VmState.STOPPED, Power.SHUTDOWN)


def suspended() -> Scenario:
    scenario = Scenario().booted().send(SuspendInstance()).settle()
    assert now(scenario) == (VmState.SUSPENDED, Power.SUSPENDED)
    scenario.ran.clear()
    return scenario


def test_a_suspended_instance_goes_on() -> None:
    assert now(suspended().send(ResumeInstance()).settle()) == (VmState.ACTIVE, Power.RUNNING)


@pytest.mark.parametrize(
    ("power", "state"),
    [
        (Power.SHUTDOWN, VmState.STOPPED),
        (Power.RUNNING, VmState.ACTIVE),
        (Power.PAUSED, VmState.PAUSED),
    ],
)
def test_a_suspended_guest_that_changes_by_itself_is_shown_as_it_is(power: Power, state: VmState) -> None:
    assert now(suspended().send(seen(power))) == (state, power)


def test_a_suspended_instance_that_is_deleted_and_restored_keeps_its_memory() -> None:
    scenario = suspended().send(DeleteInstance()).settle().send(RestoreInstance()).settle()
    assert scenario.ran == []
    assert now(scenario) == (VmState.SUSPENDED, Power.SUSPENDED)
    assert now(scenario.send(ResumeInstance()).settle()) == (VmState.ACTIVE, Power.RUNNING)


def test_memory_that_cannot_be_used_leaves_it_suspended_and_a_hard_reboot_does_without() -> None:
    scenario = suspended().send(ResumeInstance())
    scenario.settle(fails_at("ResumeGuest"))  # type: ignore[arg-type]
    assert now(scenario) == (VmState.SUSPENDED, Power.SUSPENDED)
    assert now(scenario.send(HardRebootInstance()).settle()) == (VmState.ACTIVE, Power.RUNNING)


def test_what_is_seen_of_a_guest_while_nobody_on_its_host_works_counts_when_the_task_is_over() -> None:
    """The agent says it once: a task that asks a volume, and no host, must not swallow it."""
    scenario = Scenario().booted()
    scenario.send(AttachInstanceVolume(volume_id="00000000-0000-0000-0000-0000000000c9"))
    scenario.send(seen(Power.CRASHED))
    assert scenario.now is not None
    assert (scenario.now.vm_state, scenario.now.power) == (VmState.ACTIVE, Power.CRASHED)
    scenario.answer(lambda name, direction: JobError(code="not-found", message="no such volume", ran=False))
    assert (scenario.now.task, scenario.now.vm_state, scenario.now.unsettled) == (None, VmState.STOPPED, False)


def migrating(until: str) -> Scenario:
    """An instance that moves, where the job of that name is on its way."""
    scenario = Scenario().booted().send(MigrateInstance())
    while until not in scenario.under_way():
        scenario.answer()
    return scenario


@pytest.mark.parametrize("power", [Power.CRASHED, Power.SHUTDOWN])
def test_a_guest_that_ends_at_its_new_host_before_the_move_is_over_is_seen_off(power: Power) -> None:
    """The agent there says it once, while the network is asked to move the port."""
    scenario = migrating("MovePort").send(seen(power, there=True))
    assert now(scenario) == (VmState.ACTIVE, Power.SHUTDOWN), "its own host's guest was stopped for the move"
    scenario.settle()
    assert now(scenario) == (VmState.RESIZED, power)
    scenario.send(ConfirmMigration()).settle()
    assert now(scenario) == (VmState.STOPPED, power)


def test_a_guest_that_ends_while_the_host_it_came_from_works_is_seen_off() -> None:
    scenario = Scenario().booted().send(MigrateInstance()).settle().send(ConfirmMigration())
    assert scenario.under_way() == ["UndefineGuest"]
    scenario.send(seen(Power.CRASHED, there=True)).settle()
    assert now(scenario) == (VmState.STOPPED, Power.CRASHED)


def test_a_guest_that_ends_at_the_host_it_goes_back_to_is_seen_off() -> None:
    scenario = Scenario().booted().send(MigrateInstance()).settle().send(RevertMigration())
    while scenario.under_way() != ["UndefineGuest"]:
        scenario.answer()
    scenario.send(seen(Power.CRASHED)).settle()
    assert scenario.now is not None
    assert (*now(scenario), scenario.now.unsettled) == (VmState.STOPPED, Power.CRASHED, False)


def test_what_a_job_makes_of_the_guest_at_the_other_host_is_not_seen_twice() -> None:
    scenario = migrating("StartGuest")
    before = scenario.now
    assert scenario.send(seen(Power.SHUTDOWN, there=True)).now is before
