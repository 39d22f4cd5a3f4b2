"""Every event that was ever written is read as an event of today, and no class changes its shape unnoticed."""

import enum
import json
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from domain.core.errors import UnknownMessage
from domain.core.messages import (
    MESSAGES,
    Event,
    Model,
    Record,
    Topic,
    from_record,
    to_record,
)
from domain.core.upcasting import UPCASTS, today
from tests.domain.golden_events import FILE, Line, ShapeChanged, broken, events, grew, lines, missing, shape, written
from tests.domain.test_messages import GOLDEN, envelope

LINES = lines(FILE.read_text())
HOW = "python -m tests.domain.golden_events >> tests/domain/golden/events.jsonl"


def as_record(line: Line) -> Record:
    record = to_record(envelope(), Topic.EVENTS)
    headers = {**dict(record.headers), "ce_type": line.type.encode()}
    return replace(record, value=json.dumps(line.data).encode(), headers=tuple(headers.items()))


@pytest.mark.parametrize("line", LINES, ids=[f"{number}-{line.type}" for number, line in enumerate(LINES, 1)])
def test_what_was_ever_written_is_read_as_an_event_of_today(line: Line) -> None:
    event = from_record(as_record(line)).data
    assert isinstance(event, Event)
    assert event.type_name == today(line.type)
    if line.type == event.type_name:
        assert written(event) == line.data, "something of it is not read any more"


def test_what_was_written_is_never_changed() -> None:
    assert broken(LINES) == ""


def test_every_event_at_every_revision_has_a_line() -> None:
    ever = {line.split()[0] for line in GOLDEN.read_text().splitlines()}
    of_events = {name for name in ever if today(name) in events()}
    assert of_events | events().keys() | {name for name in UPCASTS if today(name) in events()} == {
        line.type for line in LINES
    }, HOW


def test_no_class_changed_its_shape_without_a_new_revision() -> None:
    new = list(missing(LINES, events()))
    assert new == [], f"{new[0].type} is new, or has more alternatives: {HOW}"


@pytest.mark.parametrize("change", ["data", "shape", "type", "seal"])
def test_a_changed_line_is_seen(change: str) -> None:
    other = replace(LINES[4], **{change: "x"})
    assert broken([*LINES[:4], other, *LINES[5:]]).startswith("line 5 ")


def test_a_line_that_is_moved_or_taken_out_is_seen() -> None:
    assert broken([*LINES[:4], *LINES[5:]]).startswith("line 5 ")
    assert broken([LINES[1], LINES[0], *LINES[2:]]).startswith("line 1 ")


# What is no new shape, and what is


class Colour(enum.Enum):
    RED = "red"


class MoreColours(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Part(Model):
    size: int


class Thing(Event):
    abstract: ClassVar[bool] = True
    type_name = "gostack.test.thing.v1"

    name: str
    note: str = ""
    colour: Colour = Colour.RED
    parts: tuple[Part, ...] = ()


class MoreAlternatives(Thing):
    abstract: ClassVar[bool] = True

    colour: MoreColours = MoreColours.RED  # type: ignore[assignment]


class OneFieldMore(Thing):
    abstract: ClassVar[bool] = True

    more: int = 0


class OtherDefault(Thing):
    abstract: ClassVar[bool] = True

    note: str = "none"


class OtherType(Thing):
    abstract: ClassVar[bool] = True

    name: int  # type: ignore[assignment]


class NowRequired(Thing):
    abstract: ClassVar[bool] = True

    note: str


class LargerPart(Part):
    weight: int = 0


class OtherParts(Thing):
    abstract: ClassVar[bool] = True

    parts: tuple[LargerPart, ...] = ()


def recorded(kind: type[Event]) -> list[Line]:
    return list(missing([], {"t": kind}))


def test_a_new_event_needs_a_line() -> None:
    new = recorded(Thing)
    assert [line.data for line in new] == [
        {"name": "name"},
        {"name": "name", "note": "note", "parts": [{"size": 3}, {"size": 3}]},
    ]
    assert broken(new) == ""
    assert list(missing(new, {"t": Thing})) == []


def test_more_alternatives_need_a_line_and_no_revision() -> None:
    before = recorded(Thing)
    new = list(missing(before, {"t": MoreAlternatives}))
    assert [line.data["colour"] for line in new] == ["blue"]
    assert broken([*before, *new]) == ""
    assert list(missing([*before, *new], {"t": MoreAlternatives})) == []


@pytest.mark.parametrize("kind", [OneFieldMore, OtherDefault, OtherType, NowRequired, OtherParts])
def test_any_other_change_needs_a_new_revision(kind: type[Event]) -> None:
    with pytest.raises(ShapeChanged, match="higher `revision`"):
        list(missing(recorded(Thing), {"t": kind}))


def test_fewer_alternatives_need_a_new_revision() -> None:
    with pytest.raises(ShapeChanged):
        list(missing(recorded(MoreAlternatives), {"t": Thing}))


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (int | None, int | str | None, True),
        (int | str | None, int | None, False),
        (tuple[int, ...], tuple[str, ...], False),
        (dict[str, Colour], dict[str, MoreColours], True),
        (int, float, False),
    ],
)
def test_shapes_grow_by_alternatives_alone(old: Any, new: Any, same: bool) -> None:
    assert grew(shape(old), shape(new)) is same


def test_data_that_is_no_golden_one_is_not_read() -> None:
    """The test above can fail: what a class does not know is not taken for what it knows."""
    line = next(line for line in LINES if line.type == "gostack.zone.created.v2")
    with pytest.raises(UnknownMessage):
        from_record(as_record(replace(line, data={"title": "a"})))
    assert line.type in MESSAGES
