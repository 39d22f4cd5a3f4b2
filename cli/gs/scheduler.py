"""gs scheduler: what it filters and weighs by, and how it placed an instance."""

from typing import Annotated, Any

import typer

from cli.gs.call import Call
from cli.gs.options import command
from cli.gs.output import Format
from cli.gs.resources import FILTER, FILTERED, INSTANCE, SCORE, WEIGHT
from cli.gs.standard import argument

app = typer.Typer()


@command(app)
def filters(call: Call) -> None:
    """List the filters, in the order in which they are applied."""
    call.table(call.client.get("/scheduler"), FILTER)


@command(app)
def weights(call: Call) -> None:
    """List what hosts are weighed by, and how much each counts."""
    call.table(call.client.get("/scheduler"), WEIGHT)


@command(app)
def explain(call: Call, which: Annotated[str, argument(INSTANCE)]) -> None:
    """Tell how an instance was placed: what each filter left out, and the best scores."""
    answer = call.client.get(INSTANCE.path(call.ident(INSTANCE, which), "placements"))
    if call.wish.raw or call.wish.form is not Format.TABLE or call.wish.fields:
        call.show_answer(answer)
        return
    placed: list[dict[str, Any]] = answer.items("placements")
    if not placed:
        call.note(f"Instance {which} was never to be placed.")
    for each in placed:
        where = each["host"]["name"] or each["host"]["id"] if each["host"] else "no host"
        call.note(f"{each['time'][:19]}Z: {where}, of {each['hosts']} hosts")
        call.listing(each["filters"], FILTERED.columns)
        if each["best"]:
            call.listing(each["best"], SCORE.columns)
