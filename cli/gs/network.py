"""gs network: networks of instances."""

from typing import Annotated, Any

import typer

from cli.gs.call import Call
from cli.gs.completion import closed
from cli.gs.options import command
from cli.gs.parsing import one_name
from cli.gs.resources import NETWORK
from cli.gs.standard import add_delete, add_list, add_show
from cli.gs.story import add_story
from domain.core.ipv6 import Ipv6Mode

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
    cidr6: Annotated[
        str | None,
        typer.Option("--cidr6", help="IPv6 range of its addresses, a /64, e.g. fd00:1::/64; none unless given."),
    ] = None,
    ipv6_mode: Annotated[
        str | None,
        typer.Option(
            "--ipv6-mode",
            help="How guests learn their IPv6 addresses: slaac or dhcpv6; slaac unless given.",
            autocompletion=closed(*Ipv6Mode),
        ),
    ] = None,
    external: Annotated[
        bool, typer.Option("--external", help="Let its guests reach what is outside of it, through their host.")
    ] = False,
) -> None:
    """Create a network, a range of addresses for instances."""
    body: dict[str, Any] = {"name": one_name(argument, name), "cidr": cidr}
    given = (("description", description), ("cidr6", cidr6), ("ipv6_mode", ipv6_mode))
    body |= {key: value for key, value in given if value is not None}
    if external:
        body["external"] = True
    call.written(NETWORK, call.client.write("POST", NETWORK.path(), body))


add_delete(app, NETWORK)
