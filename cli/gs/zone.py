"""gs zone: groups of hosts that may fail together."""

from typing import Annotated, Any

import typer

from cli.gs.call import Call
from cli.gs.completion import names
from cli.gs.options import command
from cli.gs.parsing import one_name
from cli.gs.resources import CELL, HOST, ZONE
from cli.gs.standard import add_delete, add_list, add_show, argument
from cli.gs.story import add_story

app = typer.Typer()
Which = Annotated[str, argument(ZONE)]
Host = Annotated[str, argument(HOST)]

add_list(app, ZONE)
add_show(app, ZONE, past=True)
add_story(app, ZONE)


@command(app, writes=True)
def create(
    call: Call,
    argument: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the zone, or --name.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the zone.")] = None,
    cell: Annotated[
        str | None,
        typer.Option(
            "--cell", help="Cell whose hosts the zone groups; default unless given.", autocompletion=names(CELL)
        ),
    ] = None,
    description: Annotated[str | None, typer.Option("--description", help="Description of the zone.")] = None,
) -> None:
    """Create a zone, a group of hosts."""
    body: dict[str, Any] = {"name": one_name(argument, name)}
    body |= {key: given for key, given in {"cell": cell, "description": description}.items() if given is not None}
    call.written(ZONE, call.client.write("POST", ZONE.path(), body))


add_delete(app, ZONE)


@command(app, writes=True, shows=HOST)
def add_host(call: Call, which: Which, host: Host) -> None:
    """Put a host into a zone; the host leaves the zone it was in."""
    ident, member = call.ident(ZONE, which), call.ident(HOST, host)
    call.written(HOST, call.client.write("POST", ZONE.path(ident, "hosts"), {"host": member}), member)


@command(app, writes=True, shows=HOST)
def remove_host(call: Call, which: Which, host: Host) -> None:
    """Take a host out of a zone."""
    ident, member = call.ident(ZONE, which), call.ident(HOST, host)
    call.written(HOST, call.client.write("DELETE", ZONE.path(ident, "hosts", member)), member)
