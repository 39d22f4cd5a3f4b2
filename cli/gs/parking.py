"""release: makes a parked resource take commands again; the same for every kind that can be parked."""

from typing import Annotated

import typer

from cli.gs.call import Call
from cli.gs.options import command
from cli.gs.resources import Resource
from cli.gs.standard import argument, article


def add_release(app: typer.Typer, resource: Resource) -> None:
    """Add the command `release` to a group."""

    def run(
        call: Call,
        which: Annotated[str, argument(resource)],
    ) -> None:
        answer = call.client.write("POST", f"/parked/{resource.noun}/{call.ident(resource, which)}/release")
        if answer.get("released") is False:
            call.note(f"{resource.noun} {which} was not parked.")
        call.show_answer(answer)

    help_text = f"Let {article(resource.noun)} that is parked take commands again."
    command(app, "release", writes=True, help=help_text)(run)
