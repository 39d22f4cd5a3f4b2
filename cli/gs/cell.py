"""gs cell: parts of the fleet, each with a scheduler of its own."""

from typing import Annotated

import typer

from cli.gs.call import Call
from cli.gs.options import command
from cli.gs.resources import CELL

app = typer.Typer()


@command(app, name="list")
def list_cells(
    call: Call,
    limit: Annotated[int | None, typer.Option("--limit", "-l", min=1, help="List at most this many.")] = None,
    marker: Annotated[str | None, typer.Option("--marker", help="List only cells after this one.")] = None,
) -> None:
    """List cells with the load of their hosts, and the partition of the log that their schedulers read."""
    call.table(call.client.get(CELL.path(), limit=limit, marker=marker), CELL)


@app.callback()
def cell() -> None:
    """Parts of the fleet, each with a scheduler of its own."""
