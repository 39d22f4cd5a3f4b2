"""`gostack`'s tools, where what they need is not there: one line says what, another where it is looked for."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg.errors import DeadlockDetected

from cli import gostack as tools

NOWHERE = {"GOSTACK_LOG__BOOTSTRAP": "127.0.0.1:1", "GOSTACK_DB__DSN": "postgresql://nobody@127.0.0.1:1/none"}
PROJECT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that holds nothing: what a demo left in this one must not decide."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@dataclass(frozen=True)
class Done:
    """How a tool ended."""

    status: object
    stderr: str


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """One of them, within this process: a Python of its own takes most of a second to start."""

    def run(*words: str, **environment: str) -> Done:
        for name in [name for name in os.environ if name.startswith("GOSTACK_")]:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["gostack", *words])
        # Else whatever is tested after this one would log as the tool does.
        monkeypatch.setattr(tools, "set_up", lambda *about: None)
        with pytest.raises(SystemExit) as ended:
            tools.main()
        return Done(ended.value.code, capsys.readouterr().err)

    return run


def gostack(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GOSTACK_")}
    command = [sys.executable, "-m", "cli.gostack", *words]
    told = plain | {"PYTHONPATH": str(PROJECT)} | environment
    return subprocess.run(command, env=told, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "words",
    [
        ["check"],
        ["db", "refill"],
        ["db", "migrate"],
        ["topics", "apply"],
        ["archive", "kept"],
        ["restore", "kept"],
        ["projection", "rebuild"],
        ["projection", "rollback"],
    ],
    ids=" ".join,
)
def test_a_tool_that_reaches_nothing_says_so_and_where_it_looked(
    words: list[str], elsewhere: Path, tool: Callable[..., Done]
) -> None:
    token = elsewhere / "token"
    token.write_text("told\n")
    done = tool(*words, **NOWHERE, GOSTACK_SECRETS__AGENT_TOKEN_FILE=str(token))
    assert done.status == 4
    *_, error, hint = done.stderr.splitlines()
    assert error.startswith("Error: ")
    assert "127.0.0.1" in error
    assert "GOSTACK_CONFIG" in hint


def test_settings_that_are_wrong_are_named(tool: Callable[..., Done]) -> None:
    done = gostack("check", GOSTACK_CONFIG="/nowhere/config.toml")
    assert done.returncode == 4
    assert "Error: GOSTACK_CONFIG names /nowhere/config.toml, which is no file" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    loud = tool("check", GOSTACK_LOG__LEVEL="loud")
    assert loud.status == 4
    assert "log.level" in loud.stderr


@pytest.mark.parametrize("held", [None, b"\n", b"\xff\xfe"], ids=["none", "empty", "no text"])
def test_a_token_that_is_not_there_is_named(held: bytes | None, elsewhere: Path, tool: Callable[..., Done]) -> None:
    token = elsewhere / "token"
    if held is not None:
        token.write_bytes(held)
    done = tool("check", **NOWHERE, GOSTACK_SECRETS__AGENT_TOKEN_FILE=str(token))
    assert done.status == 4
    assert f"Error: secrets.agent_token_file names {token}, which" in done.stderr


def test_what_the_database_itself_refused_is_not_taken_for_its_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise DeadlockDetected

    monkeypatch.setattr(tools, "app", refused)
    monkeypatch.setattr(sys, "argv", ["gostack", "db", "migrate"])
    with pytest.raises(DeadlockDetected):
        tools.main()
