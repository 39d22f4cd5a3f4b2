"""Files that commands write: opened before anything is asked of the service, and never over another by accident.

Why first: an answer may come once and never again, so that it must be known before whether it can be kept.
"""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.gs.problems import Refused, Usage


class NewFile:
    """A file of this name that only its owner can read. Until write() has succeeded, nothing of it stays, and what was
    there before is untouched."""

    def __init__(self, path: str, *, force: bool) -> None:
        """Open the file. Raises Usage if that fails, or there is one already and `force` is not given."""
        self.path = Path(path)
        self._written = False
        try:
            self._fresh, self._descriptor = self._opened(force)
        except FileExistsError as there:
            raise Usage(f"{path} exists already.", "Name another file, or overwrite it with --force.") from there
        except (OSError, ValueError) as error:
            raise Usage(f"{path} cannot be written: {_why(error)}.") from error

    def _opened(self, force: bool) -> tuple[Path | None, int]:
        """Return the path of the file to write, None for a device or a pipe, and its descriptor."""
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return self.path, os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        if stat.S_ISDIR(there.st_mode):
            raise IsADirectoryError(0, "it is a directory")
        if not stat.S_ISREG(there.st_mode):
            return None, os.open(self.path, os.O_WRONLY)
        if not force:
            raise FileExistsError
        descriptor, fresh = tempfile.mkstemp(prefix=f".{self.path.name[:100]}.", dir=self.path.resolve().parent)
        return Path(fresh), descriptor

    def write(self, content: bytes) -> None:
        """Write the file as a whole. Raises Refused."""
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(self._descriptor, left) :]
            if self._fresh is not None:
                os.fsync(self._descriptor)
                if self._fresh != self.path:
                    self._fresh.replace(self.path.resolve())
        except OSError as error:
            raise Refused(f"{self.path} could not be written: {_why(error)}.") from error
        self._written = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
        if not self._written and self._fresh is not None:
            with suppress(OSError):
                self._fresh.unlink()


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
