"""list, show, history, diff and delete of every group, made from the rows of `resources`.

Why generated: like commands must not differ by accident, and a new kind of resource costs a row.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from cli.gs.call import Call, Outcomes
from cli.gs.columns import Column
from cli.gs.completion import names, narrowed
from cli.gs.options import command
from cli.gs.output import Format
from cli.gs.parsing import moment_of
from cli.gs.problems import GsError
from cli.gs.resources import CHANGE, EVENT, TIME, Narrowing, Resource

Choose = Callable[[dict[str, Any]], tuple[Column, ...]]
"""A function that returns the columns which a list command's own switches add."""
MOMENT = f"{TIME}; or topic/partition/offset"
ONLY, ALSO = "only", "also"
"""Whether a list has what is deleted."""

PAGE: tuple[tuple[str, Any, Any], ...] = (
    ("limit", Annotated[int | None, typer.Option("--limit", "-l", min=1, help="List at most this many.")], None),
    ("marker", Annotated[str | None, typer.Option("--marker", help="List only what follows this ID.")], None),
)
SORT: tuple[tuple[str, Any, Any], ...] = (
    (
        "sort",
        Annotated[
            str | None,
            typer.Option(
                "--sort", metavar="FIELD", help="Sort by this field; -FIELD turns the order round; -created by default."
            ),
        ],
        None,
    ),
)
DELETED: tuple[tuple[str, Any, Any], ...] = (
    ("deleted", Annotated[bool, typer.Option("--deleted", help="List only what is deleted.")], False),
    ("every", Annotated[bool, typer.Option("--all", help="List what is deleted, too.")], False),
)
SKIP: tuple[tuple[str, Any, Any], ...] = (
    ("skip", Annotated[int | None, typer.Option("--skip", "-s", min=0, help="Leave out this many first.")], None),
)


def add_list(
    app: typer.Typer,
    resource: Resource,
    *,
    switches: tuple[Narrowing, ...] = (),
    choose: Choose | None = None,
    skip: bool = True,
    name: str = "list",
) -> None:
    """Add the command `list`, or with another name. `switches` are its own; `choose` returns the columns they add."""

    def run(call: Call, **given: Any) -> None:
        own = {each.name: given.pop(each.name) for each in switches}
        if resource.long:
            own["long"] = given.pop("long")
        among = _among(given) if resource.deletable else None
        query: dict[str, Any] = {
            name: read[name](value) if value and name in read else "true" if value is True else value
            for name, value in given.items()
        }
        query |= {"deleted": among, "fields": fields_of(call, resource)}
        answer = call.client.get(resource.path(), **query)
        while query.get("at") and not answer.items(resource.plural) and answer.get("next"):
            # A page at a moment may be empty although more follow.
            answer = call.client.get(resource.path(), **query | {"marker": answer.get("next")})
        more = (resource.long if own.get("long") else ()) + (choose(own) if choose else ())
        more += (Column("deleted"),) if among else ()
        call.table(answer, resource, resource.columns + more)

    options = narrowing_options([*resource.narrowings, *switches], resource)
    read = {each.name: each.read for each in resource.narrowings if each.read is not None}
    options += [*(DELETED if resource.deletable else ()), *(SORT if resource.sorts else ())]
    if resource.long:
        options.append(("long", Annotated[bool, typer.Option("--long", help="Show more columns.")], False))
    signed(run, [*options, *PAGE, *(SKIP if skip else ())])
    command(app, name, help=f"List {resource.plural}.", shows=resource)(run)


def _among(given: dict[str, Any]) -> str | None:
    """Take the switches that say whether a list has what is deleted, and return the parameter that they become."""
    deleted, every = given.pop("deleted"), given.pop("every")
    if deleted and every:
        raise typer.BadParameter("--deleted does not go with --all.")
    return ONLY if deleted else ALSO if every else None


def fields_of(call: Call, resource: Resource) -> str | None:
    """Return the parameter by which the service leaves out all fields but those that --fields names, if it can."""
    return ",".join(call.options.fields) or None if resource.selects else None


def add_show(app: typer.Typer, resource: Resource, *, past: bool = False) -> None:
    """Add the command `show`; with `past`, it has an option to show an earlier moment."""

    def run(call: Call, which: str, at: str | None = None) -> None:
        moment = moment_of(at) if at else at
        path = resource.path(call.ident(resource, which))
        call.show_answer(call.client.get(path, at=moment, fields=fields_of(call, resource)))

    options: list[tuple[str, Any, Any]] = [("which", Annotated[str, argument(resource)], inspect.Parameter.empty)]
    if past:
        options.append(
            ("at", Annotated[str | None, typer.Option("--at", help=f"Show it as it was at {MOMENT}.")], None)
        )
    signed(run, options)
    command(app, "show", help=f"Show {article(resource.noun)}.")(run)


def add_history(app: typer.Typer, resource: Resource, help: str = "") -> None:
    """Add the command `history` to a group."""

    def run(call: Call, which: str, limit: int | None, marker: str | None) -> None:
        path = resource.path(call.ident(resource, which), "history")
        call.table(call.client.get(path, limit=limit, marker=marker), EVENT)

    signed(run, [("which", Annotated[str, argument(resource)], inspect.Parameter.empty), *PAGE])
    command(
        app, "history", shows=EVENT, help=help or f"List everything that ever happened to {article(resource.noun)}."
    )(run)


def add_diff(app: typer.Typer, resource: Resource) -> None:
    """Add the command `diff` to a group."""

    def run(call: Call, which: str, begin: str, end: str | None) -> None:
        moments = {"from": moment_of(begin), "to": moment_of(end) if end else end}
        answer = call.client.get(resource.path(call.ident(resource, which), "diff"), **moments)
        if call.options.form is Format.TABLE:
            call.table(answer, CHANGE)
        else:
            call.show_answer(answer)

    begin = typer.Option("--from", metavar="MOMENT", help=f"The first moment: {MOMENT}.", show_default=False)
    end = typer.Option("--to", metavar="MOMENT", help="The second moment; now, unless given.")
    signed(
        run,
        [
            ("which", Annotated[str, argument(resource)], inspect.Parameter.empty),
            ("begin", Annotated[str, begin], inspect.Parameter.empty),
            ("end", Annotated[str | None, end], None),
        ],
    )
    command(app, "diff", shows=CHANGE, help=f"Show what differs between {article(resource.noun)} at two moments.")(run)


def add_delete(app: typer.Typer, resource: Resource) -> None:
    """Add the command `delete`, of one or several resources, to a group."""

    def run(call: Call, which: list[str]) -> None:
        outcomes = Outcomes()
        for each in which:
            try:
                answer = call.client.write("DELETE", resource.path(call.ident(resource, each)))
                call.settle(answer)
            except GsError as problem:
                outcomes.failed(problem)
                continue
            if call.options.raw:
                call.show({}, answer.text or "{}")
            else:
                call.note(f"{resource.noun} {each}: deleted")
        outcomes.end()

    signed(run, [("which", Annotated[list[str], argument(resource)], inspect.Parameter.empty)])
    command(app, "delete", writes=True, help=f"Delete {article(resource.noun)}.")(run)


def argument(resource: Resource, where: Mapping[str, str] | None = None) -> Any:
    """Return the argument that names a resource, or several; `where` has parameters of the list that completes it."""
    what = "Name or ID" if resource.named else "ID"
    completer = names(resource, where=where)
    return typer.Argument(metavar=resource.noun.upper(), help=f"{what}.", show_default=False, autocompletion=completer)


def article(noun: str) -> str:
    """Return a noun with its article: `a flavor`, `an image`."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def narrowing_options(narrowings: Sequence[Narrowing], resource: Resource) -> list[tuple[str, Any, Any]]:
    """Return the parameters of a function that lists a kind of resource and takes these options."""
    return [(each.name, *_option(each, resource)) for each in narrowings]


def _option(each: Narrowing, resource: Resource) -> tuple[Any, Any]:
    if each.switch:
        return Annotated[bool, typer.Option(each.flag, help=each.help)], False
    return Annotated[str | None, typer.Option(each.flag, help=each.help, autocompletion=narrowed(each, resource))], None


def signed(function: Callable[..., None], options: list[tuple[str, Any, Any]]) -> None:
    """Give a function the signature that its options make."""
    kind = inspect.Parameter.KEYWORD_ONLY
    call = inspect.Parameter("call", inspect.Parameter.POSITIONAL_ONLY, annotation=Call)
    own = [inspect.Parameter(name, kind, default=default, annotation=note) for name, note, default in options]
    function.__signature__ = inspect.Signature([call, *own])  # type: ignore[attr-defined]
