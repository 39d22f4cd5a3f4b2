"""Filters on events, checked against what there is: kinds of subjects, and types of events."""

import re
from collections.abc import Sequence
from functools import cache

from domain.aggregates import AGGREGATES
from domain.core.choices import alike, none_of
from domain.core.event_filter import PREFIX, checked_subject, is_one_of, whole_types
from domain.core.messages import MESSAGES, Event, names_of

VERSION = re.compile(r"\.v[0-9]+$")


@cache
def _types() -> tuple[str, ...]:
    """Return the name of every type of event, in every revision."""
    events = {each for each in MESSAGES.values() if issubclass(each, Event)}
    return tuple(sorted(name for each in events for name in names_of(each)))


@cache
def _kinds() -> tuple[str, ...]:
    """Return every kind that events are about."""
    return tuple(sorted({*AGGREGATES, *(name.split(".")[1] for name in _types())}))


def event_types(given: Sequence[str]) -> list[str]:
    """Return names and patterns of types as they are compared. Raises ValueError for one that no type of event has."""
    whole = whole_types(given)
    for text, each in zip(dict.fromkeys(given), whole, strict=True):
        if not any(is_one_of(name, [each]) for name in _types()):
            known = dict.fromkeys(VERSION.sub("", name.removeprefix(PREFIX)) for name in _types())
            raise ValueError(none_of(text, alike(text, known) or [f"{kind}.*" for kind in _kinds()]))
    return list(whole)


def event_subject(given: str) -> str:
    """Return a subject, KIND/ID or an id. Raises ValueError for a kind that there is not."""
    subject = checked_subject(given)
    kind, slash, _ = subject.partition("/")
    if slash and kind not in _kinds():
        raise ValueError(none_of(kind, _kinds()))
    return subject
