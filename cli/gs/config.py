"""gs config: the settings in force at the service, and the source of each."""

from typing import Annotated

import typer

from cli.gs.call import Call
from cli.gs.columns import bare
from cli.gs.completion import names
from cli.gs.options import command
from cli.gs.output import Format
from cli.gs.problems import Missing
from cli.gs.resources import SETTING
from cli.terminal import write

app = typer.Typer()


@command(app)
def show(call: Call) -> None:
    """Show every setting with its value and the source of it."""
    call.table(call.client.get(SETTING.path()), SETTING)


@command(app)
def get(
    call: Call,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Name of the setting: SECTION.NAME.", show_default=False, autocompletion=names(SETTING)
        ),
    ],
) -> None:
    """Print the value of a setting."""
    for setting in call.client.get(SETTING.path()).items(SETTING.plural):
        if setting.get("name") == name:
            if call.options.form is Format.TABLE and not call.options.raw and not call.options.fields:
                write(bare(setting.get("value")) + "\n")
            else:
                call.show(setting)
            return
    raise Missing(f"There is no setting {name}.", "gs config show lists all of them.")
