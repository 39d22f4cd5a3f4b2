"""gs port: addresses of networks that are reserved for instances."""

from typing import Annotated, Any

import typer

from cli.gs.call import Call
from cli.gs.completion import names
from cli.gs.options import command
from cli.gs.resources import NETWORK, PORT
from cli.gs.standard import add_delete, add_list, add_show

app = typer.Typer()

add_list(app, PORT)
add_show(app, PORT)


@command(app, writes=True)
def create(
    call: Call,
    network: Annotated[
        str, typer.Option("--network", help="Name or ID of the network.", autocompletion=names(NETWORK))
    ],
    argument: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Name of the port, or --name; optional.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the port.")] = None,
    ip: Annotated[str | None, typer.Option("--ip", help="Address of the port; a free one unless given.")] = None,
) -> None:
    """Create a port, an address of a network."""
    if argument and name and argument != name:
        raise typer.BadParameter(f"Two names were given: {argument} and {name}.")
    body: dict[str, Any] = {"network": call.ident(NETWORK, network)}
    body |= {key: value for key, value in (("name", name or argument), ("ip", ip)) if value is not None}
    call.written(PORT, call.client.write("POST", PORT.path(), body))


add_delete(app, PORT)
