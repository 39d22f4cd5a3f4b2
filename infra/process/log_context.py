"""What is worked on here and now, so that every line about it says so: task, instance, command, host, place, trace.

Why a context variable: a line is written deep in a driver or a library that knows of no task. What is worked on
follows a coroutine into what it awaits, the tasks it makes, and threads that are given its context.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from domain.core.messages import Command, Envelope


class Work(NamedTuple):
    """What is worked on. An envelope is taken apart only when a line is written."""

    fields: Mapping[str, str]
    envelope: Envelope | None = None
    place: str = ""


NOTHING = Work({})
_NOW: ContextVar[Work] = ContextVar("work", default=NOTHING)


@contextmanager
def doing(**fields: str) -> Iterator[None]:
    """Work on this for the time of a block, as part of what is worked on already. Empty fields say nothing."""
    now = _NOW.get()
    token = _NOW.set(now._replace(fields={**now.fields, **{name: text for name, text in fields.items() if text}}))
    try:
        yield
    finally:
        _NOW.reset(token)


def note(**fields: str) -> None:
    """From now on this is worked on as well, to the end of the block of doing() around."""
    now = _NOW.get()
    _NOW.set(now._replace(fields={**now.fields, **{name: text for name, text in fields.items() if text}}))


class handling:  # noqa: N801 - it reads as a verb, and a class costs a third of a generator, some thousand times a second
    """Work on what a record of the log says, for the time of a block."""

    __slots__ = ("_token", "_work")

    def __init__(self, envelope: Envelope | None, place: str = "") -> None:
        """`place`: the record's; the envelope is None where the record could not be read."""
        self._work = Work({}, envelope, place)

    def __enter__(self) -> None:
        self._token = _NOW.set(self._work)

    def __exit__(self, *_: object) -> None:
        _NOW.reset(self._token)


def fields() -> dict[str, str]:
    """What is worked on, by name; names without a value are left out."""
    work = _NOW.get()
    told = described(work.envelope) if work.envelope else {}
    if work.place:
        told["place"] = work.place
    return {**told, **work.fields}


def described(envelope: Envelope) -> dict[str, str]:
    """What an envelope is about. Ids only: data may be long, and personal."""
    data: Any = envelope.data
    subject = envelope.subject
    asked = getattr(data, "reply", None) or data
    is_command = isinstance(data, Command)
    found = {
        "type": data.type_name,
        "subject": str(subject),
        "task": getattr(asked, "task_id", ""),
        "instance": getattr(asked, "instance_id", "") or _instance(str(getattr(asked, "subject", subject))),
        "host": getattr(data, "host_id", "") or (subject.id if subject.kind == "host" else ""),
        "command": envelope.id if is_command else "",
        "correlation": envelope.correlation,
        "trace": trace_id(envelope.traceparent),
    }
    return {name: text for name, text in found.items() if isinstance(text, str) and text}


def _instance(subject: str) -> str:
    """The id of a subject that is an instance; empty for others."""
    kind, _, ident = subject.partition("/")
    return ident if kind == "instance" else ""


def trace_id(traceparent: str) -> str:
    """The trace of a W3C `traceparent` header (https://www.w3.org/TR/trace-context/); empty where it is none."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) >= 4 and len(parts[1]) == 32 else ""
