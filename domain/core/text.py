"""Text of others, made safe to print: what a user, a guest or a host wrote may hold characters that control a terminal,
or that look like the end of a line."""

from collections.abc import Callable


def escaped(text: str, escape: Callable[[str], str], keep: str = "") -> str:
    """Return a text with every character escaped that is not printable, or not seen, besides those to `keep`."""
    strange = {ord(each): escape(each) for each in set(text) if not each.isprintable() and each not in keep}
    return text.translate(strange) if strange else text


def printable(text: str, keep: str = "") -> str:
    """Return a text with its control characters escaped, so that no name can control a terminal or break a row.

    Besides control characters these are all that change how others look: marks of the writing direction, characters
    without width, line separators. `keep` has those that may stay, such as line breaks.
    """
    return escaped(text, lambda each: each.encode("unicode_escape").decode(), keep)


def in_units(count: int) -> str:
    """Return a number of bytes as people write it, in the largest unit that leaves no fraction: 10 GiB, 1536 MiB."""
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    power = next(
        power for power in range(len(units) - 1, -1, -1) if power == 0 or (count and count % (1 << 10 * power) == 0)
    )
    return f"{count >> 10 * power} {units[power]}"
