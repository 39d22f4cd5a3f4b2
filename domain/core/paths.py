"""Parts of a document, by their dotted paths: `flavor.name`, `nics.0.ip`.

Why here: the API answers with the parts that a request names and `gs` prints them, so both read a path alike.
"""

from typing import Any

LONGEST_INDEX = 8
"""Most digits of the index of a list."""


def pick(document: Any, path: str) -> Any:
    """Return the value at a dotted path, or None. A key that has dots itself goes before the path it looks like."""
    found = located(document, path)
    return found[1] if found is not None else None


def located(document: Any, path: str) -> tuple[str, Any] | None:
    """Return a path as the document writes it, and the value there; None if the document has no such part. Case does
    not matter, and what is empty may have any part, whose value is None."""
    if document is None or document in ([], {}):
        return path, None
    if isinstance(document, dict):
        if (key := _key(document, path)) is not None:
            return key, document[key]
        head, dot, rest = path.partition(".")
        key = _key(document, head)
        return _below(key, document[key], rest) if dot and key is not None else None
    if isinstance(document, list):
        head, dot, rest = path.partition(".")
        if not (len(head) <= LONGEST_INDEX and head.isascii() and head.isdecimal()):
            return None
        value = document[int(head)] if int(head) < len(document) else None
        return _below(head, value, rest) if dot else (head, value)
    return None


def _below(key: str, value: Any, rest: str) -> tuple[str, Any] | None:
    found = located(value, rest)
    return (f"{key}.{found[0]}", found[1]) if found is not None else None


def _key(document: dict[str, Any], name: str) -> str | None:
    if name in document:
        return name
    return next((key for key in document if key.casefold() == name.casefold()), None)
