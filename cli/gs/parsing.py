"""Parsers of sizes, pairs, lists and texts as people type them. All raise typer.BadParameter, which is wrong usage."""

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import typer

from domain.core import times

UNITS = {unit: 1024**power for power, unit in enumerate("KMGTP", start=1)}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]?)(?:i?B)?", re.IGNORECASE)
PLACE = re.compile(r"[A-Za-z][\w.-]*[/:]\d+[/:]\d+")
FILE_NAME = re.compile(
    r"(~|\.{1,2}|[A-Za-z]:)?[/\\].*"  # begins as a path does
    r"|[\w.+-]+[/\\]\S*"  # one word with a slash
    r"|[\w+-]+(\.[\w+-]+)*\.[A-Za-z]\w{0,9}"  # or with a suffix
)
"""Texts that are meant as the name of a file."""
PAIR = re.compile(r"""\s*("[^"]*"|[^=,"]+?)\s*=\s*("[^"]*"|[^,]*)(?:,|$)""")


def size(text: str) -> int:
    """Return a size in bytes: `1024`, `512M`, `1.5G`, `4GiB`. Units are powers of 1024."""
    match = SIZE.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no size: write bytes, or a number with K, M, G, T or P.")
    number, unit = match.groups()
    value = float(number) * UNITS.get(unit.upper(), 1)
    if value != int(value):
        raise typer.BadParameter(f"{text!r} is no whole number of bytes.")
    return int(value)


def pairs(texts: list[str] | None) -> dict[str, str]:
    """Parse `k=v,k2=v2`; a key or value that has a comma is in double quotes."""
    found: dict[str, str] = {}
    for text in texts or ():
        at = 0
        while at < len(text):
            match = PAIR.match(text, at)
            if match is None or match.end() == at:
                raise typer.BadParameter(f"{text!r} is no list of KEY=VALUE pairs.")
            key, value = (part.strip('"') if part.startswith('"') else part for part in match.groups())
            found[key] = value
            at = match.end()
    return found


def words(texts: list[str] | None) -> list[str] | None:
    """Return the words of `a,b` and of repeated options; None if none were given."""
    if not texts:
        return None
    return [word.strip() for text in texts for word in text.split(",")]


def time_of(text: str, *, fixed: bool = False) -> str:
    """Return a time as the service takes it; one without zone is in the zone of this terminal.

    One that is counted from now is left to the service's clock, unless it is to be `fixed`.
    """
    try:
        time = times.parsed(text, datetime.now(UTC), datetime.astimezone)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {error}.") from error
    return text if times.is_relative(text) and not fixed else time.isoformat().replace("+00:00", "Z")


def moment_of(text: str) -> str:
    """Return a time, or a place on the log, as the service takes it."""
    return text if PLACE.fullmatch(text) else time_of(text)


def range_of(text: str) -> str:
    """Return a range of times, FROM,TO, as the service takes it; one end may be empty."""
    try:
        times.parsed_range(text, datetime.now(UTC), datetime.astimezone)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {error}.") from error
    return ",".join(time_of(each) if each.strip() else "" for each in text.split(","))


def text_or_file(given: str) -> str:
    """Return the text of the file with this name, otherwise the text itself, as bytes_or_file() has it."""
    try:
        return bytes_or_file(given).decode()
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{given.removeprefix('@')} is not UTF-8 text.") from error


def bytes_or_file(given: str) -> bytes:
    """Return the bytes of the file with this name, otherwise those of the text itself.

    `@NAME` must be a file, and `@-` is standard input. So must be what looks like the name of a file, since a mistyped
    one would be taken for the text.
    """
    if given == "@-":
        return sys.stdin.buffer.read()
    explicit = given.startswith("@")
    path = Path(given[1:] if explicit else given)
    if explicit or _is_file(path):
        try:
            return path.read_bytes()
        except (OSError, ValueError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise typer.BadParameter(f"{path} cannot be read: {why}.") from error
    if FILE_NAME.fullmatch(given):
        raise typer.BadParameter(f"There is no file {given}. A text that looks like a file's name is taken from @-.")
    return given.encode()


def _is_file(path: Path) -> bool:
    """Return whether there is something to read; a pipe, such as <(…) of a shell, is as good as a file."""
    try:
        return path.exists() and not path.is_dir()
    except (OSError, ValueError):  # a text may be no possible file name at all: too long, or with a null character
        return False


def one_name(argument: str | None, option: str | None) -> str:
    """Return a name that was given as an argument or as an option."""
    if argument and option and argument != option:
        raise typer.BadParameter(f"Two names were given: {argument} and {option}.")
    if not (argument or option):
        raise typer.BadParameter("A name is missing.")
    return argument or option or ""
