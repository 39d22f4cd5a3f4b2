"""Lines: what a process says is one JSON object a line, or a line for people, whoever says it."""

import asyncio
import gc
import io
import json
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError

from infra.process import log_context
from infra.process import logging as process_logging


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, hook, thread_hook = root.handlers[:], root.level, sys.excepthook, threading.excepthook
    unraisable = sys.unraisablehook
    levels = {name: logging.getLogger(name).level for name in (*process_logging.OWN, "uvicorn")}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook, threading.excepthook, sys.unraisablehook = hook, thread_hook, unraisable
    logging.captureWarnings(False)
    for name, was in levels.items():
        logging.getLogger(name).setLevel(was)


def said(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_an_object() -> None:
    stream = io.StringIO()
    process_logging.set_up("engine", "auto", "info", stream)
    with log_context.bound(task="t1", instance="i1", empty=""):
        logging.getLogger("commands.worker").warning("%s of %s", 1, 2)
    (line,) = said(stream)
    told = datetime.fromisoformat(line.pop("time"))
    assert abs((datetime.now(UTC) - told).total_seconds()) < 60
    assert line == {
        "level": "warning",
        "logger": "commands.worker",
        "message": "1 of 2",
        "process": "engine",
        "task": "t1",
        "instance": "i1",
    }


def test_the_time_is_rfc_3339_in_utc() -> None:
    assert process_logging.moment(0.0) == "1970-01-01T00:00:00.000000Z"


def test_an_error_is_a_field_and_bounded() -> None:
    stream = io.StringIO()
    process_logging.set_up("engine", "json", "info", stream)
    try:
        raise ValueError("x" * 100_000 + "the end")
    except ValueError:
        logging.getLogger("commands").exception("a step failed")
    (line,) = said(stream)
    assert line["error"] == "ValueError"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("the end")
    assert len(line["exception"]) < process_logging.LONGEST + 100


CONTROLLING = {
    "two\nlines": r"two\nlines",
    "\r2026-01-01 ERROR forged": r"\r2026-01-01 ERROR forged",
    "a \ud800 lone surrogate": r"a \ud800 lone surrogate",
    "nul \0": r"nul \x00",
    "\x1b[31mred\x07": r"\x1b[31mred\x07",
    "c1 \x9b31m\x7f": r"c1 \x9b31m\x7f",
    "\u2028\u2029": r"\u2028\u2029",
    "\u202egnp.exe\u2066": r"\u202egnp.exe\u2066",
}
"""Text that would control a terminal or forge a line, and what is written of it."""


@pytest.mark.parametrize(("text", "written"), CONTROLLING.items())
@pytest.mark.parametrize("format", ["json", "text"])
def test_whatever_is_said_is_one_line_that_controls_nothing(format: Any, text: str, written: str) -> None:
    stream = io.StringIO()
    process_logging.set_up("agent", format, "info", stream)
    with log_context.bound(host=text):
        logging.getLogger("agent").error("%s", text)
        logging.getLogger("agent").error(text)
    for line in stream.getvalue().removesuffix("\n").split("\n"):
        assert line.isprintable()
        if format == "json":
            assert json.loads(line)["message"] == json.loads(line)["host"] == written
        else:
            assert line.endswith(f" ERROR agent {written} [host={written}]")


@pytest.mark.parametrize(("text", "written"), CONTROLLING.items())
@pytest.mark.parametrize("format", ["json", "text"])
def test_a_traceback_keeps_its_own_line_breaks_alone(format: Any, text: str, written: str) -> None:
    stream = io.StringIO()
    process_logging.set_up("agent", format, "info", stream)
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("agent").exception("failed")
    told = said(stream)[0]["exception"] if format == "json" else stream.getvalue().removesuffix("\n")
    lines = told.split("\n")
    assert len(lines) > 3
    assert all(map(str.isprintable, lines))
    assert lines[-1] == f"ValueError: {written}"


@pytest.mark.parametrize("words", ["refused: %s", "refused: %r"])
def test_an_exception_among_the_values_says_no_more_than_it_may(words: str) -> None:
    stream = io.StringIO()
    process_logging.set_up("agent", "json", "info", stream)
    given = {"type": "missing", "loc": ("body", "flavor"), "input": {"password": "S3cret"}}
    error = RequestValidationError([given])
    logging.getLogger("agent").error(words, error)
    logging.getLogger("agent").error("%(why)s", {"why": error})
    logging.getLogger("agent").error(error)
    assert "S3cret" not in stream.getvalue()
    assert all("body.flavor: missing" in line["message"] for line in said(stream))


async def test_a_task_that_nobody_waited_for_does_not_say_what_it_was_given() -> None:
    stream = io.StringIO()
    process_logging.set_up("api", "text", "info", stream)

    given = {"type": "missing", "loc": ("body",), "input": {"password": "S3cret"}}

    async def refuses() -> None:
        raise RequestValidationError([given])

    task = asyncio.create_task(refuses())
    await asyncio.wait([task])
    del task
    gc.collect()
    assert "Task exception was never retrieved" in stream.getvalue()
    assert "was refused: body: missing" in stream.getvalue()
    assert "S3cret" not in stream.getvalue()


def test_a_line_written_wrongly_is_not_lost() -> None:
    stream = io.StringIO()
    process_logging.set_up("agent", "json", "info", stream)
    logging.getLogger("agent").error("%s and %s", "one")
    assert "%s and %s" in said(stream)[0]["message"]


def test_a_terminal_gets_lines_for_people() -> None:
    stream = Terminal()
    process_logging.set_up("engine", "auto", "info", stream)
    with log_context.bound(task="t1", type="not shown"):
        logging.getLogger("commands").warning("look")
    assert stream.getvalue().endswith(" WARNING commands look [task=t1]\n")


def test_the_setting_passes_the_terminal() -> None:
    stream = Terminal()
    process_logging.set_up("engine", "json", "info", stream)
    logging.getLogger("commands").warning("look")
    assert said(stream)[0]["message"] == "look"


@pytest.mark.parametrize("name", ["uvicorn.error", "faust.worker", "mode.worker", "aiokafka.conn", "psycopg.pool"])
def test_libraries_speak_alike_and_only_of_what_is_wrong(name: str) -> None:
    stream = io.StringIO()
    process_logging.set_up("engine", "json", "debug", stream)
    logging.getLogger(name).debug("headers and tokens")
    logging.getLogger(name).error("gone")
    assert [(line["logger"], line["message"]) for line in said(stream)] == [(name, "gone")]


def test_the_level_is_for_our_own() -> None:
    stream = io.StringIO()
    process_logging.set_up("engine", "json", "debug", stream)
    logging.getLogger("commands.processor").debug("decided")
    process_logging.set_up("engine", "json", "warning", stream)
    logging.getLogger("commands.processor").info("not this")
    assert [line["message"] for line in said(stream)] == ["decided"]


def test_warnings_are_lines() -> None:
    stream = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        process_logging.set_up("engine", "json", "info", stream)
        warnings.warn("old", stacklevel=1)
    assert said(stream)[0]["logger"] == "py.warnings"


def test_a_thread_that_ends_by_an_error_says_so() -> None:
    stream = io.StringIO()
    process_logging.set_up("agent", "json", "info", stream)

    def broken() -> None:
        raise RuntimeError("in a thread")

    thread = threading.Thread(target=broken, name="watcher")
    thread.start()
    thread.join()
    (line,) = said(stream)
    assert (line["message"], line["error"]) == ("the thread watcher ended because of an exception", "RuntimeError")


def test_the_last_words_of_a_process_are_a_line() -> None:
    code = "from infra.process.logging import set_up; set_up('timers', 'auto', 'info'); raise OSError('no disk')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (line["level"], line["message"], line["error"]) == (
        "critical",
        "the process ends because of OSError",
        "OSError",
    )
    assert line["exception"].endswith("OSError: no disk")
