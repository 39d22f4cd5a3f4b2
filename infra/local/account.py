"""Who the servers run as: PostgreSQL refuses root, and nothing else needs it but what touches guests and networks."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

NAME = "gostack"


@dataclass(frozen=True)
class Account:
    """A user of this machine."""

    name: str
    uid: int
    gid: int
    home: str

    @property
    def identity(self) -> tuple[int | None, int | None, list[int] | None]:
        """User, group and further groups to start a process with; nothing where we are that user already."""
        return (None, None, None) if self.uid == os.geteuid() else (self.uid, self.gid, [])

    @property
    def environment(self) -> dict[str, str]:
        """What a process of this user finds in its environment instead of ours."""
        return {} if self.uid == os.geteuid() else {"HOME": self.home, "USER": self.name, "LOGNAME": self.name}

    def may_read(self, *paths: Path) -> bool:
        """Whether this user gets at all of these: asked of the kernel, since every directory above counts too."""
        user, group, extra = self.identity
        return all(
            subprocess.run(["test", "-r", path], user=user, group=group, extra_groups=extra, cwd="/").returncode == 0
            for path in paths
        )

    def may_enter(self, path: Path) -> bool:
        """Whether this user gets into a directory."""
        user, group, extra = self.identity
        command = ["test", "-x", str(path)]
        return subprocess.run(command, user=user, group=group, extra_groups=extra, cwd="/").returncode == 0

    def own(self, path: Path, mode: int = 0o750) -> Path:
        """Make a directory of this user's."""
        path.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)
        path.chmod(mode)
        return path

    def write(self, path: Path, text: str, mode: int = 0o640) -> None:
        """Write a file that this user may read and only we may change; never readable by others for a moment."""
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


def current() -> Account:
    """Who we are."""
    return _from(pwd.getpwuid(os.geteuid()))


def invoker() -> Account:
    """Who the project belongs to: under sudo the person who called it, so that no file of theirs becomes root's."""
    name = os.environ.get("SUDO_USER")
    if os.geteuid() != 0 or not name or name == "root":
        return current()
    return _from(pwd.getpwnam(name))


def unprivileged() -> Account:
    """Who servers run as: the person here, or where that is root a system user, made when it is not there yet."""
    person = invoker()
    if person.uid != 0:
        return person
    try:
        return _from(pwd.getpwnam(NAME))
    except KeyError:
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        subprocess.run([*command, "--shell", "/usr/sbin/nologin", NAME], check=True, capture_output=True, text=True)
        return _from(pwd.getpwnam(NAME))
