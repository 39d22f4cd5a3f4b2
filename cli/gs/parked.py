"""gs parked: resources that take no commands until they are released (gs instance release and the like)."""

import typer

from cli.gs.resources import PARKED
from cli.gs.standard import add_list

app = typer.Typer()

add_list(app, PARKED, skip=False)


@app.callback()
def parked() -> None:
    """Resources that take no commands until they are released."""
