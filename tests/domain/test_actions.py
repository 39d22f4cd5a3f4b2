"""Every row of the lifecycle table, against the rules that all share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from domain.core.errors import (
    ErrorNeedsIgnore,
    NoSuchTask,
    NotFound,
    NotSupportedYet,
    TaskRunning,
    WrongStatus,
)
from domain.core.messages import Topic
from domain.guest_spec import Power
from domain.host.reports import GuestObserved
from domain.instance.action import InstanceAction
from domain.instance.actions import ACTIONS
from domain.instance.actions.lifecycle.delete import DeleteInstance, HardDeleteInstance
from domain.instance.actions.lifecycle.reset import ResetInstance
from domain.instance.actions.lifecycle.restore import RestoreInstance
from domain.instance.actions.lifecycle.update import UpdateInstance
from domain.instance.actions.power.reboot import RebootInstance
from domain.instance.actions.power.start import StartInstance
from domain.instance.actions.power.stop import StopInstance
from domain.instance.lifecycle import page
from domain.instance.state import Instance, VmState
from domain.tasks.events import CancelTask, DeadlinePassed, TaskAccepted
from domain.tasks.messages import JobError, JobsAnswered, JobStarted
from domain.tasks.task import Direction
from tests.domain.instances import HOST, Scenario, boot_command
from tests.harness.samples import sample

OTHERS = [action for action in ACTIONS.values() if action.name != "boot"]
GOLDEN = Path(__file__).parents[2] / "docs" / "lifecycle.md"


def at(state: VmState) -> Scenario:
    """A booted instance, set into this state."""
    scenario = Scenario().booted()
    assert scenario.now is not None
    before = VmState.ACTIVE if state is VmState.SOFT_DELETED else None
    scenario.now = scenario.now.but(vm_state=state, before_delete=before)
    scenario.ran.clear()
    scenario.sent.clear()
    return scenario


def command(action: InstanceAction) -> object:
    return sample(action.command)


def test_the_printed_table_is_the_table() -> None:
    assert GOLDEN.read_text() == page()


@pytest.mark.parametrize("action", OTHERS, ids=lambda action: action.name)
def test_an_action_is_refused_from_anywhere_else_and_says_from_where(action: InstanceAction) -> None:
    for state in set(VmState) - action.begins - action.already - {VmState.DELETED}:
        refusal = at(state).refused(command(action), WrongStatus)  # type: ignore[arg-type]
        for allowed in action.begins:
            assert allowed in str(refusal)


@pytest.mark.parametrize("action", OTHERS, ids=lambda action: action.name)
def test_asking_for_what_is_so_already_does_nothing(action: InstanceAction) -> None:
    for state in action.already:
        scenario = at(VmState(state))
        scenario.send(command(action))  # type: ignore[arg-type]
        assert scenario.last == []


@pytest.mark.parametrize("action", OTHERS, ids=lambda action: action.name)
def test_nothing_can_be_done_with_what_is_not_there(action: InstanceAction) -> None:
    Scenario().refused(command(action), NotFound)  # type: ignore[arg-type]
    at(VmState.DELETED).refused(command(action), NotFound)  # type: ignore[arg-type]


@pytest.mark.parametrize("action", [each for each in OTHERS if not each.passes], ids=lambda action: action.name)
def test_while_a_task_runs_an_action_is_refused_with_its_id(action: InstanceAction) -> None:
    scenario = at(VmState.ACTIVE).send(StopInstance())
    assert scenario.now is not None
    assert scenario.now.task is not None
    refusal = scenario.refused(command(action), TaskRunning)  # type: ignore[arg-type]
    assert scenario.now.task.id in str(refusal)


def test_a_delete_stops_the_running_plan_undoes_it_and_then_deletes() -> None:
    scenario = Scenario().send(boot_command()).answer().answer()
    scenario.send(HardDeleteInstance())
    assert isinstance(scenario.last[0], TaskAccepted)
    scenario.settle()
    assert scenario.now is not None
    assert (scenario.now.vm_state, scenario.now.host) == (VmState.DELETED, None)


def test_a_delete_while_a_step_fails_still_deletes() -> None:
    scenario = Scenario().send(boot_command()).answer()
    scenario.send(HardDeleteInstance())
    scenario.answer(lambda name, direction: JobError(code="job-failed", message="no"))
    scenario.settle()
    assert scenario.now is not None
    assert scenario.now.vm_state is VmState.DELETED


def test_a_soft_delete_during_a_task_keeps_its_purge_time() -> None:
    scenario = at(VmState.ACTIVE).send(StopInstance()).send(DeleteInstance(keep_for=60)).settle()
    assert scenario.now is not None
    assert scenario.now.vm_state is VmState.SOFT_DELETED
    assert scenario.now.purge_at is not None


def test_a_soft_deleted_instance_is_purged_when_its_time_has_come_and_not_before() -> None:
    scenario = at(VmState.ACTIVE).send(DeleteInstance(keep_for=3600)).settle()
    assert scenario.now is not None
    scenario.send(DeadlinePassed(due_id=scenario.now.id))
    assert scenario.last == []
    scenario.wait_out().settle()
    assert scenario.now.vm_state is VmState.DELETED


def test_a_restored_instance_is_as_it_was_and_is_not_purged() -> None:
    scenario = at(VmState.ACTIVE).send(DeleteInstance()).settle().send(RestoreInstance()).settle()
    assert scenario.now is not None
    assert (scenario.now.vm_state, scenario.now.purge_at) == (VmState.ACTIVE, None)
    stopped = at(VmState.STOPPED).send(DeleteInstance()).settle().send(RestoreInstance()).settle()
    assert stopped.now is not None
    assert stopped.now.vm_state is VmState.STOPPED


def test_an_instance_in_error_is_deleted_only_when_asked_to_ignore_that() -> None:
    at(VmState.ERROR).refused(DeleteInstance(), ErrorNeedsIgnore)
    at(VmState.ERROR).refused(HardDeleteInstance(), ErrorNeedsIgnore)
    at(VmState.ERROR).send(HardDeleteInstance(ignore=True)).settle()


def test_a_reset_to_another_root_device_is_refused_by_name() -> None:
    refusal = at(VmState.ERROR).refused(ResetInstance(root_device_id="v"), NotSupportedYet)
    assert "root_device_id" in str(refusal)


def test_a_hard_delete_gives_everything_back() -> None:
    scenario = at(VmState.ACTIVE).send(HardDeleteInstance()).settle()
    assert scenario.ran == ["UndefineGuest", "UnplugPorts", "DeleteDisk", "UnbindPort", "Release"]


def test_an_update_changes_only_what_is_given_and_only_if_it_differs(instance: Scenario) -> None:
    instance.booted().send(UpdateInstance(name="other"))
    assert instance.now is not None
    assert (instance.now.name, instance.now.hostname) == ("other", "web")
    assert instance.send(UpdateInstance(name="other")).last == []


def test_a_cancelled_task_is_undone_and_the_status_is_as_before() -> None:
    scenario = at(VmState.STOPPED).send(StartInstance())
    assert scenario.now is not None
    assert scenario.now.task is not None
    scenario.send(CancelTask(task_id=scenario.now.task.id)).answer(
        lambda name, direction: JobError(code="job-failed", message="no") if name == "StartGuest" else None
    ).settle()
    assert scenario.now.vm_state is VmState.STOPPED
    assert scenario.now.task is None


def test_a_task_cancelled_while_its_last_steps_are_done_is_undone_all_the_same() -> None:
    scenario = Scenario().send(boot_command()).answer().answer()
    assert scenario.now is not None
    assert scenario.now.task is not None
    scenario.send(CancelTask(task_id=scenario.now.task.id)).settle()
    assert scenario.ran[-5:] == ["UndefineGuest", "UnplugPorts", "DeleteDisk", "UnbindPort", "Release"]
    assert (scenario.now.vm_state, scenario.now.host) == (VmState.ERROR, None)


@pytest.mark.parametrize("tried_before", [False, True])
def test_a_step_that_was_not_begun_is_undone_only_where_it_was_tried_before(tried_before: bool) -> None:
    def ends_with(code: str, ran: bool) -> Callable[[str, Direction], JobError | None]:
        return lambda name, _: JobError(code=code, message="no", ran=ran) if name == "CreateDisk" else None

    scenario = Scenario().send(boot_command()).answer().answer()
    if tried_before:
        scenario.answer(ends_with("job-failed", True))
    assert scenario.now is not None
    assert scenario.now.task is not None
    scenario.send(CancelTask(task_id=scenario.now.task.id)).answer(ends_with("aborted", False)).settle()
    assert scenario.events[-1].cancelled  # type: ignore[attr-defined]
    assert ("DeleteDisk" in scenario.ran) is tried_before


def test_a_cancelled_task_whose_step_is_never_answered_ends_cancelled() -> None:
    scenario = at(VmState.ACTIVE).send(StopInstance())
    assert scenario.now is not None
    assert scenario.now.task is not None
    scenario.send(CancelTask(task_id=scenario.now.task.id)).wait_out().settle()
    assert scenario.now.vm_state is VmState.ACTIVE
    assert "TaskFailed" in scenario.names()
    assert scenario.events[-1].cancelled  # type: ignore[attr-defined]


def test_a_task_that_is_not_running_cannot_be_cancelled(instance: Scenario) -> None:
    instance.booted().refused(CancelTask(task_id="nothing"), NoSuchTask)


def test_a_hard_delete_cannot_be_cancelled() -> None:
    scenario = at(VmState.ACTIVE).send(HardDeleteInstance())
    assert scenario.now is not None
    assert scenario.now.task is not None
    scenario.refused(CancelTask(task_id=scenario.now.task.id), WrongStatus)


def test_a_step_without_an_answer_is_sent_again_under_the_same_job_ids() -> None:
    scenario = at(VmState.ACTIVE).send(RebootInstance())
    first = scenario.sent[-1]
    scenario.wait_out()
    again = scenario.sent[-1]
    assert again.topic == Topic.JOBS
    assert again.data.jobs == first.data.jobs  # type: ignore[attr-defined]
    assert again.data.dispatch_id != first.data.dispatch_id  # type: ignore[attr-defined]


def test_nothing_waits_for_ever_even_if_nobody_answers() -> None:
    scenario = Scenario().send(boot_command())
    for _ in range(100):
        assert scenario.now is not None
        if scenario.now.task is None:
            break
        scenario.wait_out()
    assert scenario.status == "error"
    assert scenario.now is not None
    assert scenario.now.fault is not None
    assert scenario.now.fault.code == "deadline-passed"


def test_a_late_answer_to_what_is_over_changes_nothing() -> None:
    scenario = at(VmState.ACTIVE).send(StopInstance())
    late = scenario.results()
    scenario.settle()
    assert scenario.send(late).last == []
    assert scenario.send(JobsAnswered(task_id="x", dispatch_id="y", results=())).last == []


def test_a_host_of_a_newer_epoch_gets_the_job_again_in_it() -> None:
    scenario = at(VmState.ACTIVE).send(StopInstance())
    stale = JobError(code="stale-epoch", message="registered anew", details={"epoch": 4})
    scenario.answer(lambda name, direction: stale)
    assert scenario.now is not None
    assert scenario.now.host is not None
    assert scenario.now.host.epoch == 4
    assert scenario.sent[-1].data.epoch == 4  # type: ignore[attr-defined]
    scenario.settle()
    assert scenario.status == "stopped"


def test_a_step_that_takes_a_while_is_shown(instance: Scenario) -> None:
    instance.send(boot_command()).answer().answer()
    assert instance.now is not None
    task = instance.now.task
    assert task is not None
    assert task.dispatch is not None
    started = JobStarted(task_id=task.id, dispatch_id=task.dispatch.id, job_id="j", name="PrepareImage")
    instance.send(started)
    assert len(instance.last) == 1
    assert instance.send(started).last == []


@pytest.mark.parametrize("power", [Power.SHUTDOWN, Power.CRASHED])
def test_a_guest_that_goes_off_by_itself_is_stopped_and_comes_back_active(power: Power) -> None:
    scenario = at(VmState.ACTIVE).send(GuestObserved(host_id=HOST.id, epoch=1, power=power))
    assert scenario.status == "stopped"
    scenario.send(GuestObserved(host_id=HOST.id, epoch=1, power=Power.RUNNING))
    assert scenario.status == "active"


def test_what_another_host_or_an_older_epoch_says_of_a_guest_is_ignored() -> None:
    scenario = at(VmState.ACTIVE)
    assert scenario.send(GuestObserved(host_id="other", epoch=1, power=Power.SHUTDOWN)).last == []
    assert scenario.send(GuestObserved(host_id=HOST.id, epoch=0, power=Power.SHUTDOWN)).last == []


def test_while_a_task_runs_it_is_the_reason_for_what_is_seen() -> None:
    scenario = at(VmState.ACTIVE).send(StopInstance())
    assert scenario.send(GuestObserved(host_id=HOST.id, epoch=1, power=Power.SHUTDOWN)).last == []


def test_states_survive_being_stored() -> None:
    scenario = Scenario().send(boot_command()).answer()
    assert scenario.now is not None
    stored = scenario.now.model_dump_json(exclude_defaults=True)
    assert Instance.model_validate_json(stored) == scenario.now
