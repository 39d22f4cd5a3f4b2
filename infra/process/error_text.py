"""Exceptions as text: what went wrong and where, and never what was given.

Why one place: the exception of a library may quote what a user sent (a refused request with its password, a row that
the database did not take) or what we sent (a request's headers with a token), and its text goes into logs, onto the log
of events and into answers. Whatever makes text of an exception for others to read does it here.
"""

import re
import subprocess
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

HIDDEN = "***"
MOST_FIELDS = 20
"""Refused fields that are named."""
LONGEST_FIELD = 100
"""Characters of the name of a refused field: a user may have made it up."""
MOST_CAUSES = 10
"""Exceptions of a chain of causes that are told, the last ones."""
CAUSE = "The above exception was the direct cause of the following exception:"
CONTEXT = "During handling of the above exception, another exception occurred:"
XML_REFUSED = 35
"""libvirt's number of an error whose text has the refused line of XML below its first line."""
QUOTES_VALUES = ("22", "23")
"""Classes of SQLSTATE whose messages quote values: data exceptions and violated constraints."""

KNOWN_SECRETS = (
    (re.compile(r"(?<=://)[^/\s]+@"), f"{HIDDEN}@"),
    (re.compile(r"(?i)\b(bearer|basic) +[\w.~+/=-]{16,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"(?i)\b((?:ssl)?password) *= *('[^']*'|[^\s,;)]+)"), rf"\1={HIDDEN}"),
    (re.compile(r"whsec_[\w+/=-]+"), f"whsec_{HIDDEN}"),
    (
        re.compile(
            r"""(["'](?:password|admin_pass(?:word)?|user_data|private_key)["']: *)"""
            r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?s)input_value=.{0,200}?, input_type="), f"input_value={HIDDEN}, input_type="),
)
"""Secrets that can be told by their form: user and password in a URL, credentials of a request, a password among
connection parameters, a webhook's secret, secret fields of a document, and the input that pydantic repeats."""


def masked(text: str) -> str:
    """Return the text without the secrets that can be told by their form."""
    for secret, instead in KNOWN_SECRETS:
        text = secret.sub(instead, text)
    return text


def text_of(error: BaseException) -> str:
    """Return what an exception says, without what was given: of refused data the fields and the kinds of errors."""
    if (fields := _refused_fields(error)) is not None:
        return fields
    if isinstance(error, subprocess.CalledProcessError):
        return f"{_program(error.cmd)} ended with {error.returncode}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"{_program(error.cmd)} took longer than {error.timeout:g} s"
    return masked(_of_database(error) or _of_hypervisor(error) or str(error))


def named(error: BaseException) -> str:
    """Return the name of the exception's class, and what text_of() returns. Use this, not repr(), which has it all."""
    text = text_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def traceback_of(error: BaseException) -> list[str]:
    """Return the traceback of an exception and of its causes, a line each; an exception's text is one of them, whatever
    line breaks it has."""
    return list(_chain(error, set()))


def _chain(error: BaseException, told: set[int]) -> Iterator[str]:
    told.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in told and len(told) < MOST_CAUSES:
        yield from _chain(before, told)
        yield from ("", CAUSE if before is error.__cause__ else CONTEXT, "")
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):"
        for frame in traceback.format_tb(error.__traceback__):
            yield from frame.rstrip("\n").split("\n")
    yield named(error)
    yield from (masked(note) for note in getattr(error, "__notes__", ()))
    if isinstance(error, BaseExceptionGroup):
        for number, each in enumerate(error.exceptions[:MOST_CAUSES], 1):
            yield f"  - {number} of {len(error.exceptions)}:"
            yield from (f"    {line}" for line in _chain(each, told))


def _refused_fields(error: BaseException) -> str | None:
    """Return the places and kinds of validation errors, as pydantic's and FastAPI's exceptions list them; None for
    other exceptions."""
    listed = getattr(error, "errors", None)
    if not callable(listed):
        return None
    found: Sequence[Any] = listed()
    if not all(isinstance(each, dict) and {"loc", "type"} <= each.keys() for each in found):
        return None
    told = [f"{_place(each['loc'])}: {each['type']}" for each in found[:MOST_FIELDS]]
    more = [f"{len(found) - MOST_FIELDS} more"] if len(found) > MOST_FIELDS else []
    what = f"{title} " if isinstance(title := getattr(error, "title", None), str) else ""
    return f"{what}was refused: {'; '.join([*told, *more])}"


def _place(loc: Sequence[Any]) -> str:
    return ".".join(str(part)[:LONGEST_FIELD] for part in loc) or "all of it"


def _program(command: Any) -> str:
    return str(command[0] if isinstance(command, (list, tuple)) and command else command).split(" ")[0]


def _of_database(error: BaseException) -> str:
    """Return the text of a database's error without values: of one that the server refused its state, and the names of
    what that is about; of connection parameters that cannot be read all but the quoted parts. Empty for other
    exceptions."""
    # By its attributes: a host's agent has no driver of a database.
    told = getattr(error, "diag", None)
    if told is None or not hasattr(told, "sqlstate"):
        return ""
    if told.sqlstate is None:
        return re.sub('"[^"]*"', f'"{HIDDEN}"', str(error)) if type(error).__name__ == "ProgrammingError" else ""
    if not told.sqlstate.startswith(QUOTES_VALUES):
        return ""
    names = (told.schema_name, told.table_name, told.column_name or told.constraint_name)
    return " ".join(filter(None, (f"SQLSTATE {told.sqlstate}", ".".join(filter(None, names)))))


def _of_hypervisor(error: BaseException) -> str:
    """Return what libvirt says of XML that it cannot read, without the XML; empty for other exceptions."""
    # By its attributes: of all processes only an agent has libvirt.
    code = getattr(error, "get_error_code", None)
    return str(error).partition("\n")[0] if callable(code) and code() == XML_REFUSED else ""
