"""gs event dead: records that could not be read or applied; they are retried or dropped."""

from typing import Annotated

import typer

from cli.gs.call import Call
from cli.gs.completion import words
from cli.gs.options import command
from cli.gs.resources import DEAD, kinds
from cli.gs.standard import argument
from cli.gs.synonyms import SynonymGroup

app = typer.Typer(cls=SynonymGroup, no_args_is_help=True)
Which = Annotated[str, argument(DEAD)]
STATUSES = ("dead", "retried", "dropped")


@command(app, "list")
def list_all(
    call: Call,
    status: Annotated[
        str | None,
        typer.Option(
            "--status", help="Only in this status: dead, retried or dropped.", autocompletion=words(lambda: STATUSES)
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", help="Only records for this kind, such as instance.", autocompletion=words(kinds)),
    ] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Only records for this aggregate: KIND/ID.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-l", min=1, help="List at most this many.")] = None,
    marker: Annotated[str | None, typer.Option("--marker", help="List only what follows this ID.")] = None,
) -> None:
    """List dead records with the newest first."""
    answer = call.client.get(DEAD.path(), status=status, kind=kind, subject=subject, limit=limit, marker=marker)
    call.table(answer, DEAD)


@command(app)
def show(call: Call, which: Which) -> None:
    """Show a dead record: its position, the reason why it is dead, and its data."""
    call.show_answer(call.client.get(DEAD.path(which)))


@command(app, writes=True)
def retry(call: Call, which: Which) -> None:
    """Release the subject of a dead record, and put the record on its topic again, once."""
    call.show_answer(call.client.write("POST", DEAD.path(which, "retry")))


@command(app, writes=True)
def drop(call: Call, which: Which) -> None:
    """Mark a dead record as dropped, so that it needs no more care."""
    call.show_answer(call.client.write("POST", DEAD.path(which, "drop")))
