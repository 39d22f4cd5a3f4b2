"""The user that servers run as: PostgreSQL refuses root, and only guests and networks need it."""

import fcntl
import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

NAME = "gostack"
NOBODY = "nobody"


@dataclass(frozen=True)
class Account:
    """A user account of this machine."""

    name: str
    uid: int
    gid: int
    home: str

    @property
    def identity(self) -> tuple[int | None, int | None, list[int] | None]:
        """User, group and further groups to start a process with; None each where this process has that user
        already."""
        return (None, None, None) if self.uid == os.geteuid() else (self.uid, self.gid, [])

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that differ for a process of this user; empty where this process has that user
        already."""
        return {} if self.uid == os.geteuid() else {"HOME": self.home, "USER": self.name, "LOGNAME": self.name}

    def may_read(self, *paths: Path) -> bool:
        """Return whether this user may read all these paths. The kernel decides, since directories above count, too."""
        user, group, extra = self.identity
        return all(
            subprocess.run(["test", "-r", path], user=user, group=group, extra_groups=extra, cwd="/").returncode == 0
            for path in paths
        )

    def may_enter(self, path: Path) -> bool:
        """Return whether this user may enter a directory."""
        user, group, extra = self.identity
        command = ["test", "-x", str(path)]
        return subprocess.run(command, user=user, group=group, extra_groups=extra, cwd="/").returncode == 0

    def own(self, path: Path, mode: int = 0o750) -> Path:
        """Create a directory that belongs to this user, and return its path. Raises OSError."""
        path.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)
        path.chmod(mode)
        return path

    def write(self, path: Path, text: str, mode: int = 0o640) -> None:
        """Write a file that this user may read and only this process's user may change. Raises OSError.

        Others cannot read it at any moment."""
        fresh = path.with_name(path.name + ".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            if os.geteuid() == 0:
                os.fchown(file.fileno(), 0, self.gid)
            os.fchmod(file.fileno(), mode)
            file.write(text)
        fresh.rename(path)


def _from(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


def named(name: str) -> Account:
    """Return the account of this name. Raises KeyError where there is none."""
    return _from(pwd.getpwnam(name))


def current() -> Account:
    """Return the account that this process runs as."""
    return _from(pwd.getpwuid(os.geteuid()))


def invoker() -> Account:
    """Return the owner of the project: under sudo the user who called it, so that their files do not become root's."""
    name = os.environ.get("SUDO_USER")
    if os.geteuid() != 0 or not name or name == "root":
        return current()
    return named(name)


def unprivileged() -> Account:
    """Return the account for servers: invoker(), or where that is root a system user, which is created if needed.

    Raises subprocess.CalledProcessError where it cannot be created.
    """
    person = invoker()
    if person.uid != 0:
        return person
    # Several processes may ask at once, and two useradds at once leave a user whom neither of them named.
    etc = os.open("/etc", os.O_RDONLY)
    try:
        fcntl.flock(etc, fcntl.LOCK_EX)
        return _created()
    finally:
        os.close(etc)


def _created() -> Account:
    try:
        return named(NAME)
    except KeyError:
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        subprocess.run([*command, "--shell", "/usr/sbin/nologin", NAME], check=True, capture_output=True, text=True)
        return named(NAME)
