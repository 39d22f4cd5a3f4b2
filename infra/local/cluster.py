"""The cluster: which parts there are, in what order they come up, and how each shows that it is ready."""

import base64
import ipaddress
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from infra.local import checks
from infra.local.account import NOBODY, Account, current, named, unprivileged
from infra.local.ceph import Ceph
from infra.local.hosts import AGENT_PORT, MOST, OWNER, SLOW, UPLINK, Bridge, LocalHost, existing, forget_pins
from infra.local.kafka import Kafka, jars
from infra.local.layout import KEPT_BY_CLEAN, LOG_MODE, Layout
from infra.local.postgres import Postgres
from infra.local.probes import API_HOSTS_PORT, API_PORT, api_ready, hosts_up, listens
from infra.local.process import Failure, end, marked, run, tail, wait_until
from infra.local.progress import ProgressLine, warn
from infra.local.server import LOOPBACK, Server
from infra.local.supervisor import RUNNING, Program, Supervisor

METRICS_PORTS = {
    "engine": 7471,
    "scheduler": 7472,
    "timers": 7473,
    "projector": 7474,
    "api": 7475,
    "agent": 7476,
    "webhooks": 7477,
}
KAFKA_PORT, KAFKA_HOSTS_PORT, KAFKA_CONTROLLER_PORT = 19092, 19093, 19094
POSTGRES_PORT = 15432
CEPH_PORT = 3300
CEPH_POOL = "gostack"
"""Name of the pool in Ceph."""
SUBNET = "10.97.0.0/24"
WORKERS = ("engine", "scheduler", "timers", "projector", "webhooks", "api")
SIMULATED = "simulated-agent"
PATIENCE = 60.0
HYPERVISOR = ("virtlogd", "libvirtd")
CEPH = ("ceph-mon", "ceph-osd", "ceph-mgr")

Sections = dict[str, dict[str, str | int | Path]]


@dataclass(frozen=True)
class Options:
    """The options of `up`: how many hosts, whether they are simulated, their bridge's subnet, and whether Ceph runs."""

    hosts: int = 2
    simulated: bool = False
    subnet: str = SUBNET
    ceph: bool = False

    @staticmethod
    def of(layout: Layout) -> "Options":
        """Read the options of the last `up`, or return the defaults where there was none."""
        try:
            return Options(**json.loads(layout.options.read_text()))
        except FileNotFoundError:
            return Options()


class Cluster:
    """The local cluster of one checkout."""

    def __init__(self, layout: Layout, options: Options) -> None:
        if not 1 <= options.hosts <= MOST:
            raise Failure("hosts", f"1 to {MOST} are possible")
        self.layout = layout
        self.options = options
        self.supervisor = Supervisor(layout)
        self.bridge = Bridge(ipaddress.IPv4Network(options.subnet))
        numbers = () if options.simulated else range(1, options.hosts + 1)
        self.hosts = [LocalHost(number, self.bridge, layout) for number in numbers]
        if options.ceph and not self.hosts:
            raise Failure("ceph", "simulated hosts have no use for it; `make clean` forgets that it was asked for")

    # --- what there is

    def _accounts(self) -> tuple[Account, Account]:
        """Return the account for PostgreSQL, and the account for other parts that need no rights."""
        account = unprivileged()
        reads = account.may_read(self.layout.project / "infra", self.layout.venv / "bin" / "python")
        return account, account if reads else current()

    def _metadata_user(self, account: Account) -> str:
        """Return the user for the process that speaks with guests: one that can read nothing of the cluster's, where
        that can read the project."""
        stranger = named(NOBODY)
        reads = stranger.may_read(self.layout.project / "infra", self.layout.venv / "bin" / "python")
        return (stranger if reads else account).name

    def _postgres(self, account: Account) -> Postgres:
        reachable = account.may_enter(self.layout.project)
        directory = self.layout.data / "postgres" if reachable else self.layout.aside / "postgres"
        return Postgres(directory, POSTGRES_PORT, account=account)

    def _kafka(self, account: Account) -> Kafka:
        hosts = f"{self.bridge.address}:{KAFKA_HOSTS_PORT}" if self.hosts else ""
        directory = self.layout.data / "kafka"
        return Kafka(directory, KAFKA_PORT, KAFKA_CONTROLLER_PORT, hosts=hosts, heap="768m", account=account)

    @property
    def ceph(self) -> Ceph | None:
        """The Ceph of this cluster; None where none was asked for."""
        if not self.options.ceph:
            return None
        _, account = self._accounts()
        return Ceph(self.layout.data / "ceph", self.bridge.address, CEPH_PORT, account)

    def _programs(self, kafka: Kafka, postgres: Postgres, account: Account) -> list[Program]:
        config = {"GOSTACK_CONFIG": str(self.layout.config)}
        agents = {"GOSTACK_CONFIG": str(self.layout.agent_config)}
        programs = [_program(kafka, "TERM"), _program(postgres, "INT")]
        if (ceph := self.ceph) is not None:
            programs += [_program(daemon, "TERM") for daemon in ceph.daemons]
        programs += [
            Program(name, (self.layout.program("gostack"), name), self.layout.work, account, config) for name in WORKERS
        ]
        for host in self.hosts:
            own = {"GOSTACK_LOG__BOOTSTRAP": kafka.hosts, "GOSTACK_AGENT__METADATA_USER": self._metadata_user(account)}
            programs += host.programs({**agents, **own})
        if self.options.simulated:
            simulated = {
                "GOSTACK_AGENT__DRIVER": "simulated",
                "GOSTACK_AGENT__SIMULATED": str(self.options.hosts),
                "GOSTACK_AGENT__NAME": "host",
                "GOSTACK_AGENT__STATE": str(account.own(self.layout.data / "simulated")),
                "GOSTACK_LOG__BOOTSTRAP": kafka.address,
            }
            command = (self.layout.program("gostack"), "agent")
            programs.append(Program(SIMULATED, command, self.layout.work, account, {**agents, **simulated}))
        return programs

    # --- up

    def up(self, progress: ProgressLine) -> None:
        """Start what does not run yet and wait until all of it is ready. Raises Failure naming the part."""
        layout = self.layout
        already = self.supervisor.runs()
        checks.writable(layout.data)
        checks.writable(layout.logs)
        if already and Options.of(layout).subnet != self.options.subnet:
            raise Failure("bridge", "the subnet cannot change while the cluster runs: `make down` first")
        if not already:
            checks.room(layout.data)
            self._expect_free_ports()
        servers_account, account = self._accounts()
        if servers_account.uid != account.uid:
            warn(f"User {servers_account.name} cannot read {layout.project}: all but PostgreSQL run as {account.name}.")
        self._make_directories(account)
        with progress.part("kafka's jars"):
            jars(layout.cache)
        if self.hosts:
            with progress.part("bridge"):
                self.bridge.create(layout)
        postgres, kafka = self._postgres(servers_account), self._kafka(account)
        if not (already and self._run_now("kafka", "postgres")):
            with progress.part("data directories"):
                postgres.prepare()
                kafka.prepare()
        self._configure(account, postgres)
        self._drop_hosts_beyond()
        for host in self.hosts:
            if not host.exists():
                with progress.part(host.name, "made"):
                    self._stop_if_known(host)
                    host.create(self.hosts)
        self.supervisor.configure(self._programs(kafka, postgres, account))
        self._start(progress, postgres, kafka, account)

    def _start(self, progress: ProgressLine, postgres: Postgres, kafka: Kafka, account: Account) -> None:
        for name in ("kafka", "postgres", *(f"{host.name}-{part}" for host in self.hosts for part in HYPERVISOR)):
            self.supervisor.start(name)
        for server in (postgres, kafka):
            self._wait(progress, server.name, server.ready, server.start_timeout)
        if (ceph := self.ceph) is not None:
            self._start_ceph(progress, ceph)
        self._once(progress, "topics", ("topics", "apply"), account)
        self._once(progress, "migrate", ("db", "migrate"), account)
        for name in WORKERS:
            self.supervisor.start(name)
        for host in self.hosts:
            self._wait(progress, f"{host.name}-libvirtd", host.libvirt_answers)
            self._expect_quick_guests(progress, host)
        self._expect_network(progress)
        for name in WORKERS:
            self._wait(progress, name, api_ready if name == "api" else None)
        for host in self.hosts:
            self.supervisor.start(f"{host.name}-agent")
        for host in self.hosts:
            self._wait(progress, f"{host.name}-agent", partial(listens, host.address, AGENT_PORT))
        if self.options.simulated:
            self.supervisor.start(SIMULATED)
            self._wait(progress, SIMULATED, None)
        with progress.part("hosts registered"):
            if not wait_until(lambda: hosts_up() >= self.options.hosts, PATIENCE):
                raise Failure("agents", f"{hosts_up()} of {self.options.hosts} hosts are registered and up")

    def _start_ceph(self, progress: ProgressLine, ceph: Ceph) -> None:
        for daemon in ceph.daemons:
            with progress.part(f"{daemon.name}'s files"):
                daemon.prepare()
            self.supervisor.start(daemon.name)
            self._wait(progress, daemon.name, daemon.ready)
        with progress.part("ceph's pool"):
            ceph.make_pool(CEPH_POOL)

    def _expect_free_ports(self) -> None:
        for part, port in (
            ("kafka", KAFKA_PORT),
            ("kafka", KAFKA_CONTROLLER_PORT),
            ("postgres", POSTGRES_PORT),
            ("api", API_PORT),
            *METRICS_PORTS.items(),
        ):
            checks.port_free(part, LOOPBACK, port)
        if self.hosts:
            checks.port_free("kafka", self.bridge.address, KAFKA_HOSTS_PORT)
        if self.options.ceph:
            checks.port_free("ceph-mon", self.bridge.address, CEPH_PORT)
        checks.port_free("api", self.bridge.address if self.hosts else LOOPBACK, API_HOSTS_PORT)

    def _make_directories(self, account: Account) -> None:
        layout = self.layout
        for directory in (layout.data, layout.cache, layout.logs, layout.data / "hosts"):
            directory.mkdir(exist_ok=True)
        account.own(layout.work)
        account.own(layout.images)
        layout.secrets.mkdir(exist_ok=True)
        if checks.is_root():
            for directory in (layout.secrets, layout.logs):
                os.chown(directory, 0, account.gid)
        layout.secrets.chmod(0o750)
        # A file in it gets its group: under sudo the logs are the caller's to read.
        layout.logs.chmod(0o2750)
        for log in layout.logs.iterdir():
            log.chmod(LOG_MODE)

    def _configure(self, account: Account, postgres: Postgres) -> None:
        """Write the settings and the secrets; what is secret is made once and then kept."""
        layout = self.layout
        key, token = layout.secrets / "key", layout.secrets / "agent-token"
        if not key.exists():
            account.write(key, base64.urlsafe_b64encode(secrets.token_bytes(32)).decode() + "\n")
        if not token.exists():
            account.write(token, secrets.token_hex(32) + "\n")
        shared: Sections = {"images": {"store": layout.images}, "secrets": {"key_file": key, "agent_token_file": token}}
        log: Sections = {"log": {"bootstrap": f"{LOOPBACK}:{KAFKA_PORT}", "format": "text"}}
        for_hosts = str(self.bridge.address) if self.hosts else LOOPBACK
        listen: dict[str, str | int | Path] = {
            "listen": LOOPBACK,
            "port": API_PORT,
            "hosts_listen": for_hosts,
            "hosts_port": API_HOSTS_PORT,
        }
        metrics: dict[str, str | int | Path] = dict(METRICS_PORTS)
        api: Sections = {
            "db": {"dsn": postgres.dsn},
            "api": listen,
            "worker": {"instance": "local"},
            "networks": {"reserved": str(self.bridge.subnet), "floating": str(self.bridge.floating)},
            # To be tried on this machine, where whoever reaches the API reaches all else, too.
            "webhooks": {"allow_private": True},
            "metrics": metrics,
        }
        told: dict[str, str | int | Path] = {"control": f"http://{for_hosts}:{API_HOSTS_PORT}"}
        if self.hosts:
            # Kafka and the API for hosts are there, and believe whoever has a host's address.
            told["closed"] = f"{self.bridge.address}/32"
        agent: Sections = {"agent": told, "metrics": metrics}
        account.write(layout.config, _toml({**log, **api, **shared}))
        # Agents are told nothing of the database: they have no business there.
        account.write(layout.agent_config, _toml({**log, **shared, **agent}))
        layout.options.write_text(json.dumps(asdict(self.options)) + "\n")

    def _run_now(self, *names: str) -> bool:
        running = {process["name"] for process in self.supervisor.processes() if process["statename"] == RUNNING}
        return running.issuperset(names)

    def _stop_if_known(self, host: LocalHost) -> None:
        """Stop the processes of a host whose namespaces are gone: they are of no use any more."""
        if self.supervisor.runs():
            for process in self.supervisor.processes():
                if process["name"].startswith(f"{host.name}-"):
                    self.supervisor.stop(process["name"])

    def _drop_hosts_beyond(self) -> None:
        """Remove hosts that an earlier `up` had and this one has not."""
        if not checks.is_root() or not Bridge.exists():
            return
        wanted = {host.number for host in self.hosts}
        for host in existing(self.bridge, self.layout):
            if host.number not in wanted:
                self._stop_if_known(host)
                host.destroy()

    def _wait(
        self, progress: ProgressLine, name: str, ready: Callable[[], bool] | None, timeout: float = PATIENCE
    ) -> None:
        log = self.layout.log(name)
        with progress.part(name):
            if ready is None:
                self.supervisor.expect_running(name, timeout)
                return
            if not wait_until(lambda: ready() or self.supervisor.gave_up(name), timeout):
                raise Failure(name, f"is not ready after {timeout:.0f} s", log)
            if self.supervisor.gave_up(name):
                raise Failure(name, f"is {self.supervisor.state(name)}", log)

    def _once(self, progress: ProgressLine, name: str, command: Sequence[str], account: Account) -> None:
        log = self.layout.log(name)
        settings = {"GOSTACK_CONFIG": str(self.layout.config)}
        with progress.part(name, "done"):
            line = [self.layout.program("gostack"), *command]
            done = run(line, account=account, environment=settings, directory=self.layout.work, check=False)
            log.touch(mode=LOG_MODE)
            with log.open("a") as file:
                file.write(done.stdout + done.stderr)
            if done.returncode != 0:
                raise Failure(name, f"exit status {done.returncode}", log)

    def _expect_quick_guests(self, progress: ProgressLine, host: LocalHost) -> None:
        """Start a tiny guest, and restart libvirtd where that is slow, as has been seen where two started side by
        side."""
        libvirtd = f"{host.name}-libvirtd"
        with progress.part(f"{host.name} starts a guest"):
            seconds = host.seconds_to_start()
            if seconds <= SLOW:
                return
            self.supervisor.stop(libvirtd)
            self.supervisor.start(libvirtd)
            if not wait_until(host.libvirt_answers, PATIENCE):
                raise Failure(libvirtd, "does not answer after a restart", self.layout.log(libvirtd))
            seconds = host.seconds_to_start()
            if seconds > SLOW:
                raise Failure(libvirtd, f"takes {seconds:.0f} s to start a guest", self.layout.log(libvirtd))

    def _expect_network(self, progress: ProgressLine) -> None:
        if len(self.hosts) < 2:
            return
        first, second = self.hosts[:2]
        with progress.part("network of the hosts"):
            if not first.reaches(second):
                raise Failure(
                    "network",
                    f"{first.name} does not reach {second.name}. Where a firewall filters bridges, as Docker's does: "
                    "`iptables -I FORWARD -i gsbr0 -o gsbr0 -j ACCEPT`",
                )

    # --- down

    def down(self, progress: ProgressLine) -> None:
        """End everything of this cluster, guests too; doing it again is harmless. Raises Failure."""
        if self.supervisor.runs():
            with progress.part("parts", "stopped"):
                self.supervisor.stop_all(last=("kafka", "postgres", *CEPH))
                self.supervisor.shut_down()
        # Whoever lost its supervisor.
        left = end(marked(str(self.layout.data)), grace=10)
        if left:
            raise Failure("down", f"processes {left} cannot be ended; as another user, or root?")
        if self._owns_bridge():
            for host in existing(self.bridge, self.layout):
                with progress.part(host.name, "removed"):
                    host.destroy()
            with progress.part("bridge", "removed"):
                Bridge.delete()
                forget_pins()

    def _owns_bridge(self) -> bool:
        return checks.is_root() and OWNER.exists() and OWNER.read_text().strip() == str(self.layout.project)

    def clean(self, progress: ProgressLine, everything: bool) -> None:
        """Stop, then forget all data; what was only fetched or built stays unless `everything`. Raises Failure."""
        self.down(progress)
        if self.layout.aside.exists() and checks.is_root():
            shutil.rmtree(self.layout.aside)
        if not self.layout.data.exists():
            return
        for path in self.layout.data.iterdir():
            if path.name == KEPT_BY_CLEAN and not everything:
                continue
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if everything:
            self.layout.data.rmdir()

    # --- looking

    def status(self) -> str:
        """Return a table of the parts as text, with the state of each."""
        if not self.supervisor.runs():
            return "Nothing runs. `make up` starts it."
        addresses = self._addresses()
        rows = [("PART", "STATE", "PID", "UP", "ADDRESS")]
        now = int(time.time())
        for process in self.supervisor.processes():
            runs = process["statename"] == RUNNING
            since = f"{_span(now - process['start'])}" if runs else "-"
            pid = str(process["pid"]) if runs else "-"
            rows.append((process["name"], process["statename"], pid, since, addresses.get(process["name"], "")))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )

    def _addresses(self) -> dict[str, str]:
        kafka = f"{LOOPBACK}:{KAFKA_PORT}"
        if self.hosts:
            kafka += f", {self.bridge.address}:{KAFKA_HOSTS_PORT}"
        found = {"kafka": kafka, "postgres": f"{LOOPBACK}:{POSTGRES_PORT}", "api": f"http://{LOOPBACK}:{API_PORT}"}
        for host in self.hosts:
            found[f"{host.name}-agent"] = f"{host.address}:{AGENT_PORT} ({UPLINK})"
            found[f"{host.name}-libvirtd"] = f"qemu+unix:///system?socket={host.socket}"
        return found

    def log_of(self, part: str) -> Path:
        """Return the path of a part's log. Raises Failure naming the parts there are."""
        log = self.layout.log(part)
        if not log.exists():
            there = ", ".join(sorted(path.stem for path in self.layout.logs.glob("*.log")))
            raise Failure("logs", f"there is none of {part!r}; there are: {there or 'none yet'}")
        return log

    def logs(self, part: str | None) -> str:
        """Return the last lines of one part's log, or of all logs."""
        if part:
            return tail(self.log_of(part), 200)
        return "\n\n".join(f"== {log.stem}\n{tail(log, 10)}" for log in sorted(self.layout.logs.glob("*.log")))


def _program(server: Server, stop_signal: str) -> Program:
    """Describe a server, such as tests start by themselves, as a program for the supervisor."""
    return Program(
        server.name,
        server.command,
        server.directory,
        server.account,
        server.environment,
        stop_signal=stop_signal,
        stop_wait=int(server.stop_timeout),
    )


def _toml(sections: Sections) -> str:
    """Format sections of settings as TOML; strings in JSON's notation are valid in TOML, too."""
    lines: list[str] = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        for name, value in values.items():
            lines.append(f"{name} = {json.dumps(value if isinstance(value, int) else str(value))}")
        lines.append("")
    return "\n".join(lines)


def _span(seconds: int) -> str:
    minutes, seconds = divmod(max(0, seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
