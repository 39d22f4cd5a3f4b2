"""Whatever is asked of an instance, whatever is answered, and however late: it is never stuck, never in two minds, and
its events tell all of it."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.core.errors import ErrorNeedsIgnore, NeverRan, Refusal
from domain.core.messages import (
    Command,
    Envelope,
    Event,
    Key,
    Message,
    Topic,
    from_record,
    to_record,
)
from domain.guest_spec import Nic, Power
from domain.host.reports import GuestObserved
from domain.instance.actions import ACTIONS
from domain.instance.actions.lifecycle.delete import DeleteInstance, HardDeleteInstance
from domain.instance.actions.lifecycle.restore import RestoreInstance
from domain.instance.actions.lifecycle.update import UpdateInstance
from domain.instance.actions.power.reboot import HardRebootInstance
from domain.instance.actions.power.stop import StopInstance
from domain.instance.evolve import evolve
from domain.instance.state import Instance, VmState
from domain.instance.status import STATUSES
from domain.tasks.action import Action
from domain.tasks.decide import MOST_BESIDE
from domain.tasks.events import (
    CancelTask,
    DeadlinePassed,
    StepsDispatched,
    StepsFinished,
    TaskAccepted,
    TaskFailed,
    TaskFinished,
    TaskPlanned,
)
from domain.tasks.job import Where
from domain.tasks.messages import JobCall, JobError, JobProgressed, JobStarted
from domain.tasks.task import Direction, Task, calls
from tests.domain.instances import HOST, NETWORK, START, Fails, Scenario, boot_command
from tests.harness.samples import sample, samples

COMMANDS = st.sampled_from([each.command for each in ACTIONS.values() if not each.creates]).flatmap(samples)
ERRORS = [
    JobError(code="job-failed", message="no"),
    JobError(code="no-valid-host", message="none", ran=False),
    JobError(code="stale-epoch", message="registered anew", details={"epoch": 3}),
    JobError(code="aborted", message="stopped in the middle"),
    JobError(code="aborted", message="not begun", ran=False),
]
errors = st.none() | st.sampled_from(ERRORS)


def fold(events: list[Event], instance_id: str, now: Instance | None = None) -> Instance | None:
    """The state that these events make, read back from the log."""
    for event in events:
        written = Envelope(
            id="00000000-0000-0000-0000-000000000001",
            data=event,
            subject=Key("instance", instance_id),
            time=START,
            source="test",
            correlation="c",
        )
        read = from_record(to_record(written, Topic.EVENTS)).data
        assert isinstance(read, Event)
        now = evolve(now, read, instance_id)
    return now


at_work = precondition(lambda self: self.story.now and self.story.now.tasks)


class InstanceMachine(RuleBasedStateMachine):
    """An instance, with everybody who has to do with it."""

    def __init__(self) -> None:
        super().__init__()
        self.story = Scenario()
        self.given: list[Message] = []
        """Answers and reports, to be delivered again."""
        self.replayed: Instance | None = None
        self.replayed_events = 0

    @property
    def now(self) -> Instance:
        assert self.story.now is not None
        return self.story.now

    def task(self, which: int) -> Task:
        """One of those that run."""
        return self.now.tasks[which % len(self.now.tasks)]

    def task_with(self, ident: str) -> Task:
        found = self.now.running(ident)
        assert found is not None
        return found

    def job(self, which: int, nth: int) -> tuple[Task, JobCall]:
        """One of those that are on their way for one of the tasks."""
        task = self.task(which)
        assert task.dispatch is not None
        jobs = calls(task, task.dispatch.steps, task.dispatch.direction)
        return task, jobs[nth % len(jobs)]

    def ask(self, message: Message) -> None:
        try:
            self.story.send(message)
        except Refusal:
            pass

    @initialize(
        nics=st.lists(st.booleans(), max_size=2),
        only_define=st.booleans(),
        config_drive=st.booleans(),
        first=st.lists(st.sampled_from([StopInstance(), DeleteInstance(), RestoreInstance()]), max_size=2) | st.none(),
    )
    def boot(self, nics: list[bool], only_define: bool, config_drive: bool, first: list[Message] | None) -> None:
        ports = tuple(Nic(network_id=NETWORK, keep_port=keep, port_id="kept" if keep else "") for keep in nics)
        self.story.send(boot_command(nics=ports, only_define=only_define, config_drive=config_drive))
        for each in first or ():
            self.story.settle()
            self.ask(each)

    @rule(command=COMMANDS)
    def act(self, command: Message) -> None:
        self.ask(command)

    @rule(name=st.sampled_from(["web", "other"]), metadata=st.none() | st.just({}) | st.just({"a": "b"}))
    def update(self, name: str, metadata: dict[str, str] | None) -> None:
        self.ask(UpdateInstance(name=name, metadata=metadata))

    @rule(which=st.integers(-1, 5))
    def cancel(self, which: int) -> None:
        self.ask(CancelTask(task_id=self.task(which).id if which >= 0 and self.now.tasks else "another"))

    @at_work
    @rule(error=errors, nth=st.integers(0, 7), which=st.integers(0, 5))
    def answer(self, error: JobError | None, nth: int, which: int) -> None:
        left = iter(range(nth, -1, -1))

        def fails(name: str, direction: Direction) -> JobError | None:
            return error if next(left, 1) == 0 else None

        answer = self.story.results(fails, self.task(which))
        self.given.append(answer)
        self.story.send(answer)

    @at_work
    @rule(count=st.integers(0, 3), which=st.integers(0, 5))
    def answer_only_some(self, count: int, which: int) -> None:
        answer = self.story.results(task=self.task(which))
        self.story.send(answer.but(results=answer.results[:count]))

    @at_work
    @rule(which=st.integers(0, 5))
    def answer_later(self, which: int) -> None:
        self.given.append(self.story.results(task=self.task(which)))

    @precondition(lambda self: self.given)
    @rule(which=st.integers(0, 20))
    def deliver_again(self, which: int) -> None:
        self.story.send(self.given[which % len(self.given)])

    @at_work
    @rule(which=st.integers(0, 5), nth=st.integers(0, 7))
    def report_a_start(self, which: int, nth: int) -> None:
        task, job = self.job(which, nth)
        assert task.dispatch is not None
        started = JobStarted(task_id=task.id, dispatch_id=task.dispatch.id, job_id=job.job_id, name=job.name)
        self.given.append(started)
        self.story.send(started)

    @at_work
    @rule(which=st.integers(0, 5), nth=st.integers(0, 7), percent=st.sampled_from([0.0, 4.0, 50.0, 100.0]))
    def report_progress(self, which: int, nth: int, percent: float) -> None:
        task, job = self.job(which, nth)
        assert task.dispatch is not None
        progress = JobProgressed(
            task_id=task.id, dispatch_id=task.dispatch.id, job_id=job.job_id, name=job.name, percent=percent
        )
        self.given.append(progress)
        before = self.task_with(task.id)
        self.story.send(progress)
        after = self.task_with(task.id)
        assert before.dispatch is not None
        assert after.dispatch is not None
        assert after.dispatch.deadline >= before.dispatch.deadline

    @precondition(lambda self: self.story.now and self.story.now.due_at)
    @rule()
    def let_the_deadline_pass(self) -> None:
        self.given.append(DeadlinePassed(due_id=self.now.due_id))
        self.story.wait_out()

    @rule(hours=st.sampled_from([1, 48]))
    def let_time_pass(self, hours: int) -> None:
        self.story.time += timedelta(hours=hours)

    @rule(power=st.sampled_from(Power), host=st.sampled_from([HOST.id, "other"]), epoch=st.integers(0, 4))
    def observe(self, power: Power, host: str, epoch: int) -> None:
        self.story.send(GuestObserved(host_id=host, epoch=epoch, power=power))

    @precondition(lambda self: self.story.now)
    @invariant()
    def what_runs_has_something_on_its_way_with_a_deadline(self) -> None:
        deadlines = {}
        for task in self.now.tasks:
            assert task.dispatch is not None
            assert task.dispatch.deadline > task.dispatch.sent
            deadlines[task.dispatch.id] = task.dispatch.deadline
        if deadlines:
            assert self.now.due_at == min(deadlines.values()) == deadlines[self.now.due_id]
        else:
            assert self.now.queued is None
            assert (self.now.due_at is None) == (self.now.due_id == "")

    @precondition(lambda self: self.story.now)
    @invariant()
    def its_status_is_one_that_users_know(self) -> None:
        assert self.story.status in STATUSES

    @invariant()
    def never_do_two_tasks_run_but_beside_each_other(self) -> None:
        running: dict[str, bool] = {}
        for event in self.story.events:
            match event:
                case TaskAccepted(queued=False) | TaskPlanned():
                    assert event.task.beside or all(running.values())
                    running[event.task_id] = event.task.beside
                case TaskFinished() | TaskFailed():
                    del running[event.task_id]
                case _:
                    pass
        now = self.story.now
        assert running == ({task.id: task.beside for task in now.tasks} if now else {})
        assert list(running.values()).count(True) <= MOST_BESIDE

    @precondition(lambda self: self.story.now and not self.story.now.tasks)
    @invariant()
    def a_claim_is_held_where_there_is_a_host(self) -> None:
        for where in Where:
            host, claim = self.now.held(where)
            assert (host is None) == (claim == "")
        hosts = [host.id for where in Where if (host := self.now.host_at(where))]
        assert len(set(hosts)) == len(hosts), "it moves to another host"

    @invariant()
    def nothing_is_sent_twice_under_one_id(self) -> None:
        ids = Counter(event.dispatch.id for event in self.story.events if isinstance(event, StepsDispatched))
        assert not ids or max(ids.values()) == 1

    @precondition(lambda self: self.story.now and self.story.now.vm_state is VmState.DELETED)
    @invariant()
    def what_is_deleted_holds_nothing(self) -> None:
        now = self.now
        assert (now.host, now.incoming, now.tasks, now.purge_at, now.power) == (None, None, (), None, Power.NONE)
        assert all(not nic.ip and (nic.keep_port or not nic.port_id) for nic in now.nics)
        assert now.deleted is not None

    @precondition(lambda self: self.story.now and self.story.now.vm_state is VmState.SOFT_DELETED)
    @invariant()
    def what_is_soft_deleted_goes_for_good_some_day_and_can_come_back_until_then(self) -> None:
        assert self.now.purge_at is not None
        assert self.now.before_delete not in (None, VmState.SOFT_DELETED, VmState.DELETED)

    @precondition(lambda self: self.story.now and self.story.now.vm_state is VmState.BUILDING)
    @invariant()
    def nothing_is_building_without_a_task(self) -> None:
        assert self.now.task is not None

    @invariant()
    def its_events_are_all_there_is_to_it(self) -> None:
        self.replayed = fold(self.story.events[self.replayed_events :], self.story.id, self.replayed)
        self.replayed_events = len(self.story.events)
        assert self.replayed == self.story.now

    def teardown(self) -> None:
        if self.story.now is None:
            return
        self.story.settle()
        assert self.now.tasks == ()
        accepted = [event.task_id for event in self.story.events if isinstance(event, TaskAccepted)]
        ended = [event.task_id for event in self.story.events if isinstance(event, TaskFinished | TaskFailed)]
        assert sorted(accepted) == sorted(ended), "every task that was accepted ends, once"
        assert fold(self.story.events, self.story.id) == self.now


TestInstance = InstanceMachine.TestCase
TestInstance.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None, database=None, print_blob=True
)


def fails_at(*wrong: str) -> Fails:
    return lambda name, direction: JobError(code="job-failed", message=name) if name in wrong else None


def unplaced() -> Scenario:
    """An instance that no host would take."""
    none = JobError(code="no-valid-host", message="none", ran=False)
    story = Scenario().send(boot_command()).settle(lambda name, direction: none)
    assert story.now is not None
    assert story.now.host is None
    return story


NEEDS_A_GUEST = [action for action in ACTIONS.values() if action.needs_host]


def half_undone() -> Scenario:
    """An instance whose boot failed and could not be undone: something of it is on its host."""
    story = Scenario().send(boot_command()).settle(fails_at("DefineGuest", "DeleteDisk", "UndefineGuest"))
    assert story.now is not None
    assert story.now.host is not None
    return story


@pytest.mark.parametrize("left", [unplaced, half_undone])
@pytest.mark.parametrize("action", NEEDS_A_GUEST, ids=lambda action: action.name)
def test_what_never_ran_does_nothing_but_be_deleted(left: Callable[[], Scenario], action: Action[Instance]) -> None:
    story = left()
    before = story.now
    refusal = story.refused(sample(action.command), NeverRan)
    assert f"nothing to {action.name}" in str(refusal)
    assert story.now == before, "its fault is still there"
    assert before is not None
    assert before.launched is None


def test_what_ran_and_is_in_error_is_saved_by_the_verbs_that_can() -> None:
    story = Scenario().send(boot_command(only_define=True)).settle().send(HardRebootInstance())
    story.settle(fails_at("StartGuest"))
    assert (story.status, story.now and story.now.launched) == ("error", None)
    assert story.send(HardRebootInstance()).settle().status == "active"


@pytest.mark.parametrize("command", [DeleteInstance(), HardDeleteInstance()])
def test_an_error_is_evidence_only_where_something_is_on_a_host(command: Command) -> None:
    half_undone().refused(command, ErrorNeedsIgnore)
    assert unplaced().send(command).settle().status in ("soft_deleted", "deleted")


def test_an_instance_without_a_host_can_be_deleted_restored_and_deleted_for_good() -> None:
    story = unplaced().send(DeleteInstance(ignore=True)).settle().send(RestoreInstance()).settle()
    assert story.status == "error"
    assert story.send(HardDeleteInstance(ignore=True)).settle().status == "deleted"


def test_an_instance_whose_restore_fails_is_still_purged_when_its_time_has_come() -> None:
    story = Scenario().booted().send(DeleteInstance(keep_for=3600)).settle()
    story.send(RestoreInstance()).settle(fails_at("StartGuest"))
    assert story.status == "soft_deleted"
    assert story.now is not None
    assert story.now.purge_at is not None
    assert story.wait_out().settle().status == "deleted"


def test_a_delete_during_a_restore_leaves_it_as_it_was_so_that_it_can_still_be_restored() -> None:
    story = Scenario().booted().send(DeleteInstance(keep_for=3600)).settle()
    assert story.now is not None
    purge_at = story.now.purge_at
    story.send(RestoreInstance()).send(DeleteInstance(keep_for=9999)).settle(fails_at("StartGuest"))
    assert (story.status, story.now.purge_at) == ("soft_deleted", purge_at)
    assert story.send(RestoreInstance()).settle().status == "active"


def test_a_job_that_fails_after_others_of_its_dispatch_was_on_its_way_until_then() -> None:
    """Whoever follows the jobs has to know what was sent with the one that failed."""
    story = Scenario().send(boot_command()).answer().answer()
    before = story.now
    story.send(story.results(fails_at("DefineGuest")))
    (finished, *_) = story.last
    assert isinstance(finished, StepsFinished)
    between = evolve(before, finished, story.id)
    assert between.task is not None
    assert between.task.dispatch is not None
    names = [between.task.plan.steps[index].name for index in between.task.dispatch.steps]
    assert names == ["DefineGuest", "StartGuest"]


@pytest.mark.parametrize("room", ["domain.aggregates", "projections.projector"])
def test_replay_does_not_even_import_what_could_decide(room: str) -> None:
    check = (
        f"import {room}, sys; print([each for each in sys.modules if each.startswith('domain') and 'decider' in each])"
    )
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=20)
    assert found.stdout.strip() == "[]"
