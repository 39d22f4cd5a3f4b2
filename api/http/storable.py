"""The check of every request before anything else reads its values: can the parts behind the API store them?

PostgreSQL stores no NUL, UTF-8 has no form of half a surrogate pair, and the integers of PostgreSQL and numpy have 64
bits. A value that one part accepts would otherwise break the next one, after secrets are stored or a command is sent.
"""

import json
import math
from collections.abc import Iterator
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from api.http.refusals import Malformed

LEAST, GREATEST = -(1 << 63), (1 << 63) - 1
"""Limits of every integer in a request."""
MOST_NESTED = 32
"""Objects and arrays of a body that may stand one within the other."""
Location = tuple[str | int, ...]
Fault = tuple[Location, str]
"""Where a value stands that cannot be stored, and why it cannot."""


async def must_be_storable(request: Request) -> None:
    """Check the path, the parameters, the headers and the JSON body of a request.

    Raises RequestValidationError, which names each field, and Malformed for a body that is no JSON.
    """
    found = [
        *_of_texts("path", request.path_params.items()),
        *_of_texts("query", request.query_params.multi_items()),
        *_of_texts("header", request.headers.items()),
    ]
    if await has_body(request):
        _must_be_json(request, await request.body())
        found += _of_value(await request.json(), ("body",))
    if found:
        raise RequestValidationError(
            [{"type": "value_error", "loc": where, "msg": why, "ctx": {"error": why}} for where, why in found]
        )


async def has_body(request: Request) -> bool:
    """Return whether the request has a body that its route reads as JSON."""
    return request.scope["route"].body_field is not None and bool(await request.body())


def _must_be_json(request: Request, body: bytes) -> None:
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise Malformed(why=f"the body must be JSON, with Content-Type: application/json (not {kind or 'none'})")
    if json.detect_encoding(body) != "utf-8":
        raise Malformed(why="the body is no JSON (it must be UTF-8 without a byte order mark)")


def _of_texts(part: str, values: Any) -> Iterator[Fault]:
    for name, value in values:
        if why := _of_text(name) or _of_text(value):
            yield (part, name), why


def _of_value(value: Any, where: Location) -> Iterator[Fault]:
    """Yield what cannot be stored of a JSON value, at any depth."""
    why = ""
    match value:
        case str():
            why = _of_text(value)
        case bool() | None:
            pass
        case int() if not LEAST <= value <= GREATEST:
            why = f"integers from {LEAST} to {GREATEST} are allowed (64 bits)"
        case float() if not math.isfinite(value):
            why = "must be a finite number"
        case dict() | list() if len(where) > MOST_NESTED:
            why = f"at most {MOST_NESTED} objects or arrays may stand one within the other"
        case dict():
            for name, each in value.items():
                if unfit := _of_text(name):
                    yield (*where, name), f"as a name: {unfit}"
                yield from _of_value(each, (*where, name))
        case list():
            for index, each in enumerate(value):
                yield from _of_value(each, (*where, index))
    if why:
        yield where, why


def _of_text(text: str) -> str:
    if "\x00" in text:
        return "the character U+0000 is not allowed"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "half of a surrogate pair (U+D800 to U+DFFF) is no character"
    return ""
