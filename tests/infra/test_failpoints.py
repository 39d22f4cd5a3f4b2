"""Crash points: what is asked for happens at the Nth passing, once, and nothing else does."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.process.failpoints import POINTS, parse

ROOT = Path(__file__).parents[2]
SCRIPT = """
from infra.process import failpoints
for number in range(5):
    failpoints.point("step-moved")
    print(number, flush=True)
"""


def run(value: str, script: str = SCRIPT) -> tuple[int, str]:
    environment = {**os.environ, "GOSTACK_FAILPOINTS": value}
    done = subprocess.run([sys.executable, "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout


def test_a_process_dies_at_the_nth_passing_and_only_once(tmp_path: Path) -> None:
    wish = f"step-stored,step-moved:3:{tmp_path / 'once'}"
    assert run(wish) == (-9, "0\n1\n")
    assert run(wish) == (0, "0\n1\n2\n3\n4\n")
    assert run("step-moved") == (-9, "")
    assert run("") == (0, "0\n1\n2\n3\n4\n")


def test_a_process_stands_still_at_the_nth_passing_until_it_is_to_go_on() -> None:
    environment = {**os.environ, "GOSTACK_FAILPOINTS": "stop@step-moved:3"}
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.send_signal(signal.SIGCONT)
        assert process.communicate()[0] == "0\n1\n2\n3\n4\n"
        assert process.returncode == 0


def test_what_is_done_in_parts_is_done_at_once_unless_the_process_is_to_die_between_them(tmp_path: Path) -> None:
    script = """
from infra.process import failpoints
for number in range(2):
    for part in failpoints.halves("step-half-published", [1, 2, 3]):
        print(part, flush=True)
"""
    assert run("", script) == (0, "[1, 2, 3]\n" * 2)
    assert run("step-moved", script) == (0, "[1, 2, 3]\n" * 2)
    assert run("step-half-published:2", script) == (-9, "[1, 2]\n[3]\n[1, 2]\n")
    assert run("step-half-published:9", script.replace("[1, 2, 3]", "[1]")) == (0, "[1]\n" * 2)


def test_what_is_no_point_is_refused() -> None:
    with pytest.raises(ValueError, match="'nowhere' is no failpoint; there are step-fetched"):
        parse("step-moved:2,nowhere")


def test_every_point_is_somewhere_in_the_code() -> None:
    rooms = ("agent", "api", "commands", "infra", "projections")
    text = "".join(path.read_text() for room in rooms for path in (ROOT / room).rglob("*.py"))
    assert set(re.findall(r'failpoints\.(?:point|halves)\("([^"]*)"', text)) == set(POINTS)
