"""boot, told step by step."""

import pytest

from domain.core.cells import DEFAULT_CELL
from domain.core.errors import AlreadyExists
from domain.core.messages import Topic
from domain.instance.actions import ACTIONS
from domain.instance.actions.lifecycle.delete import HardDeleteInstance
from domain.instance.state import VmState
from domain.tasks.messages import DispatchHostJobs, JobError
from domain.tasks.task import Direction
from tests.domain.instances import HOST, NETWORK, Scenario, boot_command

STEPS = [
    "Place",
    "BindPort",
    "PrepareImage",
    "CreateDisk",
    "WriteConfigDrive",
    "PlugPorts",
    "DefineGuest",
    "StartGuest",
]


def test_a_boot_runs_its_steps_in_order_and_ends_active(instance: Scenario) -> None:
    instance.booted()
    assert instance.ran == STEPS
    assert instance.now is not None
    assert (instance.status, instance.now.power) == ("active", "running")
    assert instance.now.host == HOST
    assert instance.now.launched is not None


def test_steps_for_one_host_travel_together(instance: Scenario) -> None:
    instance.booted()
    topics = [(each.topic, each.subject.kind) for each in instance.sent]
    assert topics == [(Topic.SCHEDULING, "cell"), (Topic.COMMANDS, "network"), (Topic.JOBS, "instance")]
    assert (instance.sent[0].key, instance.sent[1].subject.id) == (DEFAULT_CELL, NETWORK)
    job = instance.sent[2]
    assert (job.partition, job.key) == (HOST.partition, HOST.id)
    assert isinstance(job.data, DispatchHostJobs)
    assert [call.name for call in job.data.jobs] == STEPS[2:]
    assert job.data.guest is not None
    assert job.data.guest.nics[0].ip == "10.0.0.9"


def test_while_it_boots_its_status_is_building_and_its_task_names_the_step(instance: Scenario) -> None:
    instance.send(boot_command())
    assert instance.now is not None
    assert instance.now.task is not None
    assert (instance.status, instance.now.task.current_step) == ("building", "Place")


def test_an_instance_that_is_only_defined_is_stopped_and_was_never_started(instance: Scenario) -> None:
    instance.booted(only_define=True)
    assert "StartGuest" not in instance.ran
    assert instance.status == "stopped"


def test_without_config_drive_none_is_written(instance: Scenario) -> None:
    assert "WriteConfigDrive" not in instance.booted(config_drive=False).ran


def test_without_a_network_no_port_is_bound(instance: Scenario) -> None:
    assert "BindPort" not in instance.booted(nics=()).ran


def test_the_same_id_cannot_be_booted_twice(instance: Scenario) -> None:
    instance.booted()
    instance.refused(boot_command(), AlreadyExists)


UNDOES = {"Place": "Release", "BindPort": "UnbindPort", "CreateDisk": "DeleteDisk", "PlugPorts": "UnplugPorts"}
UNDOES |= {"DefineGuest": "UndefineGuest"}


@pytest.mark.parametrize("failing", STEPS)
def test_a_boot_that_fails_at_a_step_undoes_it_and_all_before_in_reverse(instance: Scenario, failing: str) -> None:
    def fails(name: str, direction: Direction) -> JobError | None:
        return JobError(code="job-failed", message="out of luck") if name == failing else None

    instance.send(boot_command()).settle(fails)
    done = STEPS[: STEPS.index(failing) + 1]
    undone = [name for name in instance.ran if name in UNDOES.values()]
    assert undone == [UNDOES[name] for name in reversed(done) if name in UNDOES]
    assert instance.status == "error"
    assert instance.now is not None
    assert instance.now.fault is not None
    assert (instance.now.fault.code, instance.now.fault.step) == ("job-failed", failing)
    assert instance.now.host is None
    assert instance.now.task is None


def test_a_step_that_was_refused_before_it_did_anything_is_neither_repeated_nor_undone(instance: Scenario) -> None:
    def fails(name: str, direction: Direction) -> JobError | None:
        if name == "Place":
            return JobError(code="no-valid-host", message="none", ran=False, details={"vcpu": 0})
        return None

    instance.send(boot_command()).settle(fails)
    assert instance.ran == ["Place"]
    assert instance.now is not None
    assert instance.now.fault is not None
    assert instance.now.fault.details == {"vcpu": 0}


@pytest.mark.parametrize("failing", sorted(set(UNDOES.values())))
def test_where_an_undo_fails_for_good_all_that_it_stands_on_is_kept_and_deleting_goes_on_from_there(
    instance: Scenario, failing: str
) -> None:
    def fails(name: str, direction: Direction) -> JobError | None:
        if name in ("StartGuest", failing):
            return JobError(code="job-failed", message=name)
        return None

    instance.send(boot_command()).settle(fails)
    assert instance.ran[-1] == failing
    assert instance.status == "error"
    assert instance.now is not None
    assert instance.now.vm_state is VmState.ERROR
    assert instance.now.host == HOST
    instance.ran.clear()
    instance.send(HardDeleteInstance(ignore=True)).settle()
    assert set(UNDOES.values()) - {"UnbindPort"} <= set(instance.ran)
    assert instance.status == "deleted"


def test_every_action_names_flow_steps_with_an_undo_or_a_reason() -> None:
    for action in ACTIONS.values():
        for step in action.flow.steps:
            assert (step.undo is None) != (step.no_undo == ""), action.name


def test_after_a_host_that_stays_silent_all_that_it_may_have_done_is_undone() -> None:
    """It may have done every step that was dispatched together, and only its answer be lost."""
    story = Scenario().send(boot_command())
    for _ in range(2):
        story.answer()
    assert story.now
    assert story.now.task
    assert story.now.task.dispatch
    sent = story.now.task.dispatch.steps
    while story.now.task and story.now.task.direction is Direction.FORWARD:
        story.wait_out()
    assert story.now.task
    steps = story.now.task.plan.steps
    assert story.now.task.to_undo == tuple(index for index in range(sent[-1], -1, -1) if steps[index].undo)
    assert "UndefineGuest" in [steps[index].undo for index in story.now.task.to_undo]
