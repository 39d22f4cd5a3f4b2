"""The log lines of a process: text for people at a terminal, else a JSON object a line, for machines.

Why one formatter at the root logger: lines of libraries (uvicorn, Faust, aiokafka) look the same as ours, and code that
writes a line says only what happened. The ids in the log context (infra/process/log_context.py) are added here. What
others wrote (a path, a guest's name, a library's error) can neither forge a line nor control a terminal: it is escaped
here, and what was given to an exception is left out (infra/process/error_text.py).
"""

import json
import logging
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, Any, Literal

from domain.core.text import printable
from infra.process import log_context
from infra.process.error_text import masked, named, text_of, traceback_of

Format = Literal["auto", "json", "text"]

LONGEST = 8 << 10
"""Characters of a message or an exception that are written; of a longer one, the beginning and the end."""
OWN = ("agent", "api", "cli", "commands", "domain", "gostack", "infra", "projections")
"""Loggers that the setting `log.level` is for.

Libraries log warnings and errors only: at lower levels some log headers, and with them tokens."""
SHOWN = ("task", "instance", "command", "host", "place", "trace")
"""Fields of the log context that a line for people shows."""


class Json(logging.Formatter):
    """Formats a log record as a line with one JSON object."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON in one line, whatever characters its message has."""
        line = {
            "time": moment(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": printable(bounded(_message(record))),
            "process": self._process,
            **{name: printable(text) for name, text in log_context.fields().items()},
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = type(record.exc_info[1]).__name__
            line["exception"] = _exception(record.exc_info[1])
        # Escaped to ASCII: a line then parses in any encoding, with any broken character of a guest's name in it.
        return json.dumps(line)


class Text(logging.Formatter):
    """Formats a log record as a line of text for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line of text, with the lines of a traceback below it."""
        known = log_context.fields()
        about = " ".join(f"{name}={known[name]}" for name in SHOWN if name in known)
        said = f"{bounded(_message(record))} [{about}]" if about else bounded(_message(record))
        line = f"{moment(record.created)} {record.levelname} {record.name} {printable(said)}"
        if record.exc_info and record.exc_info[1] is not None:
            line = f"{line}\n{_exception(record.exc_info[1])}"
        return line


def set_up(process: str, format: Format, level: str, stream: IO[str] | None = None) -> None:
    """Configure logging for the process named `process`, to `stream` or else to standard error.

    Exceptions that nothing catches, in the main thread or another, are logged in the same format.
    """
    stream = stream or sys.stderr
    as_text = stream.isatty() if format == "auto" else format == "text"
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Text() if as_text else Json(process))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in OWN:
        logging.getLogger(name).setLevel(level.upper())
    logging.getLogger("uvicorn").setLevel(logging.INFO)
    sys.excepthook = _log_uncaught
    sys.unraisablehook = _log_unraisable
    threading.excepthook = _thread_ended


def moment(seconds: float) -> str:
    """Format seconds since 1970 as RFC 3339 in UTC, to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def bounded(text: str) -> str:
    """Return the text; of one longer than LONGEST its beginning and its end, where the cause of an error stands."""
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]} … {len(text) - 2 * half} characters left out … {text[-half:]}"


class _Told:
    """An exception among the values of a message: formatted with %s or %r, it says no more than it may."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __str__(self) -> str:
        return text_of(self._error)

    def __repr__(self) -> str:
        return named(self._error)


def _told(value: Any) -> Any:
    return _Told(value) if isinstance(value, BaseException) else value


def _message(record: logging.LogRecord) -> str:
    said, values = str(_told(record.msg)), record.args
    if record.name == "asyncio" and record.exc_info:
        # Its further lines are representations of tasks and handles, with all that these were given.
        said = said.partition("\n")[0]
    if not values:
        return masked(said)
    try:
        if isinstance(values, Mapping):
            return masked(said % {name: _told(value) for name, value in values.items()})
        return masked(said % tuple(map(_told, values)))
    except Exception as error:
        # A line that was written wrongly is a fault, and no reason to lose it.
        return masked(f"{said!r} with {len(values)} values: {named(error)}")


def _exception(error: BaseException) -> str:
    """Return the traceback of an exception: its own line breaks stay, those in a text are escaped."""
    return bounded("\n".join(printable(bounded(line)) for line in traceback_of(error)))


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        traceback.print_exception(kind, error, trace)
        return
    logging.getLogger("gostack").critical(
        "the process ends because of %s", kind.__name__, exc_info=(kind, error, trace)
    )


def _log_unraisable(ignored: "sys.UnraisableHookArgs") -> None:
    logging.getLogger("gostack").error(
        "an exception was ignored while something was put away", exc_info=ignored.exc_value
    )


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None:
        name = ended.thread.name if ended.thread else "?"
        error = (ended.exc_type, ended.exc_value, ended.exc_traceback)
        logging.getLogger("gostack").error("the thread %s ended because of an exception", name, exc_info=error)
