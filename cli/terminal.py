"""Text on its way to a terminal: the one place through which all that `gs` and `gostack` print goes.

Why control characters are escaped wherever standard output leads: names, metadata and messages are other people's, and
what goes into a file or a pipe is looked at in a terminal sooner or later.
"""

import os
import sys
from contextlib import suppress

from domain.core.text import printable

UNREAD = 141
"""Exit status if nobody reads the output any more: what a shell reports of a program that SIGPIPE ended."""


class Verbatim(str):
    """Text that is printed as it is: the control characters in it are meant."""

    __slots__ = ()


class OutputLost(Exception):
    """Standard output cannot be written."""


def on_terminal() -> bool:
    """Return whether standard output is a terminal; it may be closed."""
    return sys.stdout is not None and sys.stdout.isatty()


def write(text: str) -> None:
    """Print to standard output; characters that its encoding lacks are replaced. Raises BrokenPipeError, OutputLost."""
    stream = sys.stdout
    if stream is None:
        raise OutputLost("it is closed")
    shown = text if isinstance(text, Verbatim) else printable(text, keep="\n\t")
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputLost(error.strerror or str(error)) from error


def echo(line: str, err: bool = False) -> None:
    """Print a line to standard output, or with `err` to standard error. Line breaks in it are escaped, too."""
    if not err:
        write(f"{printable(line)}\n")
    elif sys.stderr is not None:
        print(printable(line), file=sys.stderr, flush=True)


def urge(lines: list[str]) -> None:
    """Print lines that must not be lost: to standard error, or to the terminal itself where that cannot be written."""
    text = "".join(f"{printable(line)}\n" for line in lines)
    try:
        if sys.stderr is not None:
            sys.stderr.write(text)
            sys.stderr.flush()
            return
    except OSError:
        pass
    with suppress(OSError), open("/dev/tty", "w", encoding="utf-8") as terminal:
        terminal.write(text)


def silence() -> None:
    """Write nothing more to standard output: whoever read it is gone, and the interpreter would complain at its end."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
