"""A server process that can be started, stopped, killed and started again: by the cluster's supervisor or by a test."""

import os
import random
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


_PORTS = range(20_000, 30_000)
"""Below 32768, from which Linux takes a port for each connection that goes out (net.ipv4.ip_local_port_range)."""


def free_port() -> int:
    """Return a TCP port of the loopback address on which nothing listens now.

    It stays this process's own until it ends: a server may be started there much later, and stopped and started again,
    while other processes ask for ports. Raises OSError when every port is taken.
    """
    for port in random.sample(_PORTS, len(_PORTS)):
        claim = socket.socket(socket.AF_UNIX)
        try:
            # A name in the abstract namespace of sockets is held by one process, and is free again when it ends.
            claim.bind(f"\0gostack-port-{port}")
            with socket.socket() as probe:
                probe.bind((LOOPBACK, port))
        except OSError:
            claim.close()
            continue
        # The descriptor stays open until the process ends, and the claim with it.
        claim.detach()
        return port
    raise OSError(f"no TCP port from {_PORTS.start} to {_PORTS.stop - 1} is free")


class Server(ABC):
    """A server with a data directory of its own, which does not run as root unless `account` says so."""

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
        """The path of the server's log, which start() writes."""
        return self.directory / f"{self.name}.log"

    @property
    @abstractmethod
    def command(self) -> list[str]:
        """The command line that runs the server in the foreground."""

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of the server beyond those of this process."""
        return {}

    @abstractmethod
    def prepare(self) -> None:
        """Create the data directory and settings; harmless where they exist. Raises Failure."""

    @abstractmethod
    def ready(self) -> bool:
        """Return whether the server answers requests."""

    def take_directory(self) -> None:
        """Give the data directory to the account. Raises Failure where the account cannot enter a directory above."""
        self.account.own(self.directory)
        if not self.account.may_enter(self.directory):
            raise Failure(self.name, f"user {self.account.name} cannot reach {self.directory}")

    def start(self) -> Self:
        """Start the server, and wait until it answers. Raises Failure with the end of its log."""
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
        """Whether the server's first process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The pid of the server's first process. Raises Failure where the server does not run."""
        if self._process is None:
            raise Failure(self.name, "does not run")
        return self._process.pid

    def stop(self) -> None:
        """Stop the server by its stop signal, and by SIGKILL after `stop_timeout` seconds."""
        if self._process is None:
            return
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(self.stop_timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End the server as a power cut does: SIGKILL to it and all its children. Raises Failure where one remains."""
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
