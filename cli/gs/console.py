"""gs instance log and vnc: what a guest shows."""

import sys
from typing import Annotated

import typer

from cli.gs.call import Call
from cli.gs.options import command
from cli.gs.output import write
from cli.gs.resources import INSTANCE
from cli.gs.standard import argument

Which = Annotated[str, argument(INSTANCE)]
FOLLOW_PAUSE = 1.0  # seconds


def add(app: typer.Typer) -> None:
    """Make them commands of this group."""
    command(app)(log)
    command(app)(vnc)


def log(
    call: Call,
    which: Which,
    length: Annotated[int | None, typer.Option("--length", min=1, help="Only so many last lines.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on printing what comes, until stopped.")] = False,
) -> None:
    """Print the guest's console log."""
    path = INSTANCE.path(call.ident(INSTANCE, which), "console-log")
    seen = call.client.get(path).text
    shown = seen if length is None else "".join(seen.splitlines(keepends=True)[-length:])
    write(safe(shown))
    if not follow and shown and not shown.endswith("\n"):
        write("\n")
    while follow:
        call.client.pause(FOLLOW_PAUSE)
        now = call.client.get(path).text
        # A log that does not begin as before was begun anew: its guest was defined again.
        write(safe(now.removeprefix(seen)))
        seen = now


def vnc(call: Call, which: Which) -> None:
    """Show where an instance's screen is; the password is good for once and for a while only."""
    call.show_answer(call.client.write("POST", INSTANCE.path(call.ident(INSTANCE, which), "vnc"), {}))


def safe(text: str) -> str:
    """What a guest writes must not steer the terminal of who reads it; a file gets it as it is."""
    if not sys.stdout.isatty():
        return text
    return "".join(each for each in text.replace("\r\n", "\n") if each.isprintable() or each in "\n\t")
