"""gs project: the usage of each project."""

from typing import Annotated

import typer

from cli.gs.call import Call
from cli.gs.completion import names
from cli.gs.options import command
from cli.gs.resources import USAGE

app = typer.Typer()


@command(app)
def usage(
    call: Call,
    project: Annotated[
        str | None,
        typer.Argument(
            metavar="PROJECT", help="List only this project.", show_default=False, autocompletion=names(USAGE)
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-l", min=1, help="List at most this many.")] = None,
    marker: Annotated[str | None, typer.Option("--marker", help="List only projects after this one.")] = None,
) -> None:
    """List instances and ports of each project, and the vCPUs, memory and disk that hosts hold for them."""
    call.table(call.client.get(USAGE.path(), project_id=project, limit=limit, marker=marker), USAGE)


@app.callback()
def project() -> None:
    """Show the usage of projects."""
