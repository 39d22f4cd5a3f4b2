"""gs: GoStack's command line.

Why groups are loaded only when one is used: a command line is started for every single command, so what it does not
need must cost nothing. The table of groups is all that `gs --help` reads.
"""

import atexit
import gc
import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Annotated, Any

import typer
import typer.main
from typer.exceptions import TyperException

from cli.gs.groups import GROUPS, OTHERS
from cli.gs.options import command
from cli.gs.synonyms import SynonymGroup
from cli.gs.version import own, version
from cli.terminal import UNREAD, OutputLost, echo, silence
from domain.core.text import printable

LATER = {"instance": "verbs"}
"""A second module of a group, imported only for commands that the first has not: the verbs are made from the domain,
whose import takes longer than most requests."""
OF_ROW = "of_kind"
"""The module that makes a group's commands from the kind's row: for what the group's own modules have not."""


@cache
def _commands(module: str, group: str) -> Mapping[str, Any]:
    """Return the commands that a module has for a group, by name. They are made once a process, since Typer reads every
    signature for them."""
    found = importlib.import_module(f"cli.gs.{module}")
    app = found.app if hasattr(found, "app") else found.app_of(group)
    return typer.main.get_group(app).commands


class LazyGroup(SynonymGroup):
    """A group whose modules are imported when one of their commands is used."""

    def __init__(self, name: str, help: str) -> None:
        super().__init__(name=name, help=help, no_args_is_help=True)
        module = name.replace("-", "_")
        own = [module] if importlib.util.find_spec(f"cli.gs.{module}") is not None else []
        self._modules = [*own, LATER.get(name, OF_ROW)] if name not in OTHERS else own

    def _load(self) -> None:
        found = _commands(self._modules.pop(0), str(self.name))
        self.commands.update({name: each for name, each in found.items() if name not in self.commands})

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
        self._debug = False
        for name, text in GROUPS.items():
            self.add_command(LazyGroup(name, text))

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the groups in alphabetical order."""
        return sorted(self.commands)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the options before the group's name; a mistake in them ends the program as any other does."""
        self._debug = "--debug" in args
        with _in_a_line(self._debug):
            for arg in args:
                if not _is_unicode(arg):
                    raise typer.BadParameter(f"{arg} is not UTF-8.")
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run the command. However it ends, the user sees a line at most, and the exit status says the rest."""
        with _in_a_line(self._debug):
            return super().invoke(ctx)


def _is_unicode(text: str) -> bool:
    """Return whether a text of the command line was UTF-8; what was not is in it as surrogates."""
    return not any("\ud800" <= each <= "\udfff" for each in text)


@contextmanager
def _in_a_line(debug: bool) -> Iterator[None]:
    """Turn whatever is raised into a line for the user and an exit status."""
    try:
        yield
    except (typer.Exit, typer.Abort, EOFError):
        raise
    except TyperException as wrong:
        # It repeats what stood on the command line, which a script may have from anywhere.
        wrong.message = printable(wrong.message, keep="\n\t")
        raise
    except BrokenPipeError as gone:
        silence()
        raise typer.Exit(UNREAD) from gone
    except SystemExit as ended:
        # How rich ends a program whose output is not read any more.
        if isinstance(ended.__context__, BrokenPipeError):
            raise typer.Exit(UNREAD) from ended
        raise
    except OutputLost as lost:
        echo(f"Error: The answer cannot be printed: {lost}.", err=True)
        silence()
        raise typer.Exit(1) from lost
    except Exception as error:
        from cli.failures import failed

        raise typer.Exit(failed("gs", error, debug=debug)) from error


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
