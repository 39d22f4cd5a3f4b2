"""Columns of tables: the path of a value in a document, its heading, and its form for people."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from domain.core.paths import pick

Form = Callable[[Any], str]
EMPTY = "-"
BYTES = frozenset({"memory", "disk", "size", "virtual_size"})
AGES = ((86400, "d"), (3600, "h"), (60, "m"))
"""Seconds of the units of an age, of which it has two at least."""
MOMENTS = frozenset(
    {"created", "updated", "deleted", "launched", "accepted", "finished", "dispatched", "deadline", "purge_at", "time"}
)


def plain(value: Any) -> str:
    """Return a value as the text of a table's cell."""
    if value is None or value == "" or value == [] or value == {}:
        return EMPTY
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and not _nested(value):
        return ", ".join(plain(each) for each in value)
    if isinstance(value, dict) and not any(isinstance(each, (dict, list)) for each in value.values()):
        return " ".join(f"{key}={plain(each)}" for key, each in value.items())
    return bare(value)


def bare(value: Any) -> str:
    """Return a value for programs: empty for None, a,b for a list of words, JSON for objects."""
    return ",".join(listed(value)) if isinstance(value, list) and not _nested(value) else listed([value])[0]


def listed(value: Any) -> list[str]:
    """Return the elements of a list as texts for programs; any other value as the only one."""
    return [_word(each) for each in value] if isinstance(value, list) else [_word(value)]


def _word(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _nested(values: list[Any]) -> bool:
    return any(isinstance(each, (dict, list)) for each in values)


def bytes_in_words(value: Any) -> str:
    """Return a number of bytes with a unit, such as 4G; other values as plain() does."""
    if isinstance(value, dict) and {"used", "total"} <= value.keys():
        return f"{bytes_in_words(value['used'])} of {bytes_in_words(_capacity(value))}"
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


def age(value: Any) -> str:
    """Return how long ago a moment was: `90s`, `15m`, `7h`, `3d`."""
    try:
        seconds = int((datetime.now(UTC) - datetime.fromisoformat(str(value))).total_seconds())
    except (ValueError, TypeError):
        return plain(value)
    for unit, letter in AGES:
        if seconds >= 2 * unit:
            return f"{seconds // unit}{letter}"
    return f"{max(seconds, 0)}s"


def used_of_capacity(value: Any) -> str:
    """Return an amount in use and the amount that may be used, such as `2 of 8`."""
    if isinstance(value, dict) and {"used", "total"} <= value.keys():
        return f"{value['used']} of {_capacity(value)}"
    return plain(value)


def _capacity(value: dict[str, Any]) -> Any:
    """Return how much may be used, with overcommit; an API of an earlier release says only how much there is."""
    return value.get("capacity", value["total"])


def place(value: Any) -> str:
    """Return a position on the log as the option --at takes it."""
    if isinstance(value, dict) and {"topic", "partition", "offset"} <= value.keys():
        return f"{value['topic']}/{value['partition']}/{value['offset']}"
    return plain(value)


def pairs_in_words(value: Any) -> str:
    """Return addresses that a port may send from besides its own as the option --allowed-pairs takes them."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        return plain(value)
    return ",".join("@".join(filter(None, (each.get("cidr"), each.get("mac")))) for each in value) or EMPTY


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
            form = used_of_capacity if key == "vcpus" else form_of(key)
            rows[name] = form(value)
    return rows
