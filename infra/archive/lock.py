"""A lock that lets one process at a time work on an archive."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.archive.errors import ArchiveBusy


@contextmanager
def archive_lock(directory: Path, make: bool = False) -> Iterator[None]:
    """Hold the lock of an archive for the time of a block; it ends with the process at the latest.

    `make` creates the directory first where it is missing. Raises ArchiveBusy where another process holds it, OSError.
    """
    if make:
        directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArchiveBusy(f"{directory}: another process works on this archive") from None
        yield
    finally:
        os.close(handle)
