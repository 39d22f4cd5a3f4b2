"""What the local cluster prints and keeps: logs hold foreign text, and are nobody else's to read."""

import configparser
from pathlib import Path

import pytest

from infra.local.layout import LOG_MODE, Layout
from infra.local.progress import say, warn
from infra.local.supervisor import Program, Supervisor


def test_a_log_that_is_shown_controls_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for tell in (say, warn):
        tell("one\ttab\n\x1b]0;title\x07 \x9b31m \u2028 \u202e")
    told = capsys.readouterr()
    assert told.out == told.err == "one\ttab\n\\x1b]0;title\\x07 \\x9b31m \\u2028 \\u202e\n"


def test_logs_are_for_their_owner_and_group(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    settings = configparser.RawConfigParser()
    settings.read_string(Supervisor(layout)._text([Program("api", ("gostack", "api"), layout.work)]))
    assert 0o666 & ~int(settings["supervisord"]["umask"], 8) == LOG_MODE
    assert settings["program:api"]["umask"] == "022"
