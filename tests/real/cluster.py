"""All processes of a small GoStack with simulated hosts, on fresh ports, each started again when it dies."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import httpx
from cryptography.fernet import Fernet

from infra.local.kafka import Kafka
from infra.local.postgres import Postgres
from infra.local.server import free_port
from tests.servers import scratch

PATIENCE = 180.0
TREE = Path(__file__).parents[2]
SERVICES = ("engine", "scheduler", "timers", "webhooks", "projector", "api", "agent")


class Process:
    """One process that is started again whenever it ends."""

    def __init__(self, name: str, environment: dict[str, str], log: Path, tree: Path = TREE) -> None:
        self.name = name
        self.tree = tree
        """Whose code its next start runs."""
        self.environment = environment
        """Of its next start."""
        self.log = log
        self._log: IO[bytes] = log.open("ab")
        self._wanted = True
        self._starting = threading.Lock()
        self.starts = 0
        self.process = self._start()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def _start(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        return subprocess.Popen(
            [sys.executable, "-m", "cli.gostack", self.name],
            env=self.environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=self.tree,
        )

    def _keep(self) -> None:
        while self._wanted:
            self.process.wait()
            if self._wanted:
                time.sleep(0.5)
                with self._starting:
                    if self._wanted:
                        self.process = self._start()

    def kill(self, sign: signal.Signals = signal.SIGKILL) -> None:
        """End it without a word; it is started again."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(sign)

    def kill_for_good(self) -> None:
        """End it without a word, and do not start it again."""
        self._wanted = False
        self.kill()
        self.process.wait()
        self._keeper.join(5)
        self._log.close()

    def stop(self) -> None:
        """End it for good."""
        with self._starting:
            self._wanted = False
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._keeper.join(5)
        self._log.close()


class Cluster:
    """Where everything is, and every process by name."""

    def __init__(
        self,
        directory: Path,
        hosts: int,
        settings: dict[str, str] | None = None,
        tree: Path = TREE,
        brief: bool = True,
    ) -> None:
        """`tree`: whose code it begins with; `brief`: Kafka is run as one that lives for minutes (Kafka)."""
        self._tree = tree
        self.directory = directory
        self.kafka = Kafka(directory / "kafka", brief=brief)
        self.postgres = Postgres(directory / "postgres")
        self._hosts = hosts
        self._settings = settings or {}
        self.processes: dict[str, Process] = {}
        self.watched: dict[str, int] = {}
        """Port of each process's /metrics, /healthz and /readyz."""

    @property
    def url(self) -> str:
        """Base URL of the API."""
        return f"http://127.0.0.1:{self.environment['GOSTACK_API__PORT']}"

    def start(self, fill: Callable[["Cluster"], None] | None = None, patience: float = PATIENCE) -> None:
        """Start all, and wait until the hosts are there; before the first process, `fill` sees the empty servers."""
        self.kafka.start()
        self.postgres.start()
        secrets = self.directory / "secrets"
        secrets.mkdir()
        (secrets / "key").write_bytes(Fernet.generate_key())
        (secrets / "token").write_text("token-of-this-test")
        for secret in secrets.iterdir():
            secret.chmod(0o600)
        hosts_port = free_port()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GOSTACK_")},
            "GOSTACK_LOG__BOOTSTRAP": self.kafka.address,
            "GOSTACK_DB__DSN": self.postgres.dsn,
            "GOSTACK_API__PORT": str(free_port()),
            "GOSTACK_API__HOSTS_PORT": str(hosts_port),
            "GOSTACK_AGENT__CONTROL": f"http://127.0.0.1:{hosts_port}",
            "GOSTACK_AGENT__DRIVER": "simulated",
            "GOSTACK_AGENT__SIMULATED": str(self._hosts),
            "GOSTACK_AGENT__NAME": "sim",
            "GOSTACK_AGENT__PORT": "0",
            "GOSTACK_AGENT__STATE": str(self.directory / "agent"),
            "GOSTACK_IMAGES__STORE": str(self.directory / "images"),
            "GOSTACK_SECRETS__KEY_FILE": str(secrets / "key"),
            "GOSTACK_SECRETS__AGENT_TOKEN_FILE": str(secrets / "token"),
            "GOSTACK_WORKER__SESSION_TIMEOUT": "6",
            **self._settings,
        }
        for tool in (("topics", "apply"), ("db", "migrate")):
            subprocess.run(
                [sys.executable, "-m", "cli.gostack", *tool],
                env=self.environment,
                cwd=self._tree,
                check=True,
                capture_output=True,
            )
        if fill:
            fill(self)
        for name in SERVICES:
            # Others of the same kind that a test starts are members without a name.
            self.watched[name] = free_port()
            own = {"GOSTACK_WORKER__INSTANCE": "first", f"GOSTACK_METRICS__{name.upper()}": str(self.watched[name])}
            environment = {**own, **self.environment}
            self.processes[name] = Process(name, environment, self.directory / f"{name}.log", self._tree)
        self.wait_for_hosts(patience)

    def replace(self, tree: Path) -> None:
        """End every process, migrate the database, and start them all anew from another tree's code."""
        for name in reversed(SERVICES):
            self.processes[name].stop()
        for tool in (("topics", "apply"), ("db", "migrate")):
            subprocess.run(
                [sys.executable, "-m", "cli.gostack", *tool],
                env=self.environment,
                cwd=tree,
                check=True,
                capture_output=True,
            )
        for name in SERVICES:
            before = self.processes[name]
            log = self.directory / f"{name}-replaced.log"
            self.processes[name] = Process(name, before.environment, log, tree)
        self.wait_for_hosts()

    def wait_for_hosts(self, patience: float = PATIENCE) -> None:
        """Until the API lists every host of the agent. Raises TimeoutError with the processes' last words."""

        def there() -> bool:
            found: int = 0
            marker: str | None = ""
            while marker is not None:
                page = {"limit": "1000"} | ({"marker": marker} if marker else {})
                answer = httpx.get(f"{self.url}/v1/hosts", params=page, timeout=5).raise_for_status().json()
                found += sum(host["name"].startswith("sim") for host in answer["hosts"])
                marker = answer["next"]
            return found == self._hosts

        self.wait("all hosts are registered", there, patience)

    def wait(self, what: str, condition: object, patience: float = PATIENCE) -> None:
        """Until the condition holds; an API that does not answer is waited for."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            with contextlib.suppress(httpx.HTTPError):
                if condition():  # type: ignore[operator]
                    return
            time.sleep(0.2)
        # The summary of a run repeats the message for each test: the logs stand once, in what the failed test printed.
        print(self.last_words())
        raise TimeoutError(f"{what}: not within {patience} s; {self._not_ready()}")

    def _not_ready(self) -> str:
        """Which processes do not say that they are ready, and the last error or warning that each logged."""
        found = []
        for name, port in self.watched.items():
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5)
                said = "" if answer.is_success else f"{answer.status_code} {answer.text[:200]}"
            except httpx.HTTPError as error:
                said = type(error).__name__
            if said:
                found.append(f"{name} is not ready: {said}, {self._last_error(name)}")
        return "; ".join(found) or "every process is ready"

    def _last_error(self, name: str) -> str:
        lines = (self.directory / f"{name}.log").read_text(errors="replace").splitlines()
        return next((line[:400] for line in reversed(lines) if "rror" in line or "warning" in line), "no error logged")

    def check(self, patience: float = 30.0) -> None:
        """All is as it must be. Raises AssertionError with what is not, or not at rest after so many seconds."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.gostack", "check", "--patience", str(patience)],
            env=self.environment,
            cwd=TREE,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr + self.last_words()

    def last_words(self) -> str:
        """The ends of all logs."""
        return "\n".join(
            f"== {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-8:])
            for path in sorted(self.directory.glob("*.log"))
        )

    def stop(self) -> None:
        """End everything."""
        for name in reversed(SERVICES):
            if name in self.processes:
                self.processes[name].stop()
        self.postgres.stop()
        self.kafka.stop()


@contextlib.contextmanager
def running(
    hosts: int,
    settings: dict[str, str] | None = None,
    fill: Callable[[Cluster], None] | None = None,
    patience: float = PATIENCE,
    tree: Path = TREE,
    brief: bool = True,
) -> Iterator[Cluster]:
    """A cluster for the time of a block; see Cluster."""
    with contextlib.ExitStack() as stack:
        cluster = Cluster(scratch(stack), hosts, settings, tree, brief)
        stack.callback(cluster.stop)
        cluster.start(fill, patience)
        yield cluster
