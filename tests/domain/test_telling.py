"""What a guest is told follows its record: a change of it is sent to the instance's hosts, without a task."""

import pytest

from domain.core.messages import Command
from domain.instance.actions.lifecycle.delete import DeleteInstance, HardDeleteInstance
from domain.instance.actions.lifecycle.hostname import ChangeInstanceHostname
from domain.instance.actions.lifecycle.restore import RestoreInstance
from domain.instance.actions.lifecycle.update import UpdateInstance
from domain.instance.actions.placement.migrate import MigrateInstance
from domain.instance.actions.power.reboot import HardRebootInstance
from domain.instance.actions.power.start import StartInstance
from domain.instance.actions.power.stop import StopInstance
from domain.instance.events import InstanceHostRenewed, InstanceUpdated
from domain.tasks.messages import DispatchHostJobs, JobError, JobResult, JobsAnswered
from tests.domain.instances import HOST, Scenario, boot_command

CHANGE = UpdateInstance(metadata={"role": "db"})


def told(story: Scenario) -> list[DispatchHostJobs]:
    """What the hosts were asked to tell, apart from all tasks."""
    sent = [each.data for each in story.sent if isinstance(each.data, DispatchHostJobs)]
    return [each for each in sent if not each.task_id]


def answered(dispatch: DispatchHostJobs, error: JobError | None = None) -> JobsAnswered:
    result = JobResult(job_id=dispatch.jobs[0].job_id, name="TellGuest", error=error)
    return JobsAnswered(task_id="", dispatch_id=dispatch.dispatch_id, host_id=dispatch.host_id, results=(result,))


@pytest.mark.parametrize("config_drive", [True, False])
@pytest.mark.parametrize("change", [CHANGE, UpdateInstance(name="other"), UpdateInstance(metadata={})])
def test_a_change_of_what_a_guest_is_told_is_sent_to_its_host(change: UpdateInstance, config_drive: bool) -> None:
    story = Scenario().booted(config_drive=config_drive, metadata={"role": "web"}).send(change)
    (dispatch,) = told(story)
    assert story.now is not None
    assert dispatch.guest is not None
    assert (dispatch.guest.name, dispatch.guest.metadata) == (story.now.name, story.now.metadata)
    assert (dispatch.host_id, [job.name for job in dispatch.jobs]) == (HOST.id, ["TellGuest"])
    assert [type(event) for event in story.last] == [InstanceUpdated]
    assert not story.now.tasks
    assert story.send(answered(dispatch)).last == []


@pytest.mark.parametrize("change", [UpdateInstance(description="in front of the shop"), UpdateInstance(name="web")])
def test_of_what_a_guest_is_not_told_or_has_not_changed_nothing_is_sent(change: UpdateInstance) -> None:
    assert told(Scenario().booted().send(change)) == []


def test_a_change_while_a_task_runs_does_not_wait_for_it() -> None:
    story = Scenario().booted().send(HardRebootInstance()).send(CHANGE)
    assert len(told(story)) == 1
    assert story.settle().status == "active"


def test_both_hosts_of_an_instance_that_has_moved_tell_it() -> None:
    story = Scenario().booted().send(MigrateInstance()).settle().send(CHANGE)
    assert len(told(story)) == 2


def test_another_host_name_is_told_after_whatever_was_told_meanwhile() -> None:
    story = Scenario().booted().send(ChangeInstanceHostname(hostname="other")).send(CHANGE).settle()
    assert [each.guest and each.guest.hostname for each in told(story)] == ["web", "other"]


def test_a_host_that_was_registered_again_is_asked_again_in_its_new_epoch() -> None:
    story = Scenario().booted().send(CHANGE)
    stale = JobError(code="stale-epoch", message="registered anew", details={"epoch": HOST.epoch + 2})
    story.send(answered(told(story)[0], stale))
    assert story.last == [InstanceHostRenewed(host_id=HOST.id, epoch=HOST.epoch + 2)]
    first, second = told(story)
    assert (second.epoch, first.dispatch_id != second.dispatch_id) == (HOST.epoch + 2, True)
    story.send(answered(first, stale))
    assert (story.last, len(told(story))) == ([], 3), "it is known by now, and the guest may not have been told"


def test_what_a_host_could_not_do_changes_nothing() -> None:
    story = Scenario().booted().send(CHANGE)
    before = story.now
    story.send(answered(told(story)[0], JobError(code="host-command-failed", message="the disk is full")))
    assert (story.last, story.now, len(told(story))) == ([], before, 1)


@pytest.mark.parametrize("command", [StartInstance(), RestoreInstance()])
def test_a_guest_is_told_when_it_is_started(command: Command) -> None:
    story = Scenario().booted()
    story.send(StopInstance() if isinstance(command, StartInstance) else DeleteInstance()).settle()
    assert story.send(command).settle().ran[-3:] == ["PlugPorts", "TellGuest", "StartGuest"]


def test_nothing_is_sent_for_what_has_no_host() -> None:
    none = JobError(code="no-valid-host", message="none", ran=False)
    failed = Scenario().send(boot_command()).send(CHANGE).settle(lambda name, direction: none).send(CHANGE)
    assert (failed.status, told(failed)) == ("error", [])
    story = Scenario().booted().send(CHANGE)
    late = told(story)[0]
    story.send(HardDeleteInstance()).settle()
    stale = JobError(code="stale-epoch", message="registered anew", details={"epoch": 9})
    assert (story.send(answered(late, stale)).last, len(told(story))) == ([], 1)
