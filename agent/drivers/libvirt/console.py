"""The end of a guest's serial console.

Why from two files: virtlogd, which keeps the log whether or not the hypervisor's daemon runs, starts a new file when
one is large and numbers the older ones, so what was asked for may begin in the one before.
"""

from pathlib import Path


def tail(log: Path, most: int) -> bytes:
    """The last `most` bytes; empty where nothing was written. Raises OSError."""
    last = _tail(log, most)
    if len(last) < most:
        last = _tail(log.with_name(log.name + ".0"), most - len(last)) + last
    return last


def _tail(path: Path, most: int) -> bytes:
    if most <= 0:
        return b""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - most))
            return file.read(most)
    except FileNotFoundError:
        return b""
