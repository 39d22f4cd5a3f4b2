"""Parsers of sizes, pairs, lists and texts as people type them. All raise typer.BadParameter, which is wrong usage."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import typer

UNITS = {unit: 1024**power for power, unit in enumerate("KMGTP", start=1)}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]?)(?:i?B)?", re.IGNORECASE)
AGO = re.compile(r"(\d{1,9})([smhd])")
LENGTHS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
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


def moment_of(text: str) -> str:
    """Return the moment of a time such as 10m ago; other texts unchanged, for the service to parse."""
    if ago := AGO.fullmatch(text):
        try:
            return (datetime.now(UTC) - timedelta(**{LENGTHS[ago[2]]: int(ago[1])})).isoformat()
        except OverflowError as error:
            raise typer.BadParameter(f"{text!r} is too long ago.") from error
    return text


def text_or_file(given: str) -> str:
    """Return the text of the file with this name (`@NAME` must be one), otherwise the text itself."""
    explicit = given.startswith("@")
    path = Path(given[1:] if explicit else given)
    try:
        if not explicit and not path.is_file():
            return given
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{path} is not UTF-8 text.") from error
    except (OSError, ValueError) as error:
        if explicit:
            raise typer.BadParameter(f"{path} cannot be read: {error}") from error
        # A text may be no possible file name at all: too long, or with a null character.
        return given


def one_name(argument: str | None, option: str | None) -> str:
    """Return a name that was given as an argument or as an option."""
    if argument and option and argument != option:
        raise typer.BadParameter(f"Two names were given: {argument} and {option}.")
    if not (argument or option):
        raise typer.BadParameter("A name is missing.")
    return argument or option or ""
