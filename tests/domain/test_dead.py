"""A dead record is the record as it came, as far as that fits on the topic."""

from typing import Any

import pytest

from domain.core.messages import Record, Topic
from domain.dead import LARGEST, PLACE, WHY, dead_record

MIB = 1 << 20


def bytes_of(record: Record) -> int:
    """With what the log puts around each header."""
    headers = sum(16 + len(name.encode()) + len(value) for name, value in record.headers)
    return len(record.key) + len(record.value) + headers


def test_a_record_that_fits_is_kept_whole() -> None:
    record = Record(Topic.COMMANDS, b"k", b"x" * (LARGEST - 100), (("ce_id", b"1"),), 3, 41)
    dead = dead_record(record, "boom")
    assert (dead.topic, dead.key, dead.value) == (Topic.DEAD, record.key, record.value)
    assert dead.headers == (("ce_id", b"1"), (PLACE, b"gostack.commands:3:41"), (WHY, b"boom"))
    assert bytes_of(dead) < MIB


@pytest.mark.parametrize(
    "parts",
    [
        {"value": b"x" * 4 * MIB},
        {"key": b"x" * 4 * MIB},
        {"headers": (("ce_type", b"x" * 4 * MIB),)},
        {"headers": (("x" * 4 * MIB, b""),)},
        {"headers": tuple((str(number), b"") for number in range(200_000))},
        {"headers": (("ce_subject", None), ("ce_type", b"x" * 4 * MIB))},
    ],
    ids=["value", "key", "header", "name", "headers", "no value"],
)
def test_one_that_is_too_large_is_kept_in_part_and_says_so(parts: dict[str, Any]) -> None:
    record = Record(**{"topic": Topic.EVENTS, "key": b"k", "value": b"v", **parts}, partition=3, offset=41)
    dead = dead_record(record, "boom")
    assert bytes_of(dead) < MIB // 2
    headers = dict(dead.headers)
    assert headers[PLACE] == b"gostack.events:3:41"
    assert headers[WHY].startswith(b"It is too large")
    assert headers[WHY].endswith(b" boom")
    assert record.value.startswith(dead.value)
    assert record.key.startswith(dead.key)
