"""gs scheduler: filters and weights, how an instance was placed, and simulations of other policies."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.gs.call import Call
from cli.gs.columns import place
from cli.gs.completion import files
from cli.gs.options import command
from cli.gs.output import Format
from cli.gs.parsing import time_of
from cli.gs.policy import read_policy
from cli.gs.problems import Usage
from cli.gs.resources import (
    FILTER,
    FILTERED,
    HOST_SCORE,
    INSTANCE,
    LOAD,
    MOVE,
    PLACED,
    SCORE,
    SIMULATED_HOST,
    TIME,
    WEIGHT,
)
from cli.gs.standard import argument

app = typer.Typer()


@command(app, shows=FILTER)
def filters(call: Call) -> None:
    """List the filters, in the order in which they are applied."""
    call.table(call.client.get("/scheduler"), FILTER)


@command(app, shows=WEIGHT)
def weights(call: Call) -> None:
    """List the criteria by which hosts are ranked, with their weights."""
    call.table(call.client.get("/scheduler"), WEIGHT)


@command(app)
def explain(
    call: Call,
    which: Annotated[str, argument(INSTANCE)],
    every: Annotated[bool, typer.Option("--all", help="Show every host's score in the newest placement.")] = False,
    at: Annotated[
        str | None, typer.Option("--at", metavar="PLACE", help="With --all: position of the placement on the log.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-l", min=1, help="With --all: list at most this many.")
    ] = None,
    marker: Annotated[str | None, typer.Option("--marker", help="With --all: list only what follows this ID.")] = None,
) -> None:
    """Explain how an instance was placed: how many hosts each filter left out, and the best scores."""
    if every:
        _tell_all(call, INSTANCE.path(call.ident(INSTANCE, which), "placements", "scores"), at, limit, marker)
        return
    for flag, given in (("--at", at), ("--limit", limit), ("--marker", marker)):
        if given is not None:
            raise Usage(f"{flag} needs --all.")
    answer = call.client.get(INSTANCE.path(call.ident(INSTANCE, which), "placements"))
    if call.options.raw or call.options.form is not Format.TABLE or call.options.fields:
        call.show_answer(answer)
        return
    placed: list[dict[str, Any]] = answer.items("placements")
    if not placed:
        call.note(f"Instance {which} was never to be placed.")
    for each in placed:
        where = each["host"]["name"] or each["host"]["id"] if each["host"] else "no host"
        call.note(
            f"{each['time'][:19]}Z: {where}, of {each['hosts']} hosts of cell {each['cell']} ({place(each['place'])})"
        )
        call.listing(each["filters"], FILTERED.columns)
        if each["best"]:
            call.listing(each["best"], SCORE.columns)


def _tell_all(call: Call, path: str, at: str | None, limit: int | None, marker: str | None) -> None:
    answer = call.client.get(path, at=at, limit=limit, marker=marker)
    if differs := answer.get("differs"):
        call.note(f"This is not just as it was decided: {differs}.")
    if call.options.form is Format.TABLE and not call.options.raw:
        call.note(f"{str(answer.get('time'))[:19]}Z: {answer.get('hosts')} hosts ({place(answer.get('place'))})")
    call.table(answer, HOST_SCORE)


@command(app)
def simulate(
    call: Call,
    policy: Annotated[
        Path,
        typer.Option(
            "--policy",
            metavar="FILE",
            help="YAML or JSON with filters (a list), weights and ratios (by name); the rest is the present policy.",
            show_default=False,
            autocompletion=files(),
        ),
    ],
    begin: Annotated[
        str,
        typer.Option("--from", metavar="MOMENT", help=f"Beginning of the simulated time: {TIME}.", show_default=False),
    ],
    end: Annotated[
        str | None, typer.Option("--to", metavar="MOMENT", help="End of the simulated time; now unless given.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-l", min=1, help="Simulate at most this many requests.")
    ] = None,
) -> None:
    """Compare placements under another policy with the actual ones. Nothing is changed."""
    times = {"from": time_of(begin), "to": time_of(end) if end else end}
    body = {"policy": read_policy(policy), **times, "limit": limit}
    answer = call.client.write("POST", "/scheduler/simulate", {key: value for key, value in body.items() if value})
    if call.options.raw or call.options.form is not Format.TABLE or call.options.fields:
        call.show_answer(answer)
    else:
        _tell(call, answer.body)
    if following := answer.get("next"):
        call.note(f"There are more requests: --from {following} goes on there, from what really was by then.")


def _tell(call: Call, found: dict[str, Any]) -> None:
    call.note(f"{found['requests']} requests from {found['from'][:19]}Z to {found['to'][:19]}Z: {found['moved']} moved")
    reproduced = found["reproduced"]
    for each in reproduced["why"]:
        call.note(f"{each['count']} are not decided now as they were then: {each['why']}")
    if reproduced["unknown"]:
        call.note(f"{reproduced['unknown']} refusals are left out: an earlier release did not tell what was asked for")
    call.listing([{"fleet": name, **found[name]} for name in ("was", "would")], LOAD.columns)
    for resource, documents, more in (
        (MOVE, found["moves"], found["more_moves"]),
        (SIMULATED_HOST, found["hosts"], found["more_hosts"]),
        (PLACED, [each for each in found["placements"] if each["was"] != each["would"]], 0),
    ):
        if documents:
            call.note("")
            call.listing(documents, resource.columns)
        if more:
            call.note(f"and {more} {resource.plural} more")
