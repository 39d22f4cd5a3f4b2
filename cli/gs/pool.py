"""gs pool: what is special about it, draining one."""

from typing import Annotated

import typer

from cli.gs.call import Call
from cli.gs.of_kind import resource_of
from cli.gs.options import command
from cli.gs.resources import KINDS
from cli.gs.standard import argument
from domain.pool import KIND

app = typer.Typer()
POOL = KINDS.setdefault(KIND.name, resource_of(KIND))


@command(app, writes=True)
def drain(
    call: Call,
    which: Annotated[str, argument(POOL)],
    off: Annotated[bool, typer.Option("--off", help="Take new volumes again.")] = False,
) -> None:
    """Have a pool take nothing new; what is in it stays."""
    ident = call.ident(POOL, which)
    call.written(POOL, call.client.write("POST", POOL.path(ident, "drain"), {"off": off}), ident)
