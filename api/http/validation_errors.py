"""What was wrong with a request, for people: the field, what is allowed there, and what was given.

Never repeats what may be secret: an answer ends up in terminals and logs.
"""

from collections.abc import Sequence
from typing import Any

SECRET = {"password", "user_data", "private_key"}
LONGEST_GIVEN = 100
LIMITS = {
    "ge": "at least {}",
    "gt": "more than {}",
    "le": "at most {}",
    "lt": "less than {}",
    "multiple_of": "a multiple of {}",
    "min_length": "at least {} long",
    "max_length": "at most {} long",
    "pattern": "matching {}",
    "expected": "{}",
}


def explain(found: Sequence[Any]) -> list[dict[str, Any]]:
    """Each of pydantic's errors as field, message, and, where that is known, allowed and given."""
    return [_one(each) for each in found]


def _one(error: dict[str, Any]) -> dict[str, Any]:
    where = [str(part) for part in error["loc"] if part not in ("body", "query", "path", "header")]
    told: dict[str, Any] = {"field": ".".join(where) or "body", "message": _message(error)}
    context = error.get("ctx", {})
    allowed = [text.format(context[name]) for name, text in LIMITS.items() if name in context]
    if allowed:
        told["allowed"] = " and ".join(allowed)
    given = error.get("input")
    may_tell = not SECRET.intersection(where) and error["type"] != "extra_forbidden"
    if may_tell and isinstance(given, (str, int, float, bool)):
        told["given"] = given if not isinstance(given, str) else given[:LONGEST_GIVEN]
    return told


def _message(error: dict[str, Any]) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "there is no such field"
        case "missing":
            return "is needed"
        case "value_error":
            return str(error["ctx"]["error"])
        case _:
            return str(error["msg"])
