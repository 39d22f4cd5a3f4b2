"""Files that are put in place whole, so that no reader, and no crash, finds half of one."""

import os
from pathlib import Path


def put(path: Path, text: str, mode: int | None = None) -> None:
    """Put a file there, in place of the one that is there, in a directory that is made where there is none. `mode`: who
    may read and write it; None: as the process makes files. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text)
    if mode is not None:
        fresh.chmod(mode)
    fresh.replace(path)


def sync(path: Path) -> None:
    """Have what was written to a file be on its disk. Raises OSError."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
