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
OVERLAP = 1000  # characters; enough that no two places of a log are taken for one another


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
    """What came since. The service shows the log's end, so what was seen last is looked for in it; where it is not
    found, the log was begun anew, or more has come than is shown."""
    last = seen[-OVERLAP:]
    return now[now.rfind(last) + len(last) :] if last and last in now else now


def vnc(call: Call, which: Which) -> None:
    """Show where an instance's screen is; the password is good for once and for a while only."""
    call.show_answer(call.client.write("POST", INSTANCE.path(call.ident(INSTANCE, which), "vnc"), {}))


def safe(text: str) -> str:
    """What a guest writes must not steer the terminal of who reads it; a file gets it as it is."""
    if not sys.stdout.isatty():
        return text
    return "".join(each for each in text.replace("\r\n", "\n") if each.isprintable() or each in "\n\t")
