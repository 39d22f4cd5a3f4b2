"""gs host: machines that run instances. They register themselves; operators enable and disable them."""

from typing import Annotated

import typer

from cli.gs.call import Call
from cli.gs.options import command
from cli.gs.resources import HOST
from cli.gs.standard import add_list, add_show, argument
from cli.gs.story import add_story

app = typer.Typer()
Which = Annotated[str, argument(HOST)]
Reason = Annotated[str | None, typer.Option("--reason", help="Reason, recorded with the change.")]

add_list(app, HOST)
add_show(app, HOST, past=True)
add_story(app, HOST)


@command(app, writes=True)
def enable(call: Call, which: Which, reason: Reason = None) -> None:
    """Let new instances be placed on a host."""
    _act(call, which, "enable", reason)


@command(app, writes=True)
def disable(call: Call, which: Which, reason: Reason = None) -> None:
    """Place no new instances on a host; those on it stay."""
    _act(call, which, "disable", reason)


def _act(call: Call, which: str, verb: str, reason: str | None) -> None:
    ident = call.ident(HOST, which)
    body = {"reason": reason} if reason is not None else {}
    call.written(HOST, call.client.write("POST", HOST.path(ident, "actions", verb), body), ident)
