"""Progress on the terminal while a cluster starts: a line with seconds for each part, and a summary."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from domain.core.text import printable


class ProgressLine:
    """Prints a line for each part that starts, and keeps how long each phase took."""

    def __init__(self) -> None:
        self._phases: list[tuple[str, float]] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a block as a phase of the summary, also where it fails."""
        say(f"{name}:")
        begun = time.monotonic()
        try:
            yield
        finally:
            self._phases.append((name, time.monotonic() - begun))

    @contextmanager
    def part(self, name: str, state: str = "ready") -> Iterator[None]:
        """Print the name of a part at once, and its state and seconds when the block ends."""
        print(f"  {name:<22} ", end="", flush=True)
        begun = time.monotonic()
        try:
            yield
        except BaseException:
            print(f"{'FAILED':<10}{time.monotonic() - begun:6.1f} s", flush=True)
            raise
        print(f"{state:<10}{time.monotonic() - begun:6.1f} s", flush=True)

    def summary(self) -> str:
        """Return the seconds of each phase and of all together, as lines of text."""
        lines = [f"  {name:<22} {seconds:6.1f} s" for name, seconds in self._phases]
        lines.append(f"  {'together':<22} {sum(seconds for _, seconds in self._phases):6.1f} s")
        return "\n".join(lines)


def say(text: str) -> None:
    """Print lines to standard output at once; what would control the terminal is escaped: logs have foreign text."""
    print(_printable_lines(text), flush=True)


def warn(text: str) -> None:
    """Print lines to standard error at once, escaped as say() does."""
    print(_printable_lines(text), file=sys.stderr, flush=True)


def _printable_lines(text: str) -> str:
    # A tab only moves to the right; columns of other programs' output rely on it.
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))
