"""Errors in the fields of a request, in words: the field, the allowed values, and the given one.

A value that may be secret is never repeated: an answer ends up in terminals and logs.
"""

from collections.abc import Sequence
from typing import Any

from api.http.patterns import IN_WORDS

SECRET = {"password", "user_data", "private_key"}
LONGEST_GIVEN = 100
MOST_ERRORS = 20
"""Most errors that an answer tells."""
LIMITS = {
    "ge": "at least {}",
    "gt": "more than {}",
    "le": "at most {}",
    "lt": "less than {}",
    "multiple_of": "a multiple of {}",
    "min_length": "at least {} long",
    "max_length": "at most {} long",
    "expected": "{}",
}


def explain(found: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the first of pydantic's errors as field, message, and, if known, the allowed and the given value."""
    return [_one(each) for each in found[:MOST_ERRORS]]


def _one(error: dict[str, Any]) -> dict[str, Any]:
    part, *names = error["loc"]
    where = [_shown(name) for name in names]
    told: dict[str, Any] = {"field": ".".join(where) or str(part), "message": _message(error)}
    context = error.get("ctx", {})
    allowed = [text.format(context[name]) for name, text in LIMITS.items() if name in context]
    if "pattern" in context:
        allowed.append(IN_WORDS.get(context["pattern"], "of another form"))
    if allowed:
        told["allowed"] = " and ".join(allowed)
    value = error.get("input")
    may_tell = not SECRET.intersection(where) and error["type"] != "extra_forbidden"
    if may_tell and isinstance(value, (str, int, float, bool)):
        told["given"] = value if not isinstance(value, str) else value[:LONGEST_GIVEN]
    return told


def _shown(name: str | int) -> str:
    """Return the name of a field as text that can be encoded: users name the fields that are not allowed."""
    return str(name)[:LONGEST_GIVEN].encode(errors="backslashreplace").decode()


def _message(error: dict[str, Any]) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "there is no such field"
        case "missing":
            return "is needed"
        case "value_error":
            return str(error["ctx"]["error"])
        case "string_pattern_mismatch":
            return f"must be {IN_WORDS.get(error['ctx']['pattern'], 'of another form')}"
        case _:
            return str(error["msg"])
