"""Every verb of every kind, from every status that it begins in, with each of its steps going wrong in every way.

Nothing here names a verb: what is walked follows from the action tables.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from commands.engine import DECIDERS
from domain.aggregates import WITH_TASKS
from domain.core.errors import InUse, Refusal, WrongStatus
from domain.core.messages import Command, Key
from domain.image import Image
from domain.instance.state import Instance
from domain.instance.states import STATES
from domain.tasks.action import Action
from domain.tasks.events import StepFailed, TaskFailed, TaskFinished
from domain.tasks.job import JOBS, HostJob
from domain.tasks.task import Direction, Task
from domain.tasks.walk import FORWARD_ATTEMPTS
from tests.domain.gadget import BESIDE, GADGET, registered
from tests.harness.prepare import ASKED, BEFORE, WAYS, prepared
from tests.harness.samples import sample
from tests.harness.stage import Stage
from tests.harness.walk import Fate, Fates, Walk, Walked, all_done, cancel, fated, starts

ID = "00000000-0000-0000-0000-000000000001"
FORWARD, UNDO = Direction.FORWARD, Direction.UNDO


def kind_of(name: str) -> Walked:
    module: Any = DECIDERS[name]
    creates = [action for action in module.RULES.actions.values() if action.creates]
    assert len(creates) == 1, f"one action of {name} says that it creates it"
    before = BEFORE.get(name, Walked.before)
    return Walked(module.RULES, module.decide, sample(creates[0].command), Key(name, ID), before=before)


KINDS = {name: kind_of(name) for name in sorted(WITH_TASKS)} | {"gadget": GADGET}


@pytest.fixture(autouse=True)
def gadgets() -> Iterator[None]:
    with registered():
        yield


@cache
def stages(kind: str) -> dict[str, Stage]:
    return starts(KINDS[kind])


def begins() -> Iterator[Any]:
    """Kind (and by which of several ways, KIND/WAY), action and status; of an action that makes one, no status."""
    for name, kind in KINDS.items():
        for action in kind.rules.actions.values():
            if action.command in BESIDE[1:]:
                continue
            for status in sorted(action.begins) or [""]:
                for way in WAYS.get(action.command, ("",)):
                    via = f"{name}/{way}" if way else name
                    yield pytest.param(via, action, str(status), id=f"{via}-{action.name}-from-{status or 'nothing'}")


every = pytest.mark.parametrize(("name", "action", "status"), list(begins()))


def power_is_right(now: Any) -> bool:
    """Whether an instance's guest has a power that goes with the instance's status; other kinds have none."""
    if not isinstance(now, Instance):
        return True
    powers = STATES[now.vm_state].power
    return powers is None or now.power in powers


class Begun:
    """An action that begins in a status, ready to be walked as often as there are ways."""

    def __init__(self, name: str, action: Action[Any], status: str) -> None:
        name, _, way = name.partition("/")
        self.kind = KINDS[name]
        self.action = action
        self.status = status
        before = stages(name)[status] if status else self.kind.stage()
        self.stage = prepared(self.kind, before, action.command, status, way)
        self.command: Command = sample(action.command, **ASKED.get((action.command, way), {}))
        if status:
            self.ends = action.end_status(self.stage.states[self.kind.key], self.command)
        happy = self.walk()
        if not status:
            self.ends = happy.now.current_status
        self.task: Task = happy.task_of(action.name)
        self.steps = self.task.plan.steps
        self.pivot = next((index for index, step in enumerate(self.steps) if step.pivot), len(self.steps))

    def walk(
        self,
        fates: Fates = all_done,
        *,
        twice: bool = False,
        interrupt: tuple[int, Callable[[Walk], None]] | None = None,
    ) -> Walk:
        """Go through it to its end."""
        return Walk(self.kind, self.stage.copy(), fates, twice, interrupt).send(self.command).settle()

    def before_pivot(self) -> range:
        """Steps that can fail without it being too late."""
        return range(min(self.pivot + 1, len(self.steps)))

    def after_pivot(self) -> range:
        return range(self.pivot + 1, len(self.steps))

    def assert_finished(self, walk: Walk) -> None:
        task = walk.task_of(self.action.name)
        assert isinstance(walk.ending(task), TaskFinished)
        assert walk.now.current_status == (self.status if self.action.beside else self.ends)
        assert walk.undone(task) == []
        walk.assert_consistent()
        self.assert_power(walk)

    def assert_failed(self, walk: Walk, code: str = "") -> None:
        task = walk.task_of(self.action.name)
        ending = walk.ending(task)
        assert isinstance(ending, TaskFailed)
        assert ending.undo_fault is None
        assert code in ("", ending.fault.code)
        fails = None if self.action.beside else self.action.fails
        assert walk.now.current_status == (fails or self.status)
        walk.assert_undone(task)
        made = [each for each in walk.stage.states.values() if isinstance(each, Image) and each.deleted is None]
        assert made == []
        unsure = bool([index for index in walk.done(task) if not self.steps[index].undo])
        walk.assert_consistent(unsure)
        if not unsure:
            self.assert_power(walk)

    def assert_power(self, walk: Walk) -> None:
        """An instance whose guest was as its status says before is so now."""
        if power_is_right(self.stage.states.get(self.kind.key)) and self.steps:
            assert power_is_right(walk.now), f"{walk.now.power} in {walk.now.vm_state}"

    def assert_changed_by_nothing_late(self, walk: Walk) -> None:
        now = walk.now
        walk.deliver_late()
        assert walk.now == now


@cache
def begun_as(name: str, action: str, status: str) -> Begun:
    """An action that begins in a status; no walk changes it, so that all tests of a process share one."""
    return Begun(name, KINDS[name.partition("/")[0]].rules.actions[action], status)


@every
def test_it_ends_where_its_row_says_and_so_if_everything_happens_twice(
    name: str, action: Action[Any], status: str
) -> None:
    begun = begun_as(name, action.name, status)
    begun.assert_finished(begun.walk())
    begun.assert_finished(begun.walk(twice=True))


@every
@pytest.mark.parametrize("fate", [Fate.FAILS, Fate.REFUSED])
def test_a_step_that_fails_is_undone_with_all_before_it(
    name: str, action: Action[Any], status: str, fate: Fate
) -> None:
    begun = begun_as(name, action.name, status)
    for index in begun.before_pivot():
        for twice in (False, True):
            walk = begun.walk(fated((FORWARD, index, fate)), twice=twice)
            begun.assert_failed(walk)
            ending = walk.ending(walk.task_of(action.name))
            assert isinstance(ending, TaskFailed)
            assert ending.fault.step == begun.steps[index].name
            if fate is Fate.REFUSED:
                assert index not in walk.undone(begun.task), "what did nothing is not undone"
            remove(begun.kind, walk)


@every
@pytest.mark.parametrize("fate", [Fate.LATE, Fate.LOST])
def test_a_step_that_nobody_answers_is_given_up_and_may_have_been_done(
    name: str, action: Action[Any], status: str, fate: Fate
) -> None:
    begun = begun_as(name, action.name, status)
    for index in begun.before_pivot():
        walk = begun.walk(fated((FORWARD, index, fate)))
        begun.assert_failed(walk, "deadline-passed")
        assert (index in walk.undone(begun.task)) == bool(begun.steps[index].undo)
        begun.assert_changed_by_nothing_late(walk)


@every
@pytest.mark.parametrize("fate", [Fate.FAILS, Fate.LATE, Fate.LOST])
def test_a_step_that_succeeds_the_second_time_is_as_good(
    name: str, action: Action[Any], status: str, fate: Fate
) -> None:
    begun = begun_as(name, action.name, status)
    for index, step in enumerate(begun.steps):
        if JOBS[step.name].attempts > 1 or index > begun.pivot:
            walk = begun.walk(fated((FORWARD, index, fate), times=1))
            begun.assert_finished(walk)
            begun.assert_changed_by_nothing_late(walk)


@every
def test_a_step_behind_the_pivot_is_tried_for_long_and_never_undone(
    name: str, action: Action[Any], status: str
) -> None:
    begun = begun_as(name, action.name, status)
    for index in begun.after_pivot():
        for fate in (Fate.FAILS, Fate.REFUSED, Fate.LATE):
            begun.assert_finished(begun.walk(fated((FORWARD, index, fate), times=FORWARD_ATTEMPTS - 1)))
            walk = begun.walk(fated((FORWARD, index, fate)))
            ending = walk.ending(walk.task_of(action.name))
            assert isinstance(ending, TaskFailed)
            assert ending.undo_fault is not None
            assert walk.undone(begun.task) == []
            assert walk.now.current_status == (status if action.beside else action.stuck or begun.kind.rules.error)


@every
@pytest.mark.parametrize("fate", [Fate.DONE, Fate.ABORTED, Fate.FAILS, Fate.LATE])
def test_a_task_cancelled_at_a_step_is_undone_unless_that_is_too_late(
    name: str, action: Action[Any], status: str, fate: Fate
) -> None:
    begun = begun_as(name, action.name, status)
    for index in range(len(begun.steps)):
        fates = fated((FORWARD, index, fate), times=1)
        walk = begun.walk(fates, interrupt=(index, cancel))
        done = fate is Fate.DONE and begun.pivot in walk.interrupted
        if not action.cancellable or index > begun.pivot or done:
            if fate is Fate.DONE or index > begun.pivot:
                begun.assert_finished(walk)
            continue
        begun.assert_failed(walk, "cancelled")
        of_host = issubclass(JOBS[begun.steps[index].name], HostJob)
        assert len(walk.aborts) == (1 if of_host else 0)
        begun.assert_changed_by_nothing_late(walk)


@every
def test_where_an_undo_fails_for_good_it_says_so_and_can_still_be_removed(
    name: str, action: Action[Any], status: str
) -> None:
    begun = begun_as(name, action.name, status)
    for index in begun.before_pivot():
        undoes = [each for each in range(index + 1) if begun.steps[each].undo]
        for failing in undoes:
            walk = begun.walk(fated((FORWARD, index, Fate.FAILS), (UNDO, failing, Fate.FAILS)))
            ending = walk.ending(walk.task_of(action.name))
            assert isinstance(ending, TaskFailed)
            assert ending.undo_fault is not None
            assert ending.undo_fault.step == begun.steps[failing].undo
            assert walk.undone(begun.task) == [each for each in reversed(undoes) if each >= failing]
            assert walk.now.current_status == (status if action.beside else begun.kind.rules.error)
            remove(begun.kind, walk)


@every
def test_an_undo_that_is_late_and_repeats_is_done_all_the_same(name: str, action: Action[Any], status: str) -> None:
    begun = begun_as(name, action.name, status)
    for index in begun.before_pivot():
        undoes = [each for each in range(index + 1) if begun.steps[each].undo]
        for late in undoes:
            once = fated((FORWARD, index, Fate.FAILS))
            undo = fated((UNDO, late, Fate.LATE), times=1)

            def fates(direction: Direction, step: int, once: Fates = once, undo: Fates = undo) -> Fate:
                return (once if direction is FORWARD else undo)(direction, step)

            walk = begun.walk(fates, twice=True)
            begun.assert_failed(walk)
            begun.assert_changed_by_nothing_late(walk)


@every
def test_a_host_that_registers_anew_at_a_step_gets_it_again(name: str, action: Action[Any], status: str) -> None:
    begun = begun_as(name, action.name, status)
    for index, step in enumerate(begun.steps):
        if issubclass(JOBS[step.name], HostJob):
            epochs: list[int] = []

            def renew(walk: Walk, on: Any = step.on, epochs: list[int] = epochs) -> None:
                epochs.append(walk.stage.register_again(walk.now.host_at(on).id))

            walk = begun.walk(interrupt=(index, renew))
            begun.assert_finished(walk)
            assert len(epochs) == 1
            assert not [each for each in walk.of_task(begun.task) if isinstance(each, StepFailed)]


@every
def test_what_passes_other_tasks_waits_until_they_are_undone(name: str, action: Action[Any], status: str) -> None:
    begun = begun_as(name, action.name, status)
    passing = [each for each in begun.kind.rules.actions.values() if each.passes and each.name != action.name]
    for other in passing:
        for index in range(len(begun.steps)):
            refused: list[Refusal | None] = []

            def ask(walk: Walk, other: Action[Any] = other, refused: list[Refusal | None] = refused) -> None:
                try:
                    walk.send(sample(other.command))
                    refused.append(None)
                except Refusal as problem:
                    refused.append(problem)

            walk = begun.walk(interrupt=(index, ask))
            (refusal,) = refused
            used = isinstance(refusal, InUse)
            assert refusal is None or used or not action.cancellable or status in (*other.already, "")
            if refusal is None:
                ended = walk.ending(walk.task_of(other.name))
                before = left_in(begun, walk)
                fits = before in {*other.begins, *other.already}
                assert isinstance(ended, TaskFinished) == fits
                assert fits or (isinstance(ended, TaskFailed) and ended.fault.code == WrongStatus.code)
            walk.assert_consistent()


def left_in(begun: Begun, walk: Walk) -> str:
    """The status in which the task of the action left the aggregate."""
    status = walk.ending(walk.task_of(begun.action.name)).status
    return status or begun.status


def remove(kind: Walked, walk: Walk) -> None:
    """What removes it for good does so from there, unless something else uses it, and leaves nothing behind."""
    for action in kind.rules.actions.values():
        if action.ends in kind.rules.gone and walk.now.current_status in action.begins:
            again = Walk(kind, walk.stage.copy())
            try:
                again.send(sample(action.command)).settle()
            except InUse:
                continue
            assert again.now.current_status == action.ends
            again.assert_consistent()
