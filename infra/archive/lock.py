"""One process at a time works on an archive."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.archive.errors import ArchiveBusy


@contextmanager
def archive_lock(directory: Path, make: bool = False) -> Iterator[None]:
    """For the time of a block; the lock goes with the process. Raises ArchiveBusy, OSError."""
    if make:
        directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArchiveBusy(f"{directory}: another process works on it") from None
        yield
    finally:
        os.close(handle)
