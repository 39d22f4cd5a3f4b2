"""The local cluster with two hosts and real guests: the one that runs, or one for the time of these tests."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
COMMAND_SECONDS = 300


@dataclass(frozen=True)
class User:
    """Types commands, as a person does."""

    def gs(self, *words: str, status: int = 0) -> str:
        """What `gs` prints; fails where it ends with another status."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GS_")}
        done = subprocess.run(
            [BIN / "gs", *words], capture_output=True, text=True, timeout=COMMAND_SECONDS, env=environment, check=False
        )
        assert done.returncode == status, f"gs {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def read(self, *words: str) -> Any:
        """The same as data."""
        return json.loads(self.gs(*words, "--json"))

    def wait(self, what: str, condition: Callable[[], bool], seconds: float = 90) -> None:
        """Until it holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{what}: not within {seconds} s"
            time.sleep(0.5)

    def console(self, name: str) -> str:
        """What the guest's console said so far."""
        return self.gs("instance", "log", name)

    def wait_ready(self, name: str, boots: int = 1) -> str:
        """Until the guest has said so often that it is ready; its console."""
        self.wait(f"{name} is ready", lambda: self.console(name).count("gostack-guest: ready") >= boots)
        return self.console(name)


def local(*words: str) -> None:
    """Run the local cluster's own command."""
    subprocess.run(["/usr/bin/env", "python3", "-B", "-m", "infra.local", *words], cwd=PROJECT, check=True, timeout=580)


@pytest.fixture(scope="session")
def user() -> Iterator[User]:
    """A user of a cluster that has the demo's image, flavor and network."""
    running = subprocess.run([BIN / "gs", "version"], capture_output=True, check=False).returncode == 0
    local("demo", "--hosts", "2")
    yield User()
    if not running:
        local("down")
