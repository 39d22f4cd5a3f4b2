"""Which events are wanted: each filter alone, all together, and what is no filter."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.core.event_filter import Interest, checked_subject, is_one_of, whole_types
from domain.core.messages import Record

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RECORD = Record(
    topic="gostack.events",
    key=b"1",
    value=b'{"task_id":"k","name":"t-of-another"}',
    headers=(
        ("ce_type", b"gostack.instance.created.v1"),
        ("ce_subject", b"instance/1"),
        ("ce_time", NOW.isoformat().encode()),
        ("ce_correlationid", b"c"),
        ("ce_taskid", b"j"),
        ("ce_actor", b"ann"),
        ("ce_project", b"p"),
    ),
)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("interest", "wanted"),
    [
        (Interest(), True),
        (Interest(subject="instance/1"), True),
        (Interest(subject="1"), True),
        (Interest(subject="host/1"), False),
        (Interest(subject="instance"), False),
        (Interest(types=("gostack.instance.created.v1",)), True),
        (Interest(types=("x", "gostack.instance.*")), True),
        (Interest(types=("gostack.instance.*.v2",)), False),
        (Interest(actor="ann"), True),
        (Interest(actor="an"), False),
        (Interest(project="p"), True),
        (Interest(project="q"), False),
        (Interest(task="c"), True),
        (Interest(task="k"), True),
        (Interest(task="j"), True),
        (Interest(task="t-of-another"), False),
        (Interest(task="x"), False),
        (Interest(since=NOW, until=NOW), True),
        (Interest(since=NOW + SECOND), False),
        (Interest(until=NOW - SECOND), False),
        (Interest(subject="1", types=("*created*",), actor="ann", project="p", task="k", since=NOW), True),
        (Interest(subject="1", types=("*created*",), actor="bob", project="p", task="k", since=NOW), False),
    ],
)
def test_a_record_is_wanted_where_all_holds(interest: Interest, wanted: bool) -> None:
    assert interest.wants(RECORD) is wanted


def test_a_record_without_what_is_asked_for_is_not_wanted() -> None:
    bare = Record(topic="gostack.events", key=b"", value=b"{}")
    assert Interest().wants(bare)
    for asked in (Interest(subject="1"), Interest(actor="a"), Interest(task="t"), Interest(types=("*a",))):
        assert not asked.wants(bare)


def test_a_pattern_stands_for_what_begins_with_the_common_prefix() -> None:
    assert whole_types(["instance.*", "gostack.task.finished.v1", "*.created.*", "instance.*"]) == (
        "gostack.instance.*",
        "gostack.task.finished.v1",
        "*.created.*",
    )
    assert is_one_of("gostack.instance.created.v1", whole_types(["instance.*"]))
    assert not is_one_of("gostack.instances.v1", whole_types(["instance.*"]))


def test_case_does_not_matter() -> None:
    assert whole_types(["Instance.Created.V1"]) == ("gostack.instance.created.v1",)
    assert checked_subject("INSTANCE/1") == "instance/1"


def test_a_name_without_a_version_stands_for_every_version() -> None:
    for given in ("task.accepted", "gostack.task.accepted", "task.*cepted"):
        assert is_one_of("gostack.task.accepted.v1", whole_types([given]))
        assert is_one_of("gostack.task.accepted.v12", whole_types([given]))
        assert not is_one_of("gostack.task.accepted-not.v1", whole_types([given]))
    assert not is_one_of("gostack.task.accepted.v2", whole_types(["task.accepted.v1"]))


@pytest.mark.parametrize("given", [["a b"], ["[a]"], [""], ["*****"], ["a" * 129], ["a"] * 17, ["a?"]])
def test_what_is_no_type_is_told_what_is_allowed(given: list[str]) -> None:
    with pytest.raises(ValueError, match=r"such as instance\.\*"):
        whole_types(given)


@pytest.mark.parametrize("given", ["instance", "/1", "instance/", "instance/a b", "web"])
def test_what_is_no_subject_is_told_what_is_allowed(given: str) -> None:
    with pytest.raises(ValueError, match="KIND/ID"):
        checked_subject(given)


@pytest.mark.parametrize("given", ["instance/1", "5a3f7c0b-8a07-5f0e-8e41-0f6c6a1d2e33", "dead/gostack.events:1:2"])
def test_a_subject_is_a_thing_or_an_id(given: str) -> None:
    assert checked_subject(given) == given
