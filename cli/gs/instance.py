"""gs instance: virtual machines and their lifecycle."""

from typing import Annotated, Any

import typer

from cli.gs import boot, clone, console, interfaces, localdisk
from cli.gs.call import Call
from cli.gs.columns import Column
from cli.gs.options import command
from cli.gs.parking import add_release
from cli.gs.parsing import pairs
from cli.gs.problems import Missing
from cli.gs.resources import INNER_STATUS, INSTANCE, MIGRATION, Narrowing
from cli.gs.standard import add_diff, add_history, add_list, add_show, argument
from cli.gs.why import add_why

app = typer.Typer()
Which = Annotated[str, argument(INSTANCE)]

INNER = Narrowing("--inner-status", "Show the three values that make up the status.", switch=True)


def _inner(own: dict[str, Any]) -> tuple[Column, ...]:
    return INNER_STATUS if own[INNER.name] else ()


boot.add(app)
clone.add(app)
add_list(app, INSTANCE, switches=(INNER,), choose=_inner)
add_show(app, INSTANCE, past=True)


@command(app)
def show_deleted(call: Call, which: Annotated[str, argument(INSTANCE, {"deleted": "true"})]) -> None:
    """Show an instance that was deleted, softly or for good."""
    from domain.instance.state import VmState

    answer = call.client.get(INSTANCE.path(call.ident(INSTANCE, which, deleted="true")))
    if answer.get("vm_state") not in (VmState.DELETED, VmState.SOFT_DELETED):
        raise Missing(f"Instance {which} is not deleted.", "gs instance show shows it.")
    call.show_answer(answer)


add_release(app, INSTANCE)


@command(app, writes=True)
def update(
    call: Call,
    which: Which,
    name: Annotated[str | None, typer.Option("--name", help="New name of the instance.")] = None,
    description: Annotated[str | None, typer.Option("--description", help="New description of the instance.")] = None,
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", metavar="K=V,…", help="New metadata, which replaces all entries.")
    ] = None,
) -> None:
    """Change an instance's name, description or metadata."""
    body: dict[str, Any] = {
        key: value for key, value in (("name", name), ("description", description)) if value is not None
    }
    if metadata is not None:
        body["metadata"] = pairs(metadata)
    if not body:
        raise typer.BadParameter("Nothing is to be changed.")
    ident = call.ident(INSTANCE, which)
    call.written(INSTANCE, call.client.write("PATCH", INSTANCE.path(ident), body), ident)


interfaces.add(app)
add_list(app, MIGRATION, name="migration-list")
console.add(app)
localdisk.add(app)
add_history(app, INSTANCE)
add_diff(app, INSTANCE)
add_why(app, INSTANCE)
