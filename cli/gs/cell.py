"""gs cell: parts of the fleet that are scheduled apart."""

from typing import Annotated

import typer

from cli.gs.call import Call
from cli.gs.options import command
from cli.gs.resources import CELL

app = typer.Typer()


@command(app, name="list")
def list_cells(
    call: Call,
    limit: Annotated[int | None, typer.Option("--limit", "-l", min=1, help="At most so many.")] = None,
    marker: Annotated[str | None, typer.Option("--marker", help="Only what follows this cell.")] = None,
) -> None:
    """List cells with their hosts, how full these are, and the partition of the log that their schedulers read."""
    call.table(call.client.get(CELL.path(), limit=limit, marker=marker), CELL)


@app.callback()
def cell() -> None:
    """Parts of the fleet that are scheduled apart."""
