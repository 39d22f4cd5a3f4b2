"""gs config: the settings in force at the service, and where each came from."""

from typing import Annotated

import typer

from cli.gs.call import Call
from cli.gs.columns import bare
from cli.gs.completion import names
from cli.gs.options import command
from cli.gs.output import Format, write
from cli.gs.problems import Missing
from cli.gs.resources import SETTING

app = typer.Typer()


@command(app)
def show(call: Call) -> None:
    """Show every setting, its value and where that came from."""
    call.table(call.client.get(SETTING.path()), SETTING)


@command(app)
def get(
    call: Call,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="SECTION.NAME.", show_default=False, autocompletion=names(SETTING))
    ],
) -> None:
    """Print one setting's value."""
    for setting in call.client.get(SETTING.path()).items(SETTING.plural):
        if setting.get("name") == name:
            if call.options.form is Format.TABLE and not call.options.raw and not call.options.fields:
                write(bare(setting.get("value")) + "\n")
            else:
                call.show(setting)
            return
    raise Missing(f"There is no setting {name}.", "gs config show lists all of them.")
