"""PostgreSQL with a data directory, a port and a password of its own, beside whatever the machine runs already."""

import re
import secrets
import shutil
import signal
from pathlib import Path

from infra.local.account import Account
from infra.local.process import Failure, alive, run
from infra.local.server import LOOPBACK, Server, free_port

NAME = "gostack"
OLDEST = 14

# Durability as in production: what a crash test proves here must hold there.
SETTINGS = {
    "listen_addresses": f"'{LOOPBACK}'",
    "unix_socket_directories": "''",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_wal_size": "1GB",
    "password_encryption": "scram-sha-256",
    "log_line_prefix": "'%m [%p] '",
    "log_min_duration_statement": "1000",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
    "lc_messages": "'C'",
}
# Texts are compared byte by byte: what is compared is mostly ids, and pages are in order of time. By a locale's rules
# each comparison would be a call into the C library, which makes indexes take twice as long.
LOCALE = ("--locale=C.UTF-8", "--lc-collate=C")
LZ4_SINCE = 15
"""The first release whose packages compress the write-ahead log by LZ4, at half the cost of PostgreSQL's own way."""
ACCESS = f"host all all {LOOPBACK}/32 scram-sha-256\n"


def binaries() -> Path:
    """Return the directory with the newest PostgreSQL's programs, which Debian keeps off the path. Raises Failure."""
    found = {
        int(match[1]): path
        for path in Path("/usr/lib/postgresql").glob("*/bin")
        if (match := re.fullmatch(r"(\d+)", path.parent.name)) and (path / "initdb").exists()
    }
    if found:
        newest = max(found)
        if newest < OLDEST:
            raise Failure("postgres", f"PostgreSQL {newest} is too old; {OLDEST} or newer is needed")
        return found[newest]
    initdb = shutil.which("initdb")
    if initdb:
        return Path(initdb).resolve().parent
    raise Failure("postgres", "PostgreSQL's server programs are not installed")


class Postgres(Server):
    """A PostgreSQL server with one database, `gostack`, that belongs to the user of that name."""

    name = "postgres"
    # "Fast": ends sessions instead of waiting for them.
    stop_signal = signal.SIGINT

    def __init__(self, directory: Path, port: int = 0, *, account: Account | None = None) -> None:
        """Use `port`, or where it is 0 a free one, which is kept over restarts."""
        super().__init__(directory, account)
        self.port = port or free_port()

    @property
    def data(self) -> Path:
        """The data directory that initdb creates."""
        return self.directory / "data"

    @property
    def password_file(self) -> Path:
        """The file with the password of the user, which only the account may read."""
        return self.directory / "password"

    @property
    def dsn(self) -> str:
        """The connection string for libpq, with the password. Raises FileNotFoundError before prepare()."""
        return f"postgresql://{NAME}:{self.password_file.read_text().strip()}@{LOOPBACK}:{self.port}/{NAME}"

    @property
    def command(self) -> list[str]:
        """The command line that runs the server in the foreground."""
        return [str(binaries() / "postgres"), "-D", str(self.data), "-p", str(self.port)]

    def prepare(self) -> None:
        """Create the password and the data directory with its database, unless they exist. Raises Failure."""
        self.take_directory()
        if not self.password_file.exists():
            self.account.write(self.password_file, secrets.token_urlsafe(24) + "\n")
        if not (self.data / "PG_VERSION").exists():
            self._initialize()
        self._forget_dead_server()

    def _initialize(self) -> None:
        # Made under another name first: half a data directory looks like a whole one.
        fresh = self.directory / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        initdb = [str(binaries() / "initdb"), "-D", str(fresh), "-U", NAME, "-E", "UTF8", *LOCALE]
        scram = ["--auth=scram-sha-256", f"--pwfile={self.password_file}"]
        run([*initdb, *scram], account=self.account, directory=self.directory)
        release = int((fresh / "PG_VERSION").read_text())
        settings = {**SETTINGS, "wal_compression": "lz4" if release >= LZ4_SINCE else "on"}
        with (fresh / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())
        (fresh / "pg_hba.conf").write_text(ACCESS)
        single = [str(binaries() / "postgres"), "--single", "-D", str(fresh), "postgres"]
        run(single, account=self.account, directory=self.directory, stdin=f"CREATE DATABASE {NAME};\n")
        fresh.rename(self.data)

    def _forget_dead_server(self) -> None:
        """Delete the lock file of a server that is dead: its pid may be another process's now, which would stop a
        start."""
        lock = self.data / "postmaster.pid"
        try:
            pid = int(lock.read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return
        program = Path(f"/proc/{pid}/comm")
        if not alive(pid) or program.read_text().strip() != "postgres":
            lock.unlink(missing_ok=True)

    def ready(self) -> bool:
        """Return whether the server accepts connections."""
        probe = [str(binaries() / "pg_isready"), "-q", "-h", LOOPBACK, "-p", str(self.port), "-U", NAME, "-d", NAME]
        return run(probe, check=False, timeout=10).returncode == 0
