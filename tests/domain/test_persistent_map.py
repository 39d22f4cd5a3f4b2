"""Tables: written in one order whoever writes them, and read again as what they were."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.core.messages import Model
from domain.core.persistent_map import EMPTY, Table


class Held(Model):
    """A model with a table."""

    numbers: Table[int] = EMPTY


def test_what_is_left_at_its_default_is_not_written() -> None:
    assert Held().model_dump_json(exclude_defaults=True) == "{}"
    assert Held.model_validate_json("{}") == Held()


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=4), st.integers(), max_size=40))
def test_a_table_is_written_sorted_and_read_again(numbers: dict[str, int]) -> None:
    held = Held.model_validate({"numbers": numbers})
    assert held.model_dump()["numbers"] == numbers
    assert list(held.model_dump()["numbers"]) == sorted(numbers)
    backwards = Held()
    for key in reversed(numbers):
        backwards = backwards.but(numbers=backwards.numbers.set(key, numbers[key]))
    assert backwards.model_dump_json() == held.model_dump_json()
    assert Held.model_validate_json(held.model_dump_json()) == held == backwards


def test_what_is_changed_is_another_table() -> None:
    before = Held.model_validate({"numbers": {"a": 1}})
    after = before.but(numbers=before.numbers.set("a", 2).set("b", 3))
    assert (dict(before.numbers), dict(after.numbers)) == ({"a": 1}, {"a": 2, "b": 3})


@pytest.mark.parametrize("wrong", [{"a": "x"}, 3, None])
def test_what_is_no_table_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        Held.model_validate({"numbers": wrong})
