"""gs instance log and vnc: the console and the display of a guest."""

from typing import Annotated

import typer

from cli.gs.call import Call
from cli.gs.options import command
from cli.gs.resources import INSTANCE
from cli.gs.standard import argument
from cli.terminal import Verbatim, on_terminal, write

Which = Annotated[str, argument(INSTANCE)]
FOLLOW_PAUSE = 1.0  # seconds
OVERLAP = 1000  # characters; enough to identify a position in a log


def add(app: typer.Typer) -> None:
    """Add the commands `log` and `vnc` to a group."""
    command(app)(log)
    command(app)(vnc)


def log(
    call: Call,
    which: Which,
    length: Annotated[int | None, typer.Option("--length", min=1, help="Print only this many last lines.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on printing new output, until interrupted.")] = False,
) -> None:
    """Print the console log of an instance's guest."""
    path = INSTANCE.path(call.ident(INSTANCE, which), "console-log")
    seen = call.client.get(path, lines=length).text
    write(safe(seen))
    if not follow and seen and not seen.endswith("\n"):
        write("\n")
    while follow:
        call.client.pause(FOLLOW_PAUSE)
        now = call.client.get(path).text
        write(safe(new(seen, now)))
        seen = now


def new(seen: str, now: str) -> str:
    """Return the output that is new since the last read. The service shows the end of the log, which is searched for
    the text that was seen last; if that is not found, the log was begun anew or more has come than is shown."""
    last = seen[-OVERLAP:]
    return now[now.rfind(last) + len(last) :] if last and last in now else now


def vnc(call: Call, which: Which) -> None:
    """Show the address of an instance's display, with a password that is valid once and for a limited time."""
    call.show_answer(call.client.write("POST", INSTANCE.path(call.ident(INSTANCE, which), "vnc"), {}))


def safe(text: str) -> str:
    """Return a guest's output without control characters, which could control the terminal; unchanged for a file, which
    is to have what the guest wrote."""
    if not on_terminal():
        return Verbatim(text)
    return "".join(each for each in text.replace("\r\n", "\n") if each.isprintable() or each in "\n\t")
