"""Words of a closed set, as people write them: case does not matter, and a refusal says what there is.

Why here: the API checks its parameters by it and `gs` its options, and both have to name the same words.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

MOST_TOLD = 60
"""Words that a refusal lists; of a larger set it lists those that are most like the given one, or the first."""


def chosen(given: str, known: Iterable[str]) -> str:
    """Return the word of the set that the given one means. Raises ValueError, which says what there is."""
    words = list(known)
    if given in words:
        return given
    for word in words:
        if word.casefold() == given.casefold():
            return word
    raise ValueError(none_of(given, words))


def matching(given: str, known: Iterable[str]) -> list[str]:
    """Return the words of the set that the given one means; in a pattern, * stands for anything.

    Raises ValueError, which says what there is.
    """
    words = list(known)
    if "*" not in given:
        return [chosen(given, words)]
    found = [word for word in words if fnmatchcase(word.casefold(), given.casefold().replace("[", "[[]"))]
    if not found:
        raise ValueError(none_of(given, words))
    return found


def none_of(given: str, known: Sequence[str]) -> str:
    """Return the sentence that says that a word is none of a set, and which words are."""
    close = alike(given, known)
    question = f"; did you mean {' or '.join(close)}?" if close else ""
    told = known if len(known) <= MOST_TOLD else alike(given, known, MOST_TOLD) or [*known[:MOST_TOLD], "…"]
    return f"{given[:80]!r} is none of {', '.join(told)}{question}"


def meant(given: str, known: Iterable[str]) -> str:
    """Return a question for those that are most like the given word; empty if none is."""
    close = alike(given, [each for each in known if each != given])
    return f"Did you mean {' or '.join(close)}?" if close else ""


def alike(given: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Return the words that are most like the given one, the most alike first, whatever their case."""
    by_folded = {word.casefold(): word for word in known}
    return [by_folded[each] for each in get_close_matches(given.casefold(), by_folded, most)]
