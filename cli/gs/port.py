"""gs port: addresses of a network, made before the instance that is to have them."""

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
        str, typer.Option("--network", help="Name or ID of its network.", autocompletion=names(NETWORK))
    ],
    argument: Annotated[str | None, typer.Argument(metavar="NAME", help="Its name, or --name; it needs none.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Its name.")] = None,
    ip: Annotated[str | None, typer.Option("--ip", help="Its address; without, a free one is taken.")] = None,
) -> None:
    """Create a port."""
    if argument and name and argument != name:
        raise typer.BadParameter(f"Two names were given: {argument} and {name}.")
    body: dict[str, Any] = {"network": call.ident(NETWORK, network)}
    body |= {key: value for key, value in (("name", name or argument), ("ip", ip)) if value is not None}
    call.written(PORT, call.client.write("POST", PORT.path(), body))


add_delete(app, PORT)
