"""What is no event, each in another way: whoever reads gostack.events has to get past it."""

from dataclasses import replace
from typing import Any

from domain.core.messages import Envelope, Key, Record, Topic, to_record
from domain.tasks.events import CommandSatisfied
from tests.harness.world import START

TASK = "00000000-0000-0000-0000-00000000cafe"
"""Of the event that all of these would be, and in their data too, so that who looks for it looks at them."""


def fact(ident: str) -> Record:
    """An event that is well, of no aggregate's versions."""
    data = CommandSatisfied(command="c", message=TASK)
    return to_record(Envelope(ident, data, Key("zone", "z"), START, "test", TASK), Topic.EVENTS)


def _spoiled(value: bytes = b"", /, **headers: Any) -> Record:
    """An event with another value, or other headers; those that are None have no value."""
    whole = fact("00000000-0000-0000-0000-00000000dead")
    told = {**dict(whole.headers), **headers}
    return replace(whole, value=value or whole.value, headers=tuple(told.items()))


def _without(header: str) -> Record:
    whole = _spoiled()
    return replace(whole, headers=tuple(each for each in whole.headers if each[0] != header))


NONSENSE = {
    "nothing at all": Record(Topic.EVENTS, b"", b""),
    "a header that is no text": _spoiled(ce_type=b"\x80"),
    "a type without a value": _spoiled(ce_type=None),
    "a subject without a value": _spoiled(ce_subject=None),
    "a time without a value": _spoiled(ce_time=None),
    "a cause without a value": _spoiled(ce_verdict=b"accepted", ce_causationid=None),
    "no id": _without("ce_id"),
    "no type": _without("ce_type"),
    "no subject": _without("ce_subject"),
    "no time": _without("ce_time"),
    "a time that is none": _spoiled(ce_time=b"yesterday"),
    "a version that is none": _spoiled(ce_aggversion=b"x"),
    "broken JSON": _spoiled(b'{"task_id":"' + TASK.encode() + b'"'),
    "bytes that are no text": _spoiled(b'{"task_id":"' + TASK.encode() + b'\xff"}'),
    "JSON that is no object": _spoiled(b'["' + TASK.encode() + b'"]'),
    "JSON too deep to read": _spoiled(b'{"task_id":"' + TASK.encode() + b'","a":' + b"[" * 100_000),
}
