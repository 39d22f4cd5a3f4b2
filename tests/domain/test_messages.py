"""What stands on the log stays readable: type names, the envelope, and everything that can be wrong with a record."""

import enum
import json
import types
import typing
import uuid
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from domain.catalog import MESSAGES
from domain.core.errors import UnknownMessage
from domain.core.messages import (
    Envelope,
    Event,
    Key,
    Message,
    Model,
    Record,
    Topic,
    derived_id,
    from_record,
    named_id,
    to_record,
    type_name,
)
from domain.core.upcasting import UPCASTS
from domain.guest_spec import Power
from domain.instance.actions.power.stop import StopInstance
from domain.jobs.guest import PowerSeen
from domain.jobs.scheduling import Released
from domain.tasks.events import CancelTask
from domain.tasks.job import FACTS, Fact
from domain.tasks.messages import JobResult

GOLDEN = Path(__file__).with_name("golden") / "message_types.txt"
OURS = {name: kind for name, kind in sorted(MESSAGES.items()) if kind.__module__.startswith("domain.")}

LENGTHS = ("min_length", "max_length")
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=8),
    int: st.integers(-(2**62), 2**62),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    bytes: st.binary(max_size=8),
    type(None): st.none(),
    datetime: st.datetimes(
        min_value=datetime(2000, 1, 1), timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3))])
    ),
    Any: st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
}


def values(annotation: Any) -> st.SearchStrategy[Any]:
    """Whatever a field of this type may hold."""
    if annotation in PLAIN:
        return PLAIN[annotation]
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return st.sampled_from(annotation)
    if annotation is Fact:
        return st.sampled_from(sorted(FACTS.values(), key=lambda kind: kind.__name__)).flatmap(models)
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return models(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return of_field(FieldInfo.from_annotation(annotation))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (types.UnionType, typing.Union):
        return st.one_of([values(each) for each in arguments])
    if origin is tuple:
        assert arguments[1:] == (...,), annotation
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if origin is dict:
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=2)
    raise TypeError(f"{annotation} is nothing a message should hold")


def of_field(field: FieldInfo) -> st.SearchStrategy[Any]:
    """Any value that a field may have."""
    inner = [each for each in typing.get_args(field.annotation) if each is not type(None)]
    if field.metadata and len(inner) == 1 and type(None) in typing.get_args(field.annotation):
        bounded = copy(field)
        bounded.annotation = inner[0]
        return st.none() | of_field(bounded)
    bounds = {name: getattr(each, name) for each in field.metadata for name in ("ge", "le") if hasattr(each, name)}
    if field.annotation is float and bounds:
        return st.floats(bounds.get("ge"), bounds.get("le"))
    if field.annotation == int | None and bounds:
        alone: Any = Annotated[int, *field.metadata]
        return st.none() | of_field(FieldInfo.from_annotation(alone))
    if field.annotation is int and bounds:
        multiple = next((each.multiple_of for each in field.metadata if hasattr(each, "multiple_of")), 1)
        least, most = (bounds[name] // multiple if name in bounds else None for name in ("ge", "le"))
        return st.integers(least, most).map(lambda number: number * multiple)
    patterns = [each.pattern for each in field.metadata if getattr(each, "pattern", None)]
    if field.annotation is str and patterns:
        return st.from_regex(patterns[0], fullmatch=True)
    lengths = {name: getattr(each, name) for each in field.metadata for name in LENGTHS if hasattr(each, name)}
    if field.annotation is str and lengths:
        return st.text(min_size=lengths.get("min_length", 0), max_size=min(lengths.get("max_length", 8), 8))
    return values(field.annotation)


def models(kind: type[Model]) -> st.SearchStrategy[Any]:
    """Any value of this class, with what has a default sometimes left out."""
    fields = kind.model_fields
    required = {name: of_field(field) for name, field in fields.items() if field.is_required()}
    optional = {name: of_field(field) for name, field in fields.items() if not field.is_required()}
    return st.fixed_dictionaries(required, optional=optional).map(lambda given: kind(**given))


def envelope(**changes: Any) -> Envelope:
    whole = Envelope(
        id=str(uuid.UUID(int=1)),
        data=StopInstance(),
        subject=Key("instance", str(uuid.UUID(int=2))),
        time=datetime(2026, 1, 1, tzinfo=UTC),
        source="test",
        correlation="c",
    )
    return replace(whole, **changes)


def altered(record: Record, **headers: bytes | None) -> Record:
    """The record with these headers instead; None: without."""
    kept = {**dict(record.headers), **headers}
    return replace(record, headers=tuple((name, value) for name, value in kept.items() if value is not None))


def required(kind: type[Message]) -> list[str]:
    return sorted(name for name, field in kind.model_fields.items() if field.is_required())


def golden() -> dict[str, list[str]]:
    """Every type ever written, with the fields that its first records all had."""
    return {name: fields for name, *fields in map(str.split, GOLDEN.read_text().splitlines())}


def test_every_type_ever_written_stays_readable() -> None:
    known = golden()
    lost = known.keys() - OURS.keys() - UPCASTS.keys()
    assert not lost, f"{lost} on the log cannot be read any more: give each a step in domain/core/upcasting.py"
    for name, fields in known.items():
        if name in UPCASTS:
            continue
        new = set(required(OURS[name])) - set(fields)
        assert not new, f"{name}: old records have no {new}; give a default, or make a new revision beside it"


def test_a_new_type_is_written_into_the_golden_file() -> None:
    lines = [" ".join((name, *required(kind))) for name, kind in OURS.items()]
    assert sorted(golden().keys() - UPCASTS.keys()) == list(OURS), "add to message_types.txt:\n" + "\n".join(lines)


def test_the_deepest_of_all_names_is_made_of_kind_and_class() -> None:
    assert type_name("instance", "HardRebootInstance", 1) == "gostack.instance.hard-reboot.v1"
    assert type_name("instance", "InstanceCreated", 2) == "gostack.instance.created.v2"
    assert type_name("server-group", "CreateServerGroup", 1) == "gostack.server-group.create.v1"
    assert type_name("host", "Host", 1) == "gostack.host.host.v1"


def test_one_name_cannot_stand_for_two_classes() -> None:
    class Stop(Event):
        kind = "oddity"

    assert MESSAGES.pop("gostack.oddity.stop.v1") is Stop
    with pytest.raises(TypeError, match="names both"):

        class InstanceStop(Event):
            kind = "instance"


@pytest.mark.parametrize("kind", OURS.values(), ids=OURS)
@settings(max_examples=8, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_message_survives_the_log(kind: type[Message], data: st.DataObject) -> None:
    sent = envelope(data=data.draw(models(kind)))
    found = from_record(to_record(sent, Topic.EVENTS))
    assert found == sent
    assert type(found.data) is kind


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)


@settings(max_examples=50, deadline=None, database=None)
@given(
    about=st.fixed_dictionaries(
        {"source": words, "correlation": words, "actor": words},
        optional={
            "causation": words,
            "project": words,
            "reason": words,
            "aggversion": st.integers(0),
            "verdict": st.sampled_from(["accepted", "already", "refused"]),
            "if_match": st.integers(0),
            "fingerprint": words,
            "traceparent": words,
            "cause_place": words,
            "task": words,
            "time": PLAIN[datetime],
        },
    )
)
def test_everything_said_about_a_message_survives_the_log(about: dict[str, Any]) -> None:
    sent = envelope(**about)
    assert from_record(to_record(sent, Topic.EVENTS)) == sent


def test_a_record_is_a_cloudevent_in_binary_mode() -> None:
    record = to_record(envelope(aggversion=7), Topic.EVENTS)
    headers = dict(record.headers)
    assert (headers["ce_specversion"], headers["content-type"]) == (b"1.0", b"application/json")
    assert headers["ce_type"] == b"gostack.instance.stop.v1"
    assert headers["ce_time"] == b"2026-01-01T00:00:00+00:00"
    assert headers["ce_aggversion"] == b"7"
    assert "ce_verdict" not in headers, "what is not known is not said"
    assert (record.value, record.key) == (b"{}", str(uuid.UUID(int=2)).encode())


def test_a_record_goes_where_it_is_sent() -> None:
    record = to_record(envelope(), Topic.JOBS, key="host", partition=5)
    assert (record.topic, record.key, record.partition) == ("gostack.jobs", b"host", 5)


def test_an_older_reader_survives_fields_it_does_not_know() -> None:
    record = replace(to_record(envelope(), Topic.COMMANDS), value=b'{"later": 1}')
    assert from_record(record).data == StopInstance()


@pytest.mark.parametrize("header", ["ce_id", "ce_type", "ce_source", "ce_subject", "ce_time", "ce_correlationid"])
def test_a_record_without_a_header_that_all_have_cannot_be_read(header: str) -> None:
    record = replace(altered(to_record(envelope(), Topic.COMMANDS), **{header: None}), partition=3, offset=9)
    with pytest.raises(UnknownMessage, match=f"gostack.commands:3:9.*{header}"):
        from_record(record)


WRONG = {
    "ce_type": b"gostack.instance.vanish.v1",
    "ce_subject": b"instance",
    "ce_time": b"yesterday",
    "ce_aggversion": b"seven",
    "ce_ifmatch": b"x",
    "ce_id": b"1",
}


@pytest.mark.parametrize("header", WRONG)
def test_a_header_with_another_form_cannot_be_read(header: str) -> None:
    with pytest.raises(UnknownMessage):
        from_record(altered(to_record(envelope(), Topic.COMMANDS), **{header: WRONG[header]}))


@pytest.mark.parametrize("value", [b"", b"\xff\x00", b"[]", b"{", b'{"task_id": 7}', b"null"])
def test_nonsense_for_a_value_cannot_be_read(value: bytes) -> None:
    record = altered(to_record(envelope(), Topic.COMMANDS), ce_type=b"gostack.task.cancel.v1")
    with pytest.raises(UnknownMessage):
        from_record(replace(record, value=value))


@pytest.mark.parametrize("name", ["ce_id", "ce_actor", "anything"])
def test_headers_that_are_no_text_cannot_be_read(name: str) -> None:
    with pytest.raises(UnknownMessage):
        from_record(altered(to_record(envelope(), Topic.COMMANDS), **{name: b"\xff\xfe"}))


def test_a_header_without_a_value_cannot_be_read() -> None:
    """Kafka has them: null is a value there."""
    record = to_record(envelope(), Topic.COMMANDS)
    null: Any = None
    with pytest.raises(UnknownMessage):
        from_record(replace(record, headers=(*record.headers, ("odd", null))))


def test_a_time_without_its_zone_cannot_be_read() -> None:
    with pytest.raises(UnknownMessage, match="UTC"):
        from_record(altered(to_record(envelope(), Topic.COMMANDS), ce_time=b"2026-01-01T00:00:00"))


@pytest.mark.parametrize(
    "wrong", [b"1", b"{00000000-0000-0000-0000-000000000001}", b"ABCDEFAB" + b"-0000" * 3 + b"-" + b"0" * 12]
)
def test_an_id_that_is_no_uuid_in_its_one_form_cannot_be_read(wrong: bytes) -> None:
    with pytest.raises(UnknownMessage, match="UUID"):
        from_record(altered(to_record(envelope(), Topic.COMMANDS), ce_id=wrong))


@pytest.mark.parametrize("name", ["ce_subject", "ce_actor", "ce_project"])
def test_a_header_that_no_database_can_hold_cannot_be_read(name: str) -> None:
    with pytest.raises(UnknownMessage):
        from_record(altered(to_record(envelope(), Topic.COMMANDS), **{name: b"instance/a\0b"}))


@settings(max_examples=200, deadline=None, database=None)
@given(
    headers=st.dictionaries(
        st.sampled_from([name for name, _ in to_record(envelope(), "t").headers]), st.binary(max_size=20)
    ),
    value=st.binary(max_size=20),
)
def test_nothing_but_unknown_message_comes_of_nonsense(headers: dict[str, bytes], value: bytes) -> None:
    record = replace(altered(to_record(envelope(), Topic.COMMANDS), **headers), value=value)
    try:
        from_record(record)
    except UnknownMessage:
        pass


@pytest.mark.parametrize("subject", ["", "instance", "instance/", "/1", "/"])
def test_a_subject_is_a_kind_and_an_id(subject: str) -> None:
    with pytest.raises(ValueError, match="KIND/ID"):
        Key.parse(subject)


def test_a_subject_is_written_as_it_is_read() -> None:
    assert Key.parse("server-group/a/b") == Key("server-group", "a/b")
    assert str(Key.parse("host/7")) == "host/7"


def test_derived_ids_never_change() -> None:
    cause = "00000000-0000-0000-0000-000000000001"
    assert derived_id(cause, 0) == str(uuid.uuid5(uuid.UUID(cause), "0"))
    assert derived_id(cause, "out", 0) == "818e8ebd-d6b4-58da-96ed-f1a67d42ca09"
    assert named_id("zone", "default") == "54a13dc0-5e4f-505c-8a77-6c02c2bc9fed"


def test_derived_ids_tell_causes_and_names_apart() -> None:
    one, two = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
    ids = [
        derived_id(one, 0),
        derived_id(two, 0),
        derived_id(one, 1),
        derived_id(one, "out", 0),
        derived_id(one, "out"),
    ]
    assert len(set(ids)) == len(ids)
    assert named_id("zone", "a", "b") != named_id("zone", "ab") != named_id("host", "ab")
    with pytest.raises(ValueError, match="UUID"):
        derived_id("no cause", 0)


def test_a_fact_is_read_as_the_kind_of_fact_it_is() -> None:
    """A fact's name is written with it, although it is its default, and is what it is read by."""
    result = JobResult(job_id="j", name="StartGuest", facts=(PowerSeen(power=Power.RUNNING), Released()))
    written = json.loads(result.model_dump_json(exclude_defaults=True))
    assert written["facts"] == [{"fact": "power", "power": "running"}, {"fact": "released"}]
    assert JobResult.model_validate(written) == result
    with pytest.raises(ValueError, match="no fact that is known"):
        JobResult.model_validate({**written, "facts": [{"fact": "nonsense"}]})


def test_values_are_replaced_and_never_changed() -> None:
    command = CancelTask(task_id="a")
    with pytest.raises(ValueError, match="frozen"):
        command.task_id = "b"  # type: ignore[misc]
    assert (command.but(task_id="b").task_id, command.task_id) == ("b", "a")
    stopped = envelope()
    assert replace(stopped, actor="bob").actor == "bob"
    assert stopped.actor == "system"
