"""Errors that nobody foresaw: a line for the user, and the traceback in a file that the line names.

Why a file: a traceback says nothing to whoever only wants to know whether it worked, and everything to whoever mends
the program; it must be neither in the way nor lost.
"""

import os
import time
import traceback
from contextlib import suppress
from pathlib import Path

from cli.terminal import echo

STATUS = 70
"""Exit status of a program that failed itself; sysexits.h calls it EX_SOFTWARE."""
KEPT = 10
"""Tracebacks that are kept, of each program; older ones are deleted."""
LONGEST = 200  # characters of the error's own text on the line


def failed(program: str, error: BaseException, *, debug: bool) -> int:
    """Tell the user of an error that nobody foresaw, and return the exit status. With `debug`, show the traceback."""
    lines = "".join(traceback.format_exception(error))
    if debug:
        for line in lines.splitlines():
            echo(line, err=True)
    what = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST].rstrip(": ")
    path = kept(program, lines)
    where = f"the traceback is in {path}" if path else "--debug shows the traceback"
    echo(f"Error: {program} itself failed ({what}); {where}.", err=True)
    return STATUS


def kept(program: str, text: str) -> Path | None:
    """Keep a text in a new file that only its owner can read, and delete the oldest; None if no file can be made."""
    try:
        directory = state_directory()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        seconds, rest = divmod(time.time_ns(), 10**9)
        moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
        path = directory / f"{program}-{moment}.{rest:09}-{os.getpid()}.txt"
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(opened, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except (OSError, RuntimeError):
        return None
    for old in sorted(directory.glob(f"{program}-*.txt"))[:-KEPT]:
        with suppress(OSError):
            old.unlink()
    return path


def state_directory() -> Path:
    """Return the directory for files of this user's programs. Raises RuntimeError if the user has no home."""
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state") / "gostack"
