"""gs projection: the read models, how far they are behind the log, and runs on all of them."""

from typing import Annotated, Any

import typer

from cli.gs.call import Call
from cli.gs.options import command
from cli.gs.problems import Failed, TimedOut
from cli.gs.resources import PROJECTION, RUN
from cli.gs.standard import argument
from cli.gs.waiting import FIRST_PAUSE, GROWTH, LONGEST_PAUSE

app = typer.Typer()
AFTER = {
    "rebuild": "makes indexes, then exchanges",
    "verify": "compares",
    "rollback": "brings the earlier ones up to date, then exchanges",
}
"""The last phase of each kind of run, after it has processed events; a rollback processes none before."""


@command(app, "list")
def list_all(call: Call) -> None:
    """List projections with their rows and how far they are behind the log."""
    call.table(call.client.get(PROJECTION.path()), PROJECTION)


@command(app, writes=True)
def rebuild(call: Call) -> None:
    """Rebuild all read models from the log, beside those in use, and then exchange them."""
    _do(call, "rebuild")


@command(app, writes=True)
def rollback(call: Call) -> None:
    """Use the read models from before the last rebuild again, after bringing them up to date."""
    _do(call, "rollback")


@command(app, writes=True)
def verify(call: Call) -> None:
    """Compare the read models with a rebuild from the log; the exit status is 0 only if nothing differs."""
    _do(call, "verify")


@command(app, shows=RUN)
def runs(
    call: Call,
    limit: Annotated[int | None, typer.Option("--limit", "-l", min=1, help="List at most this many.")] = None,
    marker: Annotated[str | None, typer.Option("--marker", help="List only runs after this ID.")] = None,
) -> None:
    """List runs: rebuilds, rollbacks and comparisons."""
    call.table(call.client.get(RUN.path(), limit=limit, marker=marker), RUN)


@command(app, shows=RUN)
def show(call: Call, run: Annotated[str, argument(RUN)]) -> None:
    """Show a run with its progress and its findings."""
    call.show_answer(call.client.get(RUN.path(run)))


def _do(call: Call, kind: str) -> None:
    answer = call.client.write("POST", RUN.path(), {"kind": kind})
    if not call.options.wait:
        call.show_answer(answer)
        return
    ident = str(answer.get("id"))
    try:
        run = _ended(call, ident)
    except TimedOut as stop:
        raise TimedOut(str(stop), f"It goes on: gs projection show {ident}") from stop
    call.show(run)
    if run["error"]:
        call.note(f"Error: {kind} failed: {run['error']}")
    if run["status"] != "finished" or run["problems"]:
        raise Failed


def _ended(call: Call, ident: str) -> dict[str, Any]:
    pause, told = FIRST_PAUSE, ""
    while True:
        run = dict(call.client.get(RUN.path(ident)).body)
        if run["status"] not in ("asked", "running"):
            return run
        line = _progress(run)
        if line != told:
            told = line
            call.note(line)
        call.client.pause(pause)
        pause = min(pause * GROWTH, LONGEST_PAUSE)


def _progress(run: dict[str, Any]) -> str:
    kind, status, done, total = (run[name] for name in ("kind", "status", "done", "total"))
    if done < total:
        left = f", {run['seconds_left']:.0f} s to go" if run.get("seconds_left") is not None else ""
        return f"{kind}: {done} of {total} events{left}"
    taken = f"{done} of {total} events; " if total else ""
    under_way = status == "running" and (total or kind == "rollback")
    return f"{kind}: {taken}{AFTER.get(kind, status) if under_way else status}"
