"""gs floating-ip: what is special about it, taking an address and having it lead to a guest."""

from typing import Annotated

import typer

from cli.gs.call import Call
from cli.gs.completion import names
from cli.gs.of_kind import resource_of
from cli.gs.options import command
from cli.gs.resources import INSTANCE, KINDS, PORT
from cli.gs.standard import argument
from domain.floating_ip import KIND

app = typer.Typer()
FLOATING_IP = KINDS.setdefault(KIND.name, resource_of(KIND))
Which = Annotated[str, argument(FLOATING_IP)]


@command(app, writes=True)
def create(
    call: Call,
    address: Annotated[
        str | None, typer.Argument(metavar="ADDRESS", help="The address; a free one unless given.")
    ] = None,
) -> None:
    """Take an address of the outside, which nobody else gets until it is deleted."""
    body = {} if address is None else {"address": address}
    call.written(FLOATING_IP, call.client.write("POST", FLOATING_IP.path(), body))


@command(app, writes=True)
def associate(
    call: Call,
    which: Which,
    which_instance: Annotated[
        str | None,
        typer.Argument(
            metavar="INSTANCE",
            help="The instance, whose first port on a network with a way out it is; or --port.",
            autocompletion=names(INSTANCE),
        ),
    ] = None,
    port: Annotated[
        str | None, typer.Option("--port", help="The port (name or ID).", autocompletion=names(PORT))
    ] = None,
) -> None:
    """Have a floating address lead to a guest, which is reached there within seconds where its groups permit it."""
    if (which_instance is None) == (port is None):
        raise typer.BadParameter("Either an instance or --port is needed.")
    body = {"port": call.ident(PORT, port)} if port else {"instance": call.ident(INSTANCE, which_instance or "")}
    ident = call.ident(FLOATING_IP, which)
    call.written(FLOATING_IP, call.client.write("POST", FLOATING_IP.path(ident, "associate"), body), ident)


@command(app, writes=True)
def disassociate(call: Call, which: Which) -> None:
    """Have a floating address lead to no guest; connections by it end."""
    ident = call.ident(FLOATING_IP, which)
    call.written(FLOATING_IP, call.client.write("POST", FLOATING_IP.path(ident, "disassociate"), {}), ident)
