"""Processes of other programs: running one, waiting for one, and ending all that a cluster started."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from infra.local.account import Account

MARK = "GOSTACK_LOCAL"


class Failure(Exception):
    """A part did not start, or a program failed: `part` is which, `reason` is why, `log` is the path of its log."""

    def __init__(self, part: str, reason: str, log: Path | None = None) -> None:
        super().__init__(f"{part}: {reason}")
        self.part = part
        self.reason = reason
        self.log = log


def run(
    command: Sequence[str],
    *,
    account: Account | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
    directory: Path | None = None,
    timeout: float = 120.0,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, and return its output. Raises Failure with its last lines where it fails.

    `timeout` is in seconds; without `check` an exit status other than 0 is no failure.
    """
    user, group, extra = account.identity if account else (None, None, None)
    try:
        done = subprocess.run(
            command,
            user=user,
            group=group,
            extra_groups=extra,
            env={**os.environ, **(account.environment if account else {}), **(environment or {})},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except FileNotFoundError as missing:
        raise Failure(command[0], "is not installed") from missing
    except subprocess.TimeoutExpired as late:
        raise Failure(" ".join(command[:4]), f"took longer than {timeout:.0f} s") from late
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-10:]
        raise Failure(" ".join(command[:4]), f"exit status {done.returncode}: " + "\n".join(said))
    return done


def wait_until(condition: Callable[[], bool], timeout: float, pause: float = 0.1) -> bool:
    """Wait until a condition holds, at most `timeout` seconds, and return whether it does."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def tail(path: Path, lines: int = 20) -> str:
    """Return the last lines of a log, without reading all of it; empty where the file is missing."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 64 * 1024))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def alive(pid: int) -> bool:
    """Return whether a process still runs; a zombie does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def every_pid() -> list[int]:
    """Return the pids of all processes on this machine."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def descendants(pid: int) -> list[int]:
    """Return the pids of a process's children and of theirs, which may be in other process groups."""
    children: dict[int, list[int]] = {}
    for other in every_pid():
        try:
            parent = int(Path(f"/proc/{other}/stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(other)
    found: list[int] = []
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.append(child)
            waiting.append(child)
    return found


def marked(mark: str) -> list[int]:
    """Return the pids of processes with this cluster's mark in their environment, whatever their parent is now."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for pid in every_pid():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if wanted in environment.split(b"\0") and pid != os.getpid():
            found.append(pid)
    return found


def end(pids: Iterable[int], grace: float = 5.0) -> list[int]:
    """End processes by SIGTERM and, after `grace` seconds, by SIGKILL; return the pids of those that still run."""
    left = [pid for pid in pids if alive(pid)]
    for sign, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        for pid in left:
            try:
                os.kill(pid, sign)
            except ProcessLookupError:
                continue
        wait_until(partial(_all_gone, left), patience, pause=0.05)
        left = [pid for pid in left if alive(pid)]
    return left


def _all_gone(pids: Iterable[int]) -> bool:
    return not any(alive(pid) for pid in pids)
