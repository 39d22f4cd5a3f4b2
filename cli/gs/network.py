"""gs network: networks of instances."""

from typing import Annotated, Any

import typer

from cli.gs.call import Call
from cli.gs.options import command
from cli.gs.parsing import one_name
from cli.gs.resources import NETWORK
from cli.gs.standard import add_delete, add_list, add_show
from cli.gs.story import add_story

app = typer.Typer()

add_list(app, NETWORK)
add_show(app, NETWORK, past=True)
add_story(app, NETWORK)


@command(app, writes=True)
def create(
    call: Call,
    cidr: Annotated[str, typer.Option("--cidr", help="Range of its addresses, e.g. 10.1.0.0/24.")],
    argument: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the network, or --name.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the network.")] = None,
    description: Annotated[str | None, typer.Option("--description", help="Description of the network.")] = None,
    external: Annotated[
        bool, typer.Option("--external", help="Let its guests reach what is outside of it, through their host.")
    ] = False,
) -> None:
    """Create a network, a range of addresses for instances."""
    body: dict[str, Any] = {"name": one_name(argument, name), "cidr": cidr}
    if description is not None:
        body["description"] = description
    if external:
        body["external"] = True
    call.written(NETWORK, call.client.write("POST", NETWORK.path(), body))


add_delete(app, NETWORK)
