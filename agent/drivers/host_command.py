"""Programs of the host that do what no library does: qemu-img, ip, nft.

Why one place: each is bounded in time, is given its arguments as a list (no shell ever sees them), and fails as the
error of which a task shows the code and a sentence, and the agent's log the rest.
"""

import subprocess
from collections.abc import Sequence

from agent.drivers.driver import DriverError, DriverFault
from infra.process.error_text import text_of

TIMEOUT = 60.0
"""Seconds a program may take."""
SAID_AT_MOST = 500
"""Characters of a program's complaint that are passed on."""
FAILED = DriverFault.HOST_COMMAND_FAILED


def run(*command: str, given: str = "", fails: tuple[int, ...] = ()) -> str | None:
    """Run a program and return all that it printed; None where it ended with one of the exit codes in `fails`.

    Raises DriverError "host-command-failed".
    """
    program = name_of(command)
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as problem:
        how = f"took longer than {TIMEOUT:g} s" if isinstance(problem, subprocess.TimeoutExpired) else "cannot be run"
        raise DriverError(FAILED, f"{program} {how} on the host", text_of(problem)) from problem
    if done.returncode == 0:
        return done.stdout
    if done.returncode in fails:
        return None
    said = done.stderr.strip()[:SAID_AT_MOST]
    inside = f"{' '.join(command)} ended with {done.returncode}: {said or 'no word'}"
    raise DriverError(FAILED, f"{program} failed on the host; the log of the host's agent says why", inside)


def name_of(command: Sequence[str]) -> str:
    """Return the name of the program that a command line runs, where within limits the program behind them."""
    return command[command.index("--") + 1] if command[0] == "prlimit" else command[0]
