"""Other programs: run one, wait for one, and end all that a cluster started, however they were started."""

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
    """A part did not come up, or a program failed; says which, why, and where its log is."""

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
    """Run a program to its end and return what it said. Raises Failure with its last lines."""
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
    """Ask again and again, at most `timeout` seconds; whether it came true."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log, without reading all of it."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 64 * 1024))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def alive(pid: int) -> bool:
    """Whether a process still runs; one that only waits to be collected does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def every_pid() -> list[int]:
    """The processes there are."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def descendants(pid: int) -> list[int]:
    """A process's children, and theirs: a server's workers may be leaders of groups of their own."""
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
    """Processes that carry this cluster's mark in their environment, whoever their parent is by now."""
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
    """Ask processes to end, then make them; returns those that even then are still there."""
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
