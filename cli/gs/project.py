"""gs project: what each project uses."""

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
        typer.Argument(metavar="PROJECT", help="Only this one.", show_default=False, autocompletion=names(USAGE)),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-l", min=1, help="At most so many.")] = None,
    marker: Annotated[str | None, typer.Option("--marker", help="Only what follows this project.")] = None,
) -> None:
    """List instances and ports of each project, and the vCPUs, memory and disk that hosts hold for them."""
    call.table(call.client.get(USAGE.path(), project_id=project, limit=limit, marker=marker), USAGE)


@app.callback()
def project() -> None:
    """What each project uses."""
