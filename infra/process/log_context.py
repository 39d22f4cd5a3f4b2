"""The log context: the ids of the task, instance, command, host, record and trace that the current code works on.

Each line of the log has them. Why a context variable: a line is written deep in a driver or a library that knows of no
task. The context follows a coroutine into what it awaits, into the tasks it makes, and into threads that are given it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from domain.core.messages import Command, Envelope


class LogContext(NamedTuple):
    """The ids that a line of the log gets: `fields` by name, and those in `envelope`.

    Ids are taken out of the envelope only when a line is written, since most messages are handled without one."""

    fields: Mapping[str, str]
    envelope: Envelope | None = None
    place: str = ""
    """Topic, partition and offset of the record that is handled; empty where there is none."""


EMPTY = LogContext({})
_NOW: ContextVar[LogContext] = ContextVar("log_context", default=EMPTY)


@contextmanager
def bound(**fields: str) -> Iterator[None]:
    """Add these fields to the log context for the time of a block. Empty fields are left out."""
    now = _NOW.get()
    token = _NOW.set(now._replace(fields={**now.fields, **{name: text for name, text in fields.items() if text}}))
    try:
        yield
    finally:
        _NOW.reset(token)


def bind(**fields: str) -> None:
    """Add these fields to the log context until the block of bound() around ends. Empty fields are left out."""
    now = _NOW.get()
    _NOW.set(now._replace(fields={**now.fields, **{name: text for name, text in fields.items() if text}}))


class handling:  # noqa: N801 - it reads as a verb, and a class costs a third of a generator, some thousand times a second
    """Make the ids of a message the log context for the time of a block."""

    __slots__ = ("_context", "_token")

    def __init__(self, envelope: Envelope | None, place: str = "") -> None:
        """`place` is the record's topic, partition and offset; `envelope` is None where the record cannot be read."""
        self._context = LogContext({}, envelope, place)

    def __enter__(self) -> None:
        self._token = _NOW.set(self._context)

    def __exit__(self, *_: object) -> None:
        _NOW.reset(self._token)


def fields() -> dict[str, str]:
    """Return the fields of the current log context by name, without those that have no value."""
    context = _NOW.get()
    found = described(context.envelope) if context.envelope else {}
    if context.place:
        found["place"] = context.place
    return {**found, **context.fields}


def described(envelope: Envelope) -> dict[str, str]:
    """Return the ids in an envelope by name, and its type. Other data is left out: it may be long, and personal."""
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
    """Return the trace id of a W3C `traceparent` header (https://www.w3.org/TR/trace-context/); empty for other
    text."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) >= 4 and len(parts[1]) == 32 else ""
