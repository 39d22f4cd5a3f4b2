"""Ceph with one monitor, one OSD and one manager, of the system's packages: the smallest that keeps volumes.

Why the manager has no modules: by it alone the monitor knows how full the cluster is, which takes 40 MB of memory; with
its modules, of which nothing here makes use, it would be 300 MB.
Why the monitor comes first: it gives the others their places and keys, and has to answer for that.
"""

import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.local.account import Account, unprivileged
from infra.local.process import run
from infra.local.server import LOOPBACK, Server, free_port

USER = "gostack"
"""Ceph user of the agents and of guests' disks."""
MONITOR, OSD, MANAGER = "a", "0", "x"
DISK = 20 << 30
"""Size of the OSD's disk: a file that takes what is written to it and no more."""
ANSWER_SECONDS = 5
"""Seconds that a monitor has to answer a question."""


@dataclass(frozen=True)
class CephFiles:
    """Where a cluster's files are, and where its monitor listens."""

    directory: Path
    address: str
    port: int
    account: Account

    @property
    def fsid(self) -> uuid.UUID:
        """The cluster's id, which is the same each time it is made in this directory."""
        return uuid.uuid5(uuid.NAMESPACE_URL, f"gostack:{self.directory}")

    @property
    def monitor(self) -> str:
        """The address of the monitor, as clients have to be told it."""
        return f"[v2:{self.address}:{self.port}]"

    @property
    def conf(self) -> Path:
        """The file with the settings of the daemons and the administrator."""
        return self.directory / "ceph.conf"

    @property
    def client_conf(self) -> Path:
        """The file with the settings of clients, beside their keyring, which may be read without the rest."""
        return self.directory / "client" / "ceph.conf"

    @property
    def client_keyring(self) -> Path:
        """The file with the key of the user gostack."""
        return self.client_conf.with_name(f"ceph.client.{USER}.keyring")

    def keyring(self, name: str) -> Path:
        """Return the file with the key of a daemon or the administrator."""
        return self.directory / f"{name}.keyring"

    def ask(self, *words: str, given: str | None = None) -> str:
        """Ask the monitor as the administrator, and return its answer. Raises Failure."""
        command = ["ceph", "-c", str(self.conf), "--connect-timeout", str(ANSWER_SECONDS), *words]
        return run(command, account=self.account, stdin=given, timeout=60).stdout

    def answers(self, *words: str) -> str:
        """Ask as ask() does, and return the answer; empty where there is none."""
        command = ["ceph", "-c", str(self.conf), "--connect-timeout", "1", *words]
        return run(command, account=self.account, timeout=60, check=False).stdout

    def write(self) -> None:
        """Write the settings, and make the keys where there are none. Raises Failure."""
        own = self.account.own(self.directory, 0o711)
        self.account.own(self.client_conf.parent, 0o755)
        for each in ("run", "crash"):
            self.account.own(own / each)
        shared = f"[global]\nfsid = {self.fsid}\nmon host = {self.monitor}\n"
        self.account.write(self.conf, shared + self._settings())
        self.account.write(self.client_conf, shared, 0o644)
        administrator = self.keyring("client.admin")
        self._key(administrator, "client.admin", "--cap", "mon", "allow *", "--cap", "osd", "allow *")
        if not self.keyring("mon").exists():
            fresh = self.keyring("mon").with_suffix(".new")
            fresh.unlink(missing_ok=True)
            self._key(fresh, "mon.", "--cap", "mon", "allow *")
            self._run("ceph-authtool", str(fresh), "--import-keyring", str(administrator))
            fresh.rename(self.keyring("mon"))
        self._key(self.keyring(f"osd.{OSD}"), f"osd.{OSD}")

    def _key(self, file: Path, name: str, *may: str) -> None:
        if not file.exists():
            fresh = file.with_suffix(".fresh")
            fresh.unlink(missing_ok=True)
            self._run("ceph-authtool", "--create-keyring", str(fresh), "--gen-key", "-n", name, *may)
            fresh.rename(file)

    def _run(self, *command: str) -> str:
        return run(command, account=self.account, directory=self.directory, timeout=120).stdout

    def _settings(self) -> str:
        """Return the settings of the daemons besides what clients are told."""
        everywhere = {
            "run dir": self.directory / "run",
            "crash dir": self.directory / "crash",
            "admin socket": "",
            "log file": "",
            "mon cluster log file": "",
            "keyring": self.directory / "$name.keyring",
            "public addr": self.address,
            "cluster addr": self.address,
            "ms bind msgr1": "false",
            "auth allow insecure global id reclaim": "false",
            "osd pool default size": 1,
            "osd pool default min size": 1,
            "osd pool default pg num": 8,
            "osd pool default pgp num": 8,
            "osd pool default pg autoscale mode": "off",
            "osd crush chooseleaf type": 0,
            "mon allow pool size one": "true",
            "mon allow pool delete": "true",
            "mon warn on pool no redundancy": "false",
            # A laptop's disk is mostly full, which is nothing that a monitor has to stop for.
            "mon data avail warn": 2,
            "mon data avail crit": 1,
        }
        of_monitor = {"mon data": self.directory / "mon", "keyring": self.keyring("mon")}
        of_osd = {
            "osd data": self.directory / "osd",
            "osd objectstore": "bluestore",
            "bluestore block create": "true",
            "bluestore block size": DISK,
            "bluestore cache autotune": "false",
            "bluestore cache size": 64 << 20,
            "osd op num shards": 2,
            "osd op num threads per shard": 1,
        }
        lines = [f"{name} = {value}" for name, value in everywhere.items()]
        of_manager = {
            "mgr data": self.directory / "mgr",
            "mgr module path": self.directory / "mgr-modules",
            "keyring": self.directory / "mgr" / "keyring",
        }
        for section, settings in (("mon", of_monitor), ("osd", of_osd), ("mgr", of_manager)):
            lines += [f"[{section}]", *(f"{name} = {value}" for name, value in settings.items())]
        return "\n".join([*lines, ""])


class _Daemon(Server):
    """A daemon of Ceph, which writes its log where its other output goes."""

    ident: str

    def __init__(self, files: CephFiles) -> None:
        super().__init__(files.directory, files.account)
        self.files = files

    @property
    def command(self) -> list[str]:
        """The command line that runs the daemon in the foreground."""
        return [self.name, "-d", "-i", self.ident, "-c", str(self.files.conf)]

    def make(self, *more: str) -> None:
        """Make the daemon's own directory under another name first: half of one looks like a whole one."""
        kind = self.name.removeprefix("ceph-")
        whole, fresh = self.directory / kind, self.directory / f"{kind}.new"
        if whole.exists():
            return
        shutil.rmtree(fresh, ignore_errors=True)
        self.account.own(fresh)
        command = [self.name, "-i", self.ident, "-c", str(self.files.conf), "--mkfs", f"--{kind}-data", str(fresh)]
        run([*command, *more], account=self.account, directory=self.directory, timeout=120)
        fresh.rename(whole)


class CephMonitor(_Daemon):
    """The monitor, which knows what there is of the cluster and who may do what."""

    name = "ceph-mon"
    ident = MONITOR

    def prepare(self) -> None:
        """Write the settings and, at first, make the monitor's directory. Raises Failure."""
        self.files.write()
        monitors = self.directory / "monmap"
        maps = ["monmaptool", "--create", "--clobber", "--addv", MONITOR, self.files.monitor]
        run([*maps, "--fsid", str(self.files.fsid), str(monitors)], account=self.account, directory=self.directory)
        self.make("--monmap", str(monitors), "--keyring", str(self.files.keyring("mon")))

    def ready(self) -> bool:
        """Return whether the monitor answers."""
        return bool(self.files.answers("mon", "stat"))


class CephOsd(_Daemon):
    """The OSD, which keeps the data. It can be prepared once the monitor answers."""

    name = "ceph-osd"
    ident = OSD

    def prepare(self) -> None:
        """Make the OSD known to the monitor and, at first, its directory. Raises Failure."""
        if (self.directory / "osd").exists():
            return
        identity = uuid.uuid5(self.files.fsid, OSD)
        keyring = self.files.keyring(f"osd.{OSD}")
        key = run(["ceph-authtool", "-p", "-n", f"osd.{OSD}", str(keyring)], account=self.account).stdout.strip()
        self.files.ask("osd", "new", str(identity), OSD, "-i", "-", given=json.dumps({"cephx_secret": key}))
        self.make("--osd-uuid", str(identity))

    def ready(self) -> bool:
        """Return whether the monitor says that the OSD is up."""
        answer = self.files.answers("osd", "stat", "-f", "json")
        return bool(answer) and json.loads(answer)["num_up_osds"] == 1


class CephManager(_Daemon):
    """The manager, by which alone the monitor knows how full the cluster is. It can be prepared as the OSD can."""

    name = "ceph-mgr"
    ident = MANAGER

    def prepare(self) -> None:
        """Have the monitor give the manager a key. Raises Failure."""
        home = self.account.own(self.directory / "mgr")
        self.account.own(self.directory / "mgr-modules")
        if not (home / "keyring").exists():
            may = ("mon", "profile mgr", "osd", "allow *")
            self.account.write(home / "keyring", self.files.ask("auth", "get-or-create", f"mgr.{MANAGER}", *may))

    def ready(self) -> bool:
        """Return whether the monitor has heard of the manager how much space there is."""
        answer = self.files.answers("df", "-f", "json")
        return bool(answer) and json.loads(answer)["stats"]["total_bytes"] > 0


class Ceph:
    """A whole cluster: its daemons, and what clients have to know."""

    def __init__(self, directory: Path, address: str = LOOPBACK, port: int = 0, account: Account | None = None) -> None:
        """Use `port` for the monitor, or where it is 0 a free one; the OSD takes ports from 6800 on."""
        self.files = CephFiles(directory, address, port or free_port(), account or unprivileged())
        self.osd = CephOsd(self.files)
        self.daemons: tuple[Server, ...] = (CephMonitor(self.files), self.osd, CephManager(self.files))
        """In the order in which they are prepared and started, each once the one before answers."""

    def make_pool(self, name: str) -> None:
        """Make a pool for volumes, and have the user gostack use it; harmless where it exists. Raises Failure."""
        ask = self.files.ask
        # Clones need no protected snapshots then.
        ask("osd", "set-require-min-compat-client", "mimic")
        ask("osd", "pool", "create", name, "8")
        ask("osd", "pool", "application", "enable", name, "rbd")
        # It is well without the modules that it misses.
        ask("health", "mute", "MGR_MODULE_ERROR", "--sticky")
        may = ("mon", "profile rbd", "osd", f"profile rbd pool={name}")
        keyring = ask("auth", "get-or-create", f"client.{USER}", *may)
        self.files.account.write(self.files.client_keyring, keyring)

    def __enter__(self) -> Self:
        for daemon in self.daemons:
            daemon.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for daemon in reversed(self.daemons):
            daemon.stop()
