"""`gostack`'s tools, where what they need is not there: one line says what, another where it is looked for."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka.errors import NodeNotReadyError
from psycopg.errors import DeadlockDetected

from cli import gostack as tools
from infra.log import topics
from tests.infra.test_durability import SeveralBrokers

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
    stdout: str = ""


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
        told = capsys.readouterr()
        return Done(ended.value.code, told.err, told.out)

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


def test_other_replicas_of_existing_topics_are_planned_in_a_file(
    monkeypatch: pytest.MonkeyPatch, elsewhere: Path, tool: Callable[..., Done]
) -> None:
    brokers = SeveralBrokers(brokers=3)
    monkeypatch.setattr(topics, "AIOKafkaAdminClient", brokers)
    bootstrap = {"GOSTACK_LOG__BOOTSTRAP": "broker.example:9092"}
    first = tool("topics", "apply", **bootstrap)
    assert first.status == 0
    assert "the log: 1 replica on 3 brokers: a record is lost with the disk of its broker" in first.stdout
    more = tool("topics", "apply", "--replicas", "3", **bootstrap)
    assert more.status == 3
    assert "kafka-reassign-partitions.sh --bootstrap-server broker.example:9092" in more.stdout
    planned = json.loads((elsewhere / "reassignment.json").read_text())["partitions"]
    assert {len(each["replicas"]) for each in planned} == {3}
    brokers.replicas = dict.fromkeys(brokers.replicas, 3)
    done = tool("topics", "apply", "--replicas", "3", **bootstrap)
    assert done.status == 0
    assert "1 broker may be away" in done.stdout
    refused = tool("topics", "apply", "--replicas", "4", **bootstrap)
    assert refused.status == 1
    assert "4 replicas need as many brokers, and there are 3" in refused.stderr


@pytest.mark.parametrize("error", [NodeNotReadyError("node 3"), TimeoutError("late")])
def test_a_broker_that_is_gone_is_told_as_a_log_that_is_not_reached(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tool: Callable[..., Done]
) -> None:
    async def gone(*_: object) -> None:
        raise error

    monkeypatch.setattr(topics, "apply", gone)
    done = tool("topics", "apply")
    assert done.status == 4
    assert str(error) in done.stderr


def test_what_a_tool_prints_controls_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    tools._say("one\ntwo \x1b[31m \x9b \u202e")
    assert capsys.readouterr().out == "one\ntwo \\x1b[31m \\x9b \\u202e\n"
