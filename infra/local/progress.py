"""What a person sees while things start: a line a part with its seconds, and at the end where the time went."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Progress:
    """Prints parts as they come up and remembers how long each phase took."""

    def __init__(self) -> None:
        self._phases: list[tuple[str, float]] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A part of the whole that the summary names; its time counts also where it fails."""
        say(f"{name}:")
        begun = time.monotonic()
        try:
            yield
        finally:
            self._phases.append((name, time.monotonic() - begun))

    @contextmanager
    def part(self, name: str, state: str = "ready") -> Iterator[None]:
        """A line that appears at once and is finished when the part is."""
        print(f"  {name:<22} ", end="", flush=True)
        begun = time.monotonic()
        try:
            yield
        except BaseException:
            print(f"{'FAILED':<10}{time.monotonic() - begun:6.1f} s", flush=True)
            raise
        print(f"{state:<10}{time.monotonic() - begun:6.1f} s", flush=True)

    def summary(self) -> str:
        """How long each phase took, and all of them."""
        lines = [f"  {name:<22} {seconds:6.1f} s" for name, seconds in self._phases]
        lines.append(f"  {'together':<22} {sum(seconds for _, seconds in self._phases):6.1f} s")
        return "\n".join(lines)


def say(text: str) -> None:
    """Print a line now."""
    print(text, flush=True)


def warn(text: str) -> None:
    """Print a line now where errors go."""
    print(text, file=sys.stderr, flush=True)
