"""Data of every event at every revision that was ever written: golden/events.jsonl, which only grows.

Each line has a type name, data as it stands on the log, the shape that its class had then, and a seal: the SHA-256 of
the line and of the seal before it. So a line that is changed, moved or taken out breaks all that follow it.

`python -m tests.domain.golden_events` prints the lines that are missing.
"""

import enum
import hashlib
import json
import sys
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from domain.catalog import MESSAGES
from domain.core.messages import Event, Model
from domain.tasks.job import FACTS, Fact

FILE = Path(__file__).with_name("golden") / "events.jsonl"
PLAIN: dict[Any, Any] = {
    str: "text",
    int: 3,
    float: 1.5,
    bool: True,
    datetime: datetime(2026, 1, 2, 3, 4, 5, 678900, UTC),
    Any: {"any": [1, "two", None]},
}
NOTHING = type(None)
Shape = Any


class ShapeChanged(Exception):
    """A class is not what its data was written by, and has the same revision."""


@dataclass(frozen=True)
class Line:
    """A line of the file."""

    type: str
    data: Any
    shape: Shape
    seal: str = ""

    def text(self) -> str:
        """All but the seal."""
        return json.dumps({"type": self.type, "data": self.data, "shape": self.shape}, sort_keys=True)

    def sealed(self, before: str) -> "Line":
        """Behind the line with this seal."""
        seal = hashlib.sha256((before + self.text()).encode()).hexdigest()[:16]
        return Line(self.type, self.data, self.shape, seal)


def lines(text: str) -> list[Line]:
    """The lines of a file."""
    return [Line(**json.loads(line)) for line in text.splitlines()]


def broken(found: Sequence[Line]) -> str:
    """The first line whose seal does not fit, with its number; empty where all do."""
    before = ""
    for number, line in enumerate(found, 1):
        if line.sealed(before).seal != line.seal:
            return f"line {number} ({line.type}) is not what was written"
        before = line.seal
    return ""


def events() -> dict[str, type[Event]]:
    """Every event of today by its type name."""
    return {
        name: kind
        for name, kind in sorted(MESSAGES.items())
        if issubclass(kind, Event) and kind.__module__.startswith("domain.")
    }


def facts() -> list[type[Fact]]:
    """Every fact that an event may hold, by name."""
    return [kind for _, kind in sorted(FACTS.items())]


def shape(annotation: Any) -> Shape:
    """What may stand for a type in JSON: names, types and defaults of fields, all the way down."""
    if annotation in PLAIN:
        return getattr(annotation, "__name__", str(annotation))
    if annotation is NOTHING:
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return {"one of": sorted(each.value for each in annotation)}
    if annotation is Fact:
        return {"any of": sorted(map(shape, facts()), key=json.dumps)}
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return {
            name: {"is": shape(field.annotation)}
            if field.is_required()
            else {"is": shape(field.annotation), "default": _json(field.get_default(call_default_factory=True))}
            for name, field in annotation.model_fields.items()
        }
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return shape(arguments[0])
    if origin is Literal:
        return {"one of": sorted(arguments)}
    if origin in (types.UnionType, typing.Union):
        return {"any of": sorted(map(shape, arguments), key=json.dumps)}
    if origin is tuple:
        return {"list of": shape(arguments[0])}
    if origin is dict:
        return {"map of": [shape(each) for each in arguments]}
    raise TypeError(f"{annotation} is nothing an event should hold")


def grew(old: Shape, new: Shape) -> bool:
    """Whether all that differs is that there are more alternatives: all that was written is read as before."""
    if old == new:
        return True
    if not isinstance(old, dict) or not isinstance(new, dict):
        return isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and all(map(grew, old, new))
    if old.keys() != new.keys():
        return False
    if old.keys() == {"one of"}:
        return set(old["one of"]) <= set(new["one of"])
    if old.keys() == {"any of"}:
        return all(any(grew(each, other) for other in new["any of"]) for each in old["any of"])
    return all(grew(old[name], new[name]) for name in old)


def samples(kind: type[Event]) -> list[Event]:
    """Values of a class: what must be there alone, then all fields, with each alternative in one of them."""
    bare = {
        name: _sample(field.annotation, 0, name) for name, field in kind.model_fields.items() if field.is_required()
    }
    found = [kind(**bare)]
    for turn in range(_alternatives(kind)):
        whole = kind(**{name: _sample(field.annotation, turn, name) for name, field in kind.model_fields.items()})
        if whole not in found:
            found.append(whole)
    return found


def _sample(annotation: Any, turn: int, name: str = "") -> Any:
    if annotation is str:
        return name or "text"
    if annotation in PLAIN:
        return PLAIN[annotation]
    if annotation is NOTHING:
        return None
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        members = list(annotation)
        return members[turn % len(members)]
    if annotation is Fact:
        return _sample(facts()[turn % len(facts())], turn, name)
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation(
            **{field: _sample(each.annotation, turn, field) for field, each in annotation.model_fields.items()}
        )
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _sample(arguments[0], turn, name)
    if origin is Literal:
        return arguments[turn % len(arguments)]
    if origin in (types.UnionType, typing.Union):
        something = [each for each in arguments if each is not NOTHING]
        return _sample(something[turn % len(something)], turn, name)
    if origin is tuple:
        return tuple(_sample(arguments[0], turn + more, name) for more in range(2))
    if origin is dict:
        return {_sample(arguments[0], turn, "key"): _sample(arguments[1], turn, "value")}
    raise TypeError(f"{annotation} is nothing an event should hold")


def _alternatives(annotation: Any) -> int:
    """How many values it takes to have each alternative in one."""
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return len(annotation)
    if annotation is Fact:
        return max(len(facts()), *map(_alternatives, facts()))
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return max((_alternatives(field.annotation) for field in annotation.model_fields.values()), default=1)
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is Literal:
        return len(arguments)
    within = [_alternatives(each) for each in arguments if each is not Ellipsis]
    several = len([each for each in arguments if each is not NOTHING])
    if typing.get_origin(annotation) not in (types.UnionType, typing.Union):
        several = 1
    return max([several, *within], default=1)


def _json(value: Any) -> Any:
    if isinstance(value, Model):
        return value.model_dump(mode="json")
    if isinstance(value, tuple):
        return [_json(each) for each in value]
    return value.value if isinstance(value, enum.Enum) else value


def written(event: Event) -> Any:
    """An event's data as it stands on the log."""
    return json.loads(event.model_dump_json(exclude_defaults=True))


def missing(found: Sequence[Line], today: dict[str, type[Event]]) -> Iterator[Line]:
    """Lines to be added. Raises ShapeChanged where a new revision is needed first."""
    before = found[-1].seal if found else ""
    last = {line.type: line.shape for line in found}
    for name, kind in today.items():
        now = shape(kind)
        if last.get(name) == now:
            continue
        if name in last and not grew(last[name], now):
            raise ShapeChanged(
                f"{name} was written with another shape. Give {kind.__name__} a higher `revision`, and "
                f"domain/core/upcasting.py a step from {name}, so that what was written stays readable"
            )
        known = [line.data for line in found if line.type == name]
        new = [written(event) for event in samples(kind)]
        for data in [each for each in new if each not in known] or new[-1:]:
            line = Line(name, data, now).sealed(before)
            before = line.seal
            yield line


def main() -> None:
    """Print the lines that are missing."""
    try:
        for line in missing(lines(FILE.read_text() if FILE.exists() else ""), events()):
            print(json.dumps(vars(line), sort_keys=True))
    except ShapeChanged as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
