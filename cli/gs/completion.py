"""Shell completion: names and IDs as the service has them, statuses, and fields.

Why one file: every argument and option completes by a function made here, so all of them keep the same time and write
nothing but words that are safe on a command line. Why the service is asked in a thread: the HTTP client's time-outs
bound each wait, but neither the look-up of an address nor an answer that comes in drops.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import typer

from cli.gs.resources import KINDS, Narrowing, Resource

Completer = Callable[[typer.Context, str], list[str]]
"""A function from a command's context and the beginning of a word to whole words."""

BEGAN = time.monotonic() - time.process_time()
"""The start of the program, in seconds of the monotonic clock, approximately."""
PATIENCE = 0.27  # seconds since BEGAN; with the end of the program, a user waits 0.3
LEAST = 0.1  # seconds for the service, where the start of the program took most of them
PAGE = 500  # documents that are looked through
PLAIN = re.compile(r"\w[\w.+/-]*")
"""Names that every shell takes for a plain word; other names are not completed, since other users may choose them."""
FILE = re.compile(r"[\w.][\w.+-]*/?")


def names(resource: Resource, *keys: str, several: bool = False, where: Mapping[str, str] | None = None) -> Completer:
    """Complete names and IDs of this kind of thing, among those that a list with the parameters `where` shows.

    `keys` are the fields to take, unless those that the resource is known by. `several`: the word is a list, a,b.
    """
    fields = keys or resource.known_by

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        before, typed = _split(incomplete, several)
        found = _listed(ctx, resource, {"limit": PAGE, **(where or {})}, fields)
        return _words(before, typed, (word for each in found for word in _known_as(each, fields, typed)))

    return complete


def words(known: Callable[[], Iterable[str]], *, several: bool = False) -> Completer:
    """Complete words that need no service. `several`: the word is a list, a,b."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        before, typed = _split(incomplete, several)
        return _words(before, typed, known())

    return complete


def closed(*known: str) -> Completer:
    """Complete words of a closed set."""
    return words(lambda: known)


def files() -> Completer:
    """Complete names of files and directories; a leading `@`, which some options take, stays."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        mark = "@" if incomplete.startswith("@") else ""
        folder, slash, typed = incomplete.removeprefix(mark).rpartition("/")
        with suppress(OSError, RuntimeError, ValueError):
            there = Path(folder + slash or ".").expanduser()
            found = [f"{each.name}/" if each.is_dir() else each.name for each in os.scandir(there)]
            shown = sorted(each for each in found if each.startswith(typed) and (typed or not each.startswith(".")))
            return [f"{mark}{folder}{slash}{each}" for each in shown[:PAGE] if FILE.fullmatch(each)]
        return []

    return complete


def fields(shows: Resource | None) -> Completer:
    """Complete a list of fields of what a command shows; without `shows`, of what its group is about."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        resource = shows or KINDS.get((ctx.parent and ctx.parent.command.name) or "")
        if resource is None:
            return []
        known = [column.path for column in (*resource.columns, *resource.long)]
        if resource in KINDS.values():
            known += [name for document in _listed(ctx, resource, {"limit": 1}) for name in document]
        before, typed = _split(incomplete, several=True)
        return _words(before, typed, known)

    return complete


def narrowed(narrowing: Narrowing, own: Resource | None = None) -> Completer | None:
    """The completer of a list's option, if it has any; `own` is what is listed."""
    if narrowing.known is not None:
        return words(narrowing.known, several=narrowing.several)
    kind, _, key = narrowing.of.partition(".")
    resource = KINDS.get(kind) if kind else None
    if narrowing.flag == "--name" and own is not None and own.named:
        resource, key = own, "name"
    if kind and resource is None:
        return _by_row(kind, several=narrowing.several)
    return names(resource, *filter(None, [key]), several=narrowing.several) if resource else None


def of_field(name: str) -> Completer | None:
    """The completer of an option that is a field of a command: `flavor` and `flavor_id` take flavors."""
    noun = name.removesuffix("_id")
    resource = KINDS.get(noun) or _of_row(noun)
    return names(resource) if resource else None


def of_kind(noun: str, *, several: bool = False) -> Completer:
    """Complete names of things of this kind. `several`: the word is a list, a,b."""
    resource = KINDS.get(noun)
    return names(resource, several=several) if resource else _by_row(noun, several=several)


def _by_row(noun: str, *, several: bool) -> Completer:
    """Complete names of what is made from a kind's row, which is read when something is completed, and not before."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        resource = _of_row(noun)
        return names(resource, several=several)(ctx, incomplete) if resource else []

    return complete


def _of_row(noun: str) -> Resource | None:
    """Return what is made from a kind's row, where it has one and no more."""
    # Neither is needed by a group whose options are no fields of commands.
    from cli.gs.of_kind import resource_of
    from domain.aggregates import AGGREGATES

    return resource_of(AGGREGATES[noun]) if noun in AGGREGATES else None


def _split(incomplete: str, several: bool) -> tuple[str, str]:
    """Split a list into the words before the last one, and the last one as far as it is typed."""
    before, comma, typed = incomplete.rpartition(",") if several else ("", "", incomplete)
    return before + comma, typed


def _words(before: str, typed: str, known: Iterable[str]) -> list[str]:
    given = before.split(",")
    fitting = dict.fromkeys(word for word in known if word.startswith(typed) and word not in given)
    return [before + word for word in fitting if PLAIN.fullmatch(word)]


def _known_as(document: dict[str, Any], keys: Sequence[str], typed: str) -> list[str]:
    """Return the words for a document: its name, and also its ID once something is typed."""
    values = [value for key in keys if isinstance(value := document.get(key), str) and PLAIN.fullmatch(value)]
    return values if typed else values[:1]


def _listed(
    ctx: typer.Context, resource: Resource, query: Mapping[str, Any], fields: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return a page of the service's list; an empty list if it does not answer in time."""
    found: list[dict[str, Any]] = []
    left = max(LEAST, PATIENCE - (time.monotonic() - BEGAN))
    only = {"fields": ",".join(fields)} if resource.selects else {}

    def ask() -> None:
        # Whatever goes wrong: a message would be written into the line that is being typed.
        with suppress(Exception):
            from cli.gs.client import Deadline, connect

            with closing(connect(Deadline.starting(left), debug=False, transport=ctx.obj)) as client:
                answer = client.look(resource.path(), **query, **only)
            found.extend(each for each in answer.items(resource.plural) if isinstance(each, dict)) if answer else None

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(left)
    return list(found)
