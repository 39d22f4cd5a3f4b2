"""Words of a closed set, and parts of a document, as people write them."""

from typing import Any

import pytest

from domain.core.choices import alike, chosen, matching
from domain.core.errors import some_of
from domain.core.paths import located, pick

STATUSES = ("active", "paused", "stopped", "soft_deleted")


def test_case_does_not_matter() -> None:
    assert chosen("ACTIVE", STATUSES) == "active"
    assert chosen("createdisk", ["CreateDisk"]) == "CreateDisk"


def test_a_refusal_says_what_there_is_and_what_may_be_meant() -> None:
    with pytest.raises(ValueError, match="did you mean stopped") as refused:
        chosen("stoped", STATUSES)
    assert all(status in str(refused.value) for status in STATUSES)


def test_of_a_large_set_only_what_is_alike_is_listed() -> None:
    with pytest.raises(ValueError, match="word7") as refused:
        chosen("wrd7", [f"word{number}" for number in range(500)])
    assert len(str(refused.value)) < 1000


def test_a_pattern_stands_for_every_word_that_it_matches() -> None:
    assert matching("S*ED", STATUSES) == ["stopped", "soft_deleted"]
    with pytest.raises(ValueError, match="none of"):
        matching("x*", STATUSES)


def test_alike_whatever_the_case() -> None:
    assert alike("WEB", ["web1", "db"]) == ["web1"]


def test_holders_are_named_the_first_of_them() -> None:
    assert some_of(["a", "b"]) == "a, b"
    assert some_of(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


DOCUMENT = {"name": "web", "host": None, "nics": [{"ip": "10.0.0.2"}], "volumes": [], "extra": {"hw:a.b": "1"}}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("name", ("name", "web")),
        ("NAME", ("name", "web")),
        ("nics.0.ip", ("nics.0.ip", "10.0.0.2")),
        ("Nics.0.IP", ("nics.0.ip", "10.0.0.2")),
        ("nics.1.ip", ("nics.1.ip", None)),
        ("nics.ip", None),
        ("nics.99999999999999.ip", None),
        ("host.name", ("host.name", None)),
        ("volumes.0.name", ("volumes.0.name", None)),
        ("extra.hw:a.b", ("extra.hw:a.b", "1")),
        ("name.part", None),
        ("nosuch", None),
    ],
)
def test_parts_of_a_document(path: str, found: tuple[str, Any] | None) -> None:
    assert located(DOCUMENT, path) == found
    assert pick(DOCUMENT, path) == (found[1] if found else None)
