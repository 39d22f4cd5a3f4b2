"""gs: GoStack's command line.

Why groups are loaded only when one is used: a command line is started for every single command, so what it does not
need must cost nothing. The table of groups is all that `gs --help` reads.
"""

import atexit
import gc
import importlib
import importlib.util
from typing import Annotated, Any, cast

import typer
import typer.main
from typer.core import TyperGroup

from cli.gs.groups import GROUPS
from cli.gs.options import command
from cli.gs.synonyms import SynonymGroup
from cli.gs.version import own, version

LATER = {"instance": "verbs"}
"""A second module of a group, imported only for commands that the first has not: the verbs are made from the domain,
whose import takes longer than most requests."""


class LazyGroup(SynonymGroup):
    """A group whose modules are imported when one of their commands is used."""

    def __init__(self, name: str, help: str) -> None:
        super().__init__(name=name, help=help, no_args_is_help=True)
        self._modules = [name, LATER[name]] if name in LATER else [name]

    def _load(self) -> None:
        name = self._modules.pop(0)
        if importlib.util.find_spec(f"cli.gs.{name}") is not None:
            app = importlib.import_module(f"cli.gs.{name}").app
        else:
            app = importlib.import_module("cli.gs.of_kind").app_of(name)
        self.commands.update(cast(TyperGroup, typer.main.get_command(app)).commands)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands, in the order of the modules."""
        while self._modules:
            self._load()
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command with this name or synonym, or None."""
        while (found := super().get_command(ctx, cmd_name)) is None and self._modules:
            self._load()
        return found


class Root(SynonymGroup):
    """The group of all groups of commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, text in GROUPS.items():
            self.add_command(LazyGroup(name, text))

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the groups in alphabetical order."""
        return sorted(self.commands)


app = typer.Typer(
    name="gs",
    cls=Root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 120, "help_option_names": ["--help", "-h"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gs {own()}")
        raise typer.Exit


@app.callback()
def gs(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show this program's version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Run virtual machines on many hosts. GS_API holds the address of the service."""


@app.command("help")
def help_on(
    ctx: typer.Context,
    words: Annotated[list[str] | None, typer.Argument(help="A group, or a group and command.")] = None,
) -> None:
    """Show help on a group or a command."""
    here: Any = ctx.find_root()
    for word in words or ():
        found = here.command.get_command(here, word) if isinstance(here.command, SynonymGroup) else None
        if found is None:
            raise typer.BadParameter(f"There is no command {' '.join(words or ())}.")
        here = type(here)(found, info_name=word, parent=here)
    typer.echo(here.get_help())


command(app)(version)


def main() -> None:
    """Run the program `gs` with the arguments of the process."""
    # Nothing is searched for garbage at the end: that takes longer than printing a list.
    atexit.register(gc.freeze)
    app()


if __name__ == "__main__":
    main()
