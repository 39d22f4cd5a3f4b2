"""What tasks can do, on a kind that only tests know: two hosts, a pivot, work beside other work, progress."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from domain.core.errors import NotFound, TaskRunning, WrongStatus
from domain.core.messages import Message, Topic
from domain.tasks.decide import MOST_BESIDE
from domain.tasks.events import (
    CancelTask,
    DeadlinePassed,
    StepFailed,
    StepProgressed,
    StepsDispatched,
    TaskAccepted,
    TaskCancelRequested,
    TaskFailed,
    TaskFinished,
)
from domain.tasks.job import Where
from domain.tasks.messages import AbortJobs, DispatchHostJobs, JobProgressed, JobStarted
from domain.tasks.task import Direction, Task
from domain.tasks.walk import FORWARD_ATTEMPTS, LONGEST_PAUSE
from tests.domain.gadget import (
    BESIDE,
    GADGET,
    Gadget,
    GadgetHostRenewed,
    MoveGadget,
    PolishGadget,
    RemakeGadget,
    RetireGadget,
    ScrapGadget,
    registered,
)
from tests.harness.walk import Fate, Fates, Walk, all_done, cancel, fated

FORWARD, UNDO = Direction.FORWARD, Direction.UNDO
PLACE, FORGE, SHIP, SWITCH, GREET, TIDY, RELEASE = range(7)
"""Steps of a move."""


@pytest.fixture(autouse=True)
def gadgets() -> Iterator[None]:
    with registered():
        yield


def ready(fates: Fates = all_done) -> Walk:
    """A gadget on a host; the fates are those of what it does next."""
    walk = Walk(GADGET, GADGET.stage()).send(GADGET.create).settle()
    walk.fates = fates
    walk.events.clear()
    walk.ran.clear()
    return walk


def begun(message: Message, walk: Walk | None = None) -> Walk:
    """What the message asks for is on its way, at a host."""
    walk = (walk or ready()).send(message)
    while walk.stage.sent and walk.stage.sent[0].topic is not Topic.JOBS:
        walk._deliver(walk.stage.sent.pop(0))
    return walk


def asking(message: Message) -> Callable[[Walk], None]:
    """What is asked while a step is on its way."""

    def ask(walk: Walk) -> None:
        walk.send(message)

    return ask


def gadget(walk: Walk) -> Gadget:
    now = walk.now
    assert isinstance(now, Gadget)
    return now


def on_its_way(walk: Walk) -> list[Any]:
    return [each.data for each in walk.stage.sent]


def dispatched(walk: Walk) -> list[StepsDispatched]:
    return [event for event in walk.events if isinstance(event, StepsDispatched)]


# Two hosts


def test_a_move_does_each_step_at_its_host_and_leaves_the_old_one_empty() -> None:
    walk = ready()
    old = gadget(walk).host
    walk.send(MoveGadget()).settle()
    now = gadget(walk)
    assert (now.status, now.incoming) == ("moved", None)
    assert now.host is not None
    assert old is not None
    assert now.host.id != old.id
    hosts = {event.dispatch.steps[0]: event.dispatch.host for event in dispatched(walk)}
    at = {step: host.id for step, host in hosts.items() if host}
    new = now.host.id
    assert at == {FORGE: new, SHIP: old.id, GREET: new, TIDY: old.id}
    walk.assert_consistent()


def test_a_move_that_fails_leaves_its_first_host_and_nothing_there() -> None:
    walk = ready(fated((FORWARD, SHIP, Fate.FAILS)))
    before = gadget(walk)
    walk.send(MoveGadget()).settle()
    assert (gadget(walk).host, gadget(walk).claim, gadget(walk).incoming) == (before.host, before.claim, None)
    walk.assert_consistent()


@pytest.mark.parametrize(("step", "where"), [(FORGE, Where.THERE), (SHIP, Where.HERE)])
def test_a_host_that_registers_anew_is_renewed_where_the_step_was(step: int, where: Where) -> None:
    walk = ready()
    renewed: list[tuple[str, int]] = []

    def renew(walk: Walk) -> None:
        host = gadget(walk).host_at(where)
        assert host is not None
        renewed.append((host.id, walk.stage.register_again(host.id)))

    walk.interrupt = (step, renew)
    walk.send(MoveGadget()).settle()
    assert [(each.host_id, each.epoch) for each in walk.events if isinstance(each, GadgetHostRenewed)] == renewed
    again = [each.dispatch.host for each in dispatched(walk) if each.dispatch.steps[0] == step and each.dispatch.host]
    assert [(host.id, host.epoch) for host in again] == [(renewed[0][0], 1), *renewed]
    assert gadget(walk).status == "moved"


# The pivot


def test_what_follows_the_pivot_is_sent_when_that_is_known_to_be_done() -> None:
    walk = ready()
    walk.send(MoveGadget()).settle()
    assert [event.dispatch.steps for event in dispatched(walk)] == [
        (PLACE,),
        (FORGE,),
        (SHIP, SWITCH),
        (GREET,),
        (TIDY,),
        (RELEASE,),
    ]


def test_behind_the_pivot_a_step_is_tried_again_after_longer_and_longer_pauses() -> None:
    walk = ready(fated((FORWARD, GREET, Fate.FAILS)))
    walk.send(MoveGadget()).settle()
    tries = [event.dispatch for event in dispatched(walk) if event.dispatch.steps[0] == GREET]
    held = [each for each in tries if each.held]
    pauses = [(each.deadline - each.sent).total_seconds() for each in held]
    assert pauses == sorted(pauses)
    assert (pauses[0] < 5, pauses[-1]) == (True, LONGEST_PAUSE)
    assert [each.attempt for each in tries if not each.held] == list(range(1, FORWARD_ATTEMPTS + 1))
    assert walk.done(walk.task_of("move"))[-1] == GREET
    ending = walk.ending(walk.task_of("move"))
    assert isinstance(ending, TaskFailed)
    assert (ending.status, ending.fault.step, ending.undo_fault) == ("error", "Greet", ending.fault)


def test_what_is_held_is_not_sent_and_ends_when_it_succeeds() -> None:
    walk = ready(fated((FORWARD, TIDY, Fate.REFUSED), times=3))
    walk.send(MoveGadget()).settle()
    assert gadget(walk).status == "moved"
    assert [each.dispatch.held for each in dispatched(walk) if each.dispatch.steps == (TIDY,)] == [False, True] * 3 + [
        False
    ]
    assert walk.done(walk.task_of("move")) == [PLACE, FORGE, SHIP, SWITCH, GREET, TIDY, RELEASE]


def test_an_answer_that_comes_while_its_step_is_held_changes_nothing() -> None:
    walk = ready(fated((FORWARD, GREET, Fate.LATE), times=2))
    walk.send(MoveGadget())
    while not (dispatched(walk)[-1].dispatch.held):
        walk._deliver(walk.stage.sent.pop(0)) if walk.stage.sent else walk.let_deadline_pass()
    before = gadget(walk)
    walk.deliver_late()
    assert gadget(walk) == before
    assert gadget(walk.settle()).status == "moved"


def test_behind_the_pivot_nothing_is_cancelled() -> None:
    refused: list[str] = []

    def try_it(walk: Walk) -> None:
        task = gadget(walk).task
        assert task is not None
        with pytest.raises(WrongStatus) as caught:
            walk.send(CancelTask(task_id=task.id))
        refused.append(str(caught.value))

    for step in (GREET, TIDY, RELEASE):
        walk = ready()
        walk.interrupt = (step, try_it)
        assert gadget(walk.send(MoveGadget()).settle()).status == "moved"
    assert len(refused) == 3


def test_what_waits_for_a_move_behind_its_pivot_waits_until_that_is_done() -> None:
    walk = ready()
    walk.interrupt = (GREET, asking(ScrapGadget()))
    assert gadget(walk.send(MoveGadget()).settle()).status == "gone"
    assert isinstance(walk.ending(walk.task_of("move")), TaskFinished)
    assert not [each for each in walk.events if isinstance(each, TaskCancelRequested)]
    walk.assert_consistent()


def test_a_cancelled_task_whose_pivot_is_done_all_the_same_goes_forward() -> None:
    walk = ready()
    walk.interrupt = (SHIP, cancel)
    assert gadget(walk.send(MoveGadget()).settle()).status == "moved"
    assert [each for each in walk.events if isinstance(each, TaskCancelRequested)]


def test_what_waited_and_cannot_begin_from_there_fails_and_says_why() -> None:
    walk = ready()
    walk.interrupt = (GREET, asking(RetireGadget()))
    assert gadget(walk.send(MoveGadget()).settle()).status == "moved"
    ending = walk.ending(walk.task_of("retire"))
    assert isinstance(ending, TaskFailed)
    assert (ending.fault.code, ending.status) == (WrongStatus.code, "moved")
    assert "moved" in ending.fault.message


# Beside other work


def copies(count: int, walk: Walk | None = None) -> Walk:
    walk = walk or ready()
    for command in BESIDE[:count]:
        walk.send(command())
    return walk


def test_work_runs_beside_other_work_and_leaves_the_status_alone() -> None:
    walk = copies(2)
    walk.send(PolishGadget())
    assert len(gadget(walk).tasks) == 3
    beside = [each.beside for each in on_its_way(walk) if isinstance(each, DispatchHostJobs)]
    assert beside == [True, True, False]
    assert gadget(walk.settle()).status == "bright"
    assert len([each for each in walk.events if isinstance(each, TaskFinished)]) == 3


def test_beside_work_that_fails_leaves_status_and_fault_alone() -> None:
    walk = ready(fated((FORWARD, 1, Fate.FAILS)))
    before = gadget(walk)
    copies(1, walk).settle()
    assert gadget(walk) == before
    assert walk.undone(walk.task_of("copy-1")) == [0]


def test_the_same_work_does_not_run_twice_beside_itself() -> None:
    walk = copies(1)
    with pytest.raises(TaskRunning):
        walk.send(BESIDE[0]())


def test_only_so_many_tasks_run_beside() -> None:
    walk = copies(MOST_BESIDE)
    with pytest.raises(TaskRunning):
        walk.send(BESIDE[MOST_BESIDE]())
    assert gadget(walk.settle()).tasks == ()
    assert len(gadget(copies(1, walk)).tasks) == 1


def test_work_that_must_be_alone_is_refused_beside_others() -> None:
    with pytest.raises(TaskRunning) as caught:
        copies(1).send(RemakeGadget())
    assert "copy-1" in str(caught.value)


def test_what_passes_stops_the_main_task_and_all_beside_it() -> None:
    walk = copies(2)
    walk.send(PolishGadget()).send(ScrapGadget())
    stopped = {each.task_id for each in walk.events if isinstance(each, TaskCancelRequested)}
    assert stopped == {task.id for task in gadget(walk).tasks}
    assert len(stopped) == 3
    assert gadget(walk.settle()).status == "gone"
    failed = [each for each in walk.events if isinstance(each, TaskFailed)]
    assert [each.cancelled for each in failed] == [True] * 3
    assert {each.action for each in failed} == {"copy-1", "copy-2", "polish"}


def test_while_something_waits_nothing_else_begins() -> None:
    walk = copies(1).send(ScrapGadget())
    for command in (PolishGadget(), BESIDE[1](), ScrapGadget(), RetireGadget()):
        with pytest.raises(TaskRunning):
            walk.send(command)


def test_each_task_has_its_own_deadline_and_the_first_is_due_first() -> None:
    walk = begun(PolishGadget(), copies(1))
    first, second = sorted(task.dispatch.deadline for task in gadget(walk).tasks if task.dispatch)
    assert gadget(walk).due_at == first < second
    walk.stage.sent.clear()
    walk.let_deadline_pass()
    assert gadget(walk).task is not None
    assert gadget(walk).task.dispatch.attempt == 2  # type: ignore[union-attr]


# Stopping


def test_a_host_is_told_to_stop_where_it_is_at_work() -> None:
    walk = begun(BESIDE[0]())
    (dispatch,) = on_its_way(walk)
    cancel(walk)
    abort = on_its_way(walk)[-1]
    assert abort == AbortJobs(dispatch_id=dispatch.dispatch_id, task_id=dispatch.task_id, host_id=dispatch.host_id)
    sent = walk.stage.sent[-1]
    host = gadget(walk).host
    assert host is not None
    assert (sent.topic, sent.key, sent.partition) == (Topic.JOBS, host.id, host.partition)


def test_nobody_is_told_to_stop_what_no_host_does_or_what_is_being_undone() -> None:
    walk = ready().send(MoveGadget())
    cancel(walk)
    assert not [each for each in on_its_way(walk) if isinstance(each, AbortJobs)]
    walk = ready(fated((FORWARD, 0, Fate.FAILS)))
    walk.send(PolishGadget())
    while gadget(walk).task and gadget(walk).task.direction is FORWARD:  # type: ignore[union-attr]
        walk._deliver(walk.stage.sent.pop(0))
    cancel(walk)
    assert [each for each in walk.events if isinstance(each, TaskCancelRequested)]
    assert not [each for each in on_its_way(walk) if isinstance(each, AbortJobs)]


def test_what_is_asked_of_a_gadget_that_is_gone_is_refused() -> None:
    walk = ready().send(ScrapGadget()).settle()
    for message in (PolishGadget(), CancelTask(task_id="t")):
        with pytest.raises(NotFound):
            walk.send(message)


# Progress


def progress(walk: Walk, percent: float, **about: Any) -> JobProgressed:
    (task,) = gadget(walk).tasks
    assert task.dispatch is not None
    given = {"task_id": task.id, "dispatch_id": task.dispatch.id, "job_id": "j", "name": "Ship"} | about
    return JobProgressed(percent=percent, **given)


def task_of(walk: Walk) -> Task:
    (task,) = gadget(walk).tasks
    return task


def deadline(walk: Walk) -> Any:
    dispatch = task_of(walk).dispatch
    assert dispatch is not None
    return dispatch.deadline


def test_progress_gives_a_dispatch_more_time() -> None:
    walk = begun(BESIDE[0]())
    before = deadline(walk)
    walk.stage.time += timedelta(seconds=90)
    walk.send(progress(walk, 10, done=1, total=10))
    assert deadline(walk) - before == timedelta(seconds=91)
    shown = task_of(walk).progress
    assert shown is not None
    assert (shown.step, shown.percent, shown.done, shown.total) == ("Ship", 10, 1, 10)


def test_progress_never_takes_time_away() -> None:
    walk = begun(BESIDE[0]())
    before = deadline(walk)
    walk.stage.time -= timedelta(seconds=60)
    walk.send(progress(walk, 10))
    assert deadline(walk) == before


def test_progress_that_is_told_too_often_is_not_recorded() -> None:
    walk = begun(BESIDE[0]())
    for percent, recorded in ((1, 1), (5.9, 1), (6, 2), (7, 2)):
        walk.send(progress(walk, percent))
        assert len([each for each in walk.events if isinstance(each, StepProgressed)]) == recorded
    walk.stage.time += timedelta(seconds=60)
    walk.send(progress(walk, 7))
    assert len([each for each in walk.events if isinstance(each, StepProgressed)]) == 3


def test_progress_of_another_dispatch_or_task_is_ignored() -> None:
    walk = begun(BESIDE[0]())
    before = gadget(walk)
    for about in ({"dispatch_id": "d"}, {"task_id": "t"}):
        walk.send(progress(walk, 50, **about))
        walk.send(JobStarted(**({"task_id": "t", "dispatch_id": "d", "job_id": "j", "name": "Ship"} | about)))
    assert gadget(walk) == before


def test_a_deadline_that_progress_has_moved_does_not_pass() -> None:
    """The timers told of it just before the progress was decided."""
    walk = begun(BESIDE[0]())
    before, due_id = deadline(walk), gadget(walk).due_id
    walk.stage.time = before - timedelta(seconds=5)
    walk.send(progress(walk, 10))
    walk.stage.time = before
    now = gadget(walk)
    walk.send(DeadlinePassed(due_id=due_id))
    assert gadget(walk) == now
    assert deadline(walk) > before


def test_the_next_attempt_has_no_progress_yet() -> None:
    walk = begun(BESIDE[0]())
    walk.send(progress(walk, 10))
    walk.let_deadline_pass()
    assert task_of(walk).progress is None


# Undoing


def test_a_step_that_fails_for_good_says_what_is_to_be_undone() -> None:
    walk = ready(fated((FORWARD, SHIP, Fate.FAILS)))
    walk.send(MoveGadget()).settle()
    (failed,) = [each for each in walk.events if isinstance(each, StepFailed)]
    assert (failed.step, failed.to_undo) == (SHIP, (SHIP, FORGE, PLACE))
    assert walk.undone(walk.task_of("move")) == [SHIP, FORGE, PLACE]


def test_a_task_keeps_what_its_command_said() -> None:
    walk = ready().send(MoveGadget())
    (accepted,) = [each for each in walk.events if isinstance(each, TaskAccepted)]
    assert accepted.task.plan.steps[PLACE].args == {"avoid": [gadget(walk).host.id]}  # type: ignore[union-attr]
