"""Columns of tables: the path of a value in a document, its heading, and its form for people."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Form = Callable[[Any], str]
EMPTY = "-"
BYTES = frozenset({"memory", "disk", "size", "virtual_size"})
MOMENTS = frozenset(
    {"created", "updated", "deleted", "launched", "accepted", "finished", "dispatched", "deadline", "purge_at", "time"}
)


def pick(document: Any, path: str) -> Any:
    """Return the value at a dotted path, or None. A key that has dots itself goes before the path it looks like."""
    if isinstance(document, dict):
        if path in document:
            return document[path]
        head, _, rest = path.partition(".")
        return pick(document.get(head), rest) if rest else None
    return None


def plain(value: Any) -> str:
    """Return a value as the text of a table's cell."""
    if value is None or value == "" or value == [] or value == {}:
        return EMPTY
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and not any(isinstance(each, (dict, list)) for each in value):
        return ", ".join(plain(each) for each in value)
    if isinstance(value, dict) and not any(isinstance(each, (dict, list)) for each in value.values()):
        return " ".join(f"{key}={plain(each)}" for key, each in value.items())
    return printable(bare(value))


def bare(value: Any) -> str:
    """Return a value for programs: empty for None, JSON for lists and objects."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def printable(text: str) -> str:
    """Return a text with its control characters escaped, so that no name can control a terminal or break a row."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def bytes_in_words(value: Any) -> str:
    """Return a number of bytes with a unit, such as 4G; other values as plain() does."""
    if isinstance(value, dict) and {"used", "total"} <= value.keys():
        return f"{bytes_in_words(value['used'])} of {bytes_in_words(value['total'])}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return plain(value)
    amount, unit = float(value), ""
    for unit in ("", "K", "M", "G", "T", "P"):
        if abs(amount) < 1024 or unit == "P":
            break
        amount /= 1024
    return f"{amount:.1f}".removesuffix(".0") + unit


def moment(value: Any) -> str:
    """Return a moment in UTC, to the second."""
    if not isinstance(value, str) or len(value) < 19:
        return plain(value)
    return f"{value[:19]}Z"


def used_of_total(value: Any) -> str:
    """Return an amount in use and the total, such as `2 of 8`."""
    if isinstance(value, dict) and {"used", "total"} <= value.keys():
        return f"{value['used']} of {value['total']}"
    return plain(value)


def place(value: Any) -> str:
    """Return a position on the log as the option --at takes it."""
    if isinstance(value, dict) and {"topic", "partition", "offset"} <= value.keys():
        return f"{value['topic']}/{value['partition']}/{value['offset']}"
    return plain(value)


def count(value: Any) -> str:
    """Return the number of elements of a list or an object."""
    return str(len(value)) if isinstance(value, (list, dict)) else plain(value)


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    path: str
    title: str = ""
    form: Form | None = None

    @property
    def heading(self) -> str:
        """The heading of the column."""
        return self.title or self.path

    def value(self, document: dict[str, Any]) -> Any:
        """Return the value in a document, as it is."""
        return pick(document, self.path)

    def cell(self, document: dict[str, Any]) -> str:
        """Return the value in a document, for people."""
        return (self.form or form_of(self.path))(self.value(document))


def form_of(path: str) -> Form:
    """Return the form of the values of a field, by its name."""
    name = path.rpartition(".")[2]
    if name in BYTES:
        return bytes_in_words
    if name in MOMENTS:
        return moment
    return plain


def flat(document: dict[str, Any], above: str = "") -> dict[str, str]:
    """Return a document as rows of names and cells; parts of fields have dotted names."""
    rows: dict[str, str] = {}
    for key, value in document.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and value and not {"used", "total"} <= value.keys():
            rows |= flat(value, f"{name}.")
        elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
            rows |= {f"{name}.{index}": plain(each) for index, each in enumerate(value)}
        else:
            form = used_of_total if key == "vcpus" else form_of(key)
            rows[name] = form(value)
    return rows
