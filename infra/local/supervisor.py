"""supervisord runs the parts: it starts again what ends, and keeps logs; this writes its settings and talks to it.

Nothing starts by itself: `up` starts the parts in order, each when what it needs is ready.
"""

import http.client
import shlex
import socket
import time
import xmlrpc.client
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from infra.local.account import Account
from infra.local.checks import is_root
from infra.local.layout import LOG_MODE, Layout
from infra.local.process import MARK, Failure, run, wait_until

LONGEST_SOCKET_PATH = 107
ALREADY_STARTED, NOT_RUNNING = 60, 70
RUNNING, STARTING, BACKOFF = "RUNNING", "STARTING", "BACKOFF"
ENDED = ("STOPPED", "EXITED", "FATAL")


@dataclass(frozen=True)
class Program:
    """A process that supervisord keeps running."""

    name: str
    command: Sequence[str]
    directory: Path
    account: Account | None = None
    environment: dict[str, str] = field(default_factory=dict)
    stop_signal: str = "TERM"
    stop_wait: int = 15

    def section(self, logs: Path) -> str:
        """Return the section of supervisord's settings for this program, whose log is in the directory `logs`."""
        environment = {**(self.account.environment if self.account else {}), **self.environment}
        settings = {
            "command": shlex.join(self.command),
            "directory": str(self.directory),
            "autostart": "false",
            "autorestart": "true",
            "startsecs": "1",
            "startretries": "10",
            "stopsignal": self.stop_signal,
            "stopwaitsecs": str(self.stop_wait),
            # Nothing that a part started for itself may outlive it and hold its ports.
            "killasgroup": "true",
            # Not supervisord's own: hypervisors read what an API or an agent has made for them.
            "umask": "022",
            "redirect_stderr": "true",
            "stdout_logfile": str(logs / f"{self.name}.log"),
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": "2",
            "environment": ",".join(f'{name}="{value}"' for name, value in sorted(environment.items())),
        }
        if self.account and self.account.identity[0] is not None:
            settings["user"] = self.account.name
        lines = [f"{name} = {value.replace('%', '%%')}\n" for name, value in settings.items() if value]
        return f"\n[program:{self.name}]\n" + "".join(lines)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return _Connection(self._path)


class Supervisor:
    """The supervisord of this cluster, and the calls to it."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._socket = layout.data / "supervisor.sock"
        self._settings = layout.data / "supervisord.conf"
        self._rpc: Any = xmlrpc.client.ServerProxy("http://localhost", transport=_Transport(self._socket)).supervisor

    def runs(self) -> bool:
        """Return whether supervisord answers."""
        try:
            self._rpc.getPID()
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return False
        return True

    def pid(self) -> int:
        """Return the pid of supervisord."""
        return int(self._rpc.getPID())

    def configure(self, programs: Sequence[Program]) -> None:
        """Make supervisord manage exactly these programs; those that did not change keep running."""
        if len(bytes(self._socket)) > LONGEST_SOCKET_PATH:
            raise Failure("supervisord", f"{self._socket} is too long for a socket; check out into a shorter path")
        self._settings.write_text(self._text(programs))
        self._settings.chmod(0o600)
        if not self.runs():
            self._start()
            return
        ((added, changed, removed),) = self._rpc.reloadConfig()
        for name in (*changed, *removed):
            self._rpc.stopProcessGroup(name)
            self._rpc.removeProcessGroup(name)
        for name in (*added, *changed):
            self._rpc.addProcessGroup(name)

    def _text(self, programs: Sequence[Program]) -> str:
        daemon = {
            "logfile": str(self._layout.logs / "supervisord.log"),
            "logfile_maxbytes": "10MB",
            "logfile_backups": "2",
            "pidfile": str(self._layout.data / "supervisord.pid"),
            "directory": str(self._layout.data),
            "minfds": "4096",
            # So that nobody else reads the logs, which are supervisord's files.
            "umask": "027",
            "environment": f'{MARK}="{self._layout.data}",PYTHONUNBUFFERED="1"',
        }
        if is_root():
            daemon["user"] = "root"
        lines = "".join(f"{name} = {value.replace('%', '%%')}\n" for name, value in daemon.items())
        door = f"[unix_http_server]\nfile = {self._socket}\nchmod = 0600\n\n"
        interface = "supervisor.rpcinterface:make_main_rpcinterface"
        rpc = f"\n[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = {interface}\n"
        # So that a person may use supervisorctl on it.
        rpc += f"\n[supervisorctl]\nserverurl = unix://{self._socket}\n"
        programs_text = "".join(program.section(self._layout.logs) for program in programs)
        return f"{door}[supervisord]\n{lines}{rpc}{programs_text}"

    def _start(self) -> None:
        self._socket.unlink(missing_ok=True)
        # Given here too, since settings in the file reach its children but not its own environment.
        mark = {MARK: str(self._layout.data)}
        # It opens its own log before it has its umask.
        self._layout.log("supervisord").touch(mode=LOG_MODE)
        run([self._layout.program("supervisord"), "-c", str(self._settings)], environment=mark, timeout=30)
        if not wait_until(self.runs, 10):
            raise Failure("supervisord", "does not answer", self._layout.log("supervisord"))

    def stop_all(self, last: Sequence[str], timeout: float = 60.0) -> None:
        """Stop all parts at the same time, and after them those in `last`, which the others need."""
        names = {process["name"] for process in self.processes()}
        for wave in (names.difference(last), names.intersection(last)):
            for name in wave:
                self.stop(name, wait=False)
            wait_until(partial(self._ended, wave), timeout)

    def _ended(self, names: Collection[str]) -> bool:
        return all(process["statename"] in ENDED for process in self.processes() if process["name"] in names)

    def shut_down(self) -> None:
        """Stop the parts that still run, and then supervisord."""
        pid = self.pid()
        self._rpc.shutdown()
        if not wait_until(lambda: not Path(f"/proc/{pid}").exists(), 90):
            raise Failure("supervisord", "does not end", self._layout.log("supervisord"))

    def processes(self) -> list[dict[str, Any]]:
        """Return what supervisord knows of every part."""
        return list(self._rpc.getAllProcessInfo())

    def state(self, name: str) -> str:
        """Return the state of a part, as supervisord names it."""
        return str(self._rpc.getProcessInfo(name)["statename"])

    def start(self, name: str) -> None:
        """Start a part, without waiting until it is ready; one that runs already keeps running."""
        try:
            self._rpc.startProcess(name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != ALREADY_STARTED:
                raise Failure(name, fault.faultString, self._layout.log(name)) from fault

    def stop(self, name: str, wait: bool = True) -> None:
        """Stop a part; harmless where it does not run."""
        try:
            self._rpc.stopProcess(name, wait)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != NOT_RUNNING:
                raise Failure(name, fault.faultString, self._layout.log(name)) from fault

    def expect_running(self, name: str, timeout: float) -> None:
        """Wait until a part has run for a second. Raises Failure when it gives up or is late."""
        deadline = time.monotonic() + timeout
        while (state := self.state(name)) != RUNNING:
            if state not in (STARTING, BACKOFF) or time.monotonic() > deadline:
                raise Failure(name, f"is {state}", self._layout.log(name))
            time.sleep(0.1)

    def gave_up(self, name: str) -> bool:
        """Return whether supervisord has given up starting a part."""
        return self.state(name) not in (STARTING, RUNNING, BACKOFF)
