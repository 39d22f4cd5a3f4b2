"""A server process that can be started, stopped, killed and started again: by the cluster's supervisor or by a test."""

import os
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.local.account import Account, unprivileged
from infra.local.process import Failure, alive, descendants, tail, wait_until

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


class Server(ABC):
    """One server with a data directory of its own; never run as root."""

    name: str
    start_timeout = 60.0
    stop_timeout = 30.0
    stop_signal = signal.SIGTERM

    def __init__(self, directory: Path, account: Account | None = None) -> None:
        self.directory = Path(directory)
        self.account = account or unprivileged()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What it said, when it was started here."""
        return self.directory / f"{self.name}.log"

    @property
    @abstractmethod
    def command(self) -> list[str]:
        """What starts it in the foreground."""

    @property
    def environment(self) -> dict[str, str]:
        """What it finds in its environment besides ours."""
        return {}

    @abstractmethod
    def prepare(self) -> None:
        """Make its data directory and settings; doing it again changes nothing."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it answers a request by now."""

    def take_directory(self) -> None:
        """Make the data directory the account's. Raises Failure where the account cannot enter a directory above."""
        self.account.own(self.directory)
        if not self.account.may_enter(self.directory):
            raise Failure(self.name, f"user {self.account.name} cannot reach {self.directory}")

    def start(self) -> Self:
        """Start it and wait until it answers. Raises Failure with the log's end."""
        self.prepare()
        user, group, extra = self.account.identity
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                user=user,
                group=group,
                extra_groups=extra,
                env={**os.environ, **self.account.environment, **self.environment},
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        process = self._process
        answered = wait_until(lambda: process.poll() is not None or self.ready(), self.start_timeout, pause=0.05)
        if process.poll() is not None or not answered:
            self.kill()
            raise Failure(self.name, f"did not start:\n{tail(self.log)}", self.log)
        return self

    @property
    def runs(self) -> bool:
        """Whether its first process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its first process. Raises Failure where it does not run."""
        if self._process is None:
            raise Failure(self.name, "does not run")
        return self._process.pid

    def stop(self) -> None:
        """End it in order, by force where it takes longer than it may."""
        if self._process is None:
            return
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(self.stop_timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """What a power cut does: SIGKILL to it and to all its children; returns when they are gone."""
        if self._process is None:
            return
        pids = [self._process.pid, *descendants(self._process.pid)]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()
        self._process = None
        if not wait_until(lambda: not any(alive(pid) for pid in pids), 10.0, pause=0.02):
            raise Failure(self.name, "processes are left after SIGKILL", self.log)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
