"""Which cells are asked for a place, and what follows where one has none."""

from collections import Counter

import pytest

from domain.core.cells import DEFAULT_CELL, MOST_CELLS, in_turn
from domain.core.errors import NoValidHost
from domain.core.messages import Topic
from domain.instance.events import InstanceCellChanged
from domain.tasks.events import CancelTask
from domain.tasks.messages import JobError
from domain.tasks.task import Direction
from tests.domain.instances import HOST, Scenario, boot_command

NONE_LEFT = JobError(code=NoValidHost.code, message="No valid host: of 1 hosts, 1 is full.", ran=False)


# The order


def test_each_cell_comes_first_as_often_as_it_has_hosts() -> None:
    hosts = {"a": 10, "b": 30, "c": 60}
    first = Counter(in_turn(hosts, str(number))[0] for number in range(10_000))
    assert {cell: round(count / 1000) for cell, count in first.items()} == {"a": 1, "b": 3, "c": 6}


def test_the_order_is_the_seeds_and_holds_all() -> None:
    hosts = {"a": 1, "b": 1, "c": 1}
    orders = {in_turn(hosts, str(number)) for number in range(100)}
    assert len(orders) == 6
    assert in_turn(hosts, "7") == in_turn(dict(reversed(hosts.items())), "7")


def test_another_cell_changes_nothing_among_the_others() -> None:
    for number in range(100):
        more = in_turn({"a": 3, "b": 5, "c": 4}, str(number))
        assert [cell for cell in more if cell != "c"] == list(in_turn({"a": 3, "b": 5}, str(number)))


def test_cells_without_hosts_are_not_asked_nor_too_many() -> None:
    assert in_turn({}, "s") == in_turn({"a": 0}, "s") == ()
    assert len(in_turn({str(number): 1 for number in range(20)}, "s")) == MOST_CELLS


# An instance that is asked for in several


def no_host(name: str, direction: Direction) -> JobError | None:
    return NONE_LEFT if name == "Place" else None


def asked(instance: Scenario) -> list[str]:
    """Cells, in the order in which they were asked for something."""
    return [each.key for each in instance.sent if each.topic is Topic.SCHEDULING]


@pytest.fixture
def two(instance: Scenario) -> Scenario:
    return instance.send(boot_command(cells=("a", "b")))


def test_without_cells_the_default_one_is_asked(instance: Scenario) -> None:
    instance.send(boot_command())
    assert asked(instance) == [DEFAULT_CELL]


def test_where_a_cell_has_no_host_the_next_is_asked(two: Scenario) -> None:
    two.answer(no_host)
    assert asked(two) == ["a", "b"]
    (changed,) = [each for each in two.last if isinstance(each, InstanceCellChanged)]
    assert (changed.before, changed.cell, changed.why) == ("a", "b", NONE_LEFT.message)
    assert two.status == "building"


def test_where_no_cell_has_a_host_the_task_fails_and_names_them_all(two: Scenario) -> None:
    two.answer(no_host).answer(no_host)
    assert asked(two) == ["a", "b"]
    assert two.now
    assert two.now.fault
    assert two.status == "error"
    assert two.now.fault.message == f"{NONE_LEFT.message} That is cell b; a had none before it."


def test_it_is_given_back_where_it_was_placed(two: Scenario) -> None:
    two.answer(no_host)
    two.settle(lambda name, _: JobError(code="job-failed", message="no") if name == "StartGuest" else None)
    assert asked(two) == ["a", "b", "b"]
    assert two.now
    assert two.now.host is None


def test_another_failure_than_having_no_host_asks_no_other_cell(two: Scenario) -> None:
    two.answer(lambda *_: JobError(code="parked", message="no", ran=False))
    assert asked(two) == ["a"]
    assert two.status == "error"


def test_a_cancelled_boot_asks_no_other_cell(two: Scenario) -> None:
    assert two.now
    assert two.now.task
    two.send(CancelTask(task_id=two.now.task.id))
    two.answer(no_host)
    assert asked(two) == ["a"]


def test_a_refusal_that_is_not_the_last_word_is_not_acted_upon(two: Scenario) -> None:
    """The cell was asked again since, and may have found a host by then: asking another would give it two."""
    assert two.now
    assert two.now.task
    assert two.now.task.dispatch
    first = two.now.task.dispatch.id
    two.wait_out()
    assert asked(two) == ["a", "a"]
    two.send(two.results(no_host).but(dispatch_id=first))
    assert asked(two) == ["a", "a"]
    two.answer(no_host)
    assert asked(two) == ["a", "a", "b"]


def test_every_cell_is_asked_as_often_as_the_first(instance: Scenario) -> None:
    instance.send(boot_command(cells=("a", "b")))
    instance.answer(no_host)
    for _ in range(3):
        instance.wait_out()
    assert asked(instance) == ["a", "b", "b", "b", "b"]
    assert instance.now
    assert instance.now.task
    assert instance.now.task.current_step == "Release"


def test_a_host_that_was_given_is_kept_with_its_cell(two: Scenario) -> None:
    two.answer(no_host)
    two.settle()
    assert two.now
    assert (two.now.cell, two.now.host) == ("b", HOST)
