"""The options that every command takes, attached in one place.

Why a decorator that rewrites the signature: a command's function names its own options only, and a new common option
is one line here. What Typer needs to know it reads from the signature.
"""

import inspect
import re
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from cli.gs.completion import fields as completed_fields
from cli.gs.output import Format
from cli.gs.resources import Resource

PANEL = "Common options"
NEW_SWITCH = re.compile(r"(--[\w-]+)=(.*)")
YES, NO = frozenset({"true", "t", "1", "yes"}), frozenset({"false", "f", "0", "no"})


def _common(writes: bool, shows: Resource | None) -> dict[str, tuple[Any, Any]]:
    """Return the annotation and the default of each common option."""

    def option(*names: str, help: str, **more: Any) -> Any:
        return typer.Option(*names, help=help, rich_help_panel=PANEL, **more)

    by_field = {"metavar": "FIELDS", "autocompletion": completed_fields(shows)}

    return {
        "debug": (Annotated[bool, option("--debug", help="Show the HTTP exchange, without secrets.")], False),
        "raw": (Annotated[bool, option("--json", help="Print the raw JSON answer.")], False),
        "form": (Annotated[Format, option("--output", "-o", help="Format of the answer.")], Format.TABLE),
        "fields": (
            Annotated[str, option("--fields", "-f", help="Show only these fields: a,b.", **by_field)],
            "",
        ),
        "wait": (
            Annotated[
                bool,
                # A script may pass it to any command; where nothing is waited for, help does not speak of it.
                option("--wait/--no-wait", help="Wait until the command is done.", hidden=not writes),
            ],
            True,
        ),
        "timeout": (
            Annotated[float | None, option("--timeout", help="Seconds after which gs stops with status 124.")],
            None,
        ),
    }


class GsCommand(TyperCommand):
    """A command whose switches may also be written with a value: `--config-drive=false`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, after switches with a value were put into the form that the parser knows."""
        switches = {
            name: each
            for each in self.params
            if isinstance(each, TyperOption) and each.is_flag and not each.count
            for name in each.opts
        }
        return super().parse_args(ctx, list(_switches_spelled_out(args, switches)))


def _switches_spelled_out(args: list[str], switches: dict[str, TyperOption]) -> list[str]:
    spelled: list[str] = []
    for index, arg in enumerate(args):
        if arg == "--":
            return spelled + args[index:]
        match = NEW_SWITCH.fullmatch(arg)
        option = switches.get(match.group(1)) if match else None
        if match is None or option is None or match.group(2).lower() not in YES | NO:
            spelled.append(arg)
        elif match.group(2).lower() in YES:
            spelled.append(match.group(1))
        elif option.secondary_opts:
            spelled.append(option.secondary_opts[0])
    return spelled


def command(
    app: typer.Typer,
    name: str | None = None,
    *,
    writes: bool = False,
    help: str | None = None,
    shows: Resource | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds a function, whose first parameter is the Call, as a command to a group.

    `shows` is the kind of resource that the command shows, if it is not that of its group.
    """

    def attach(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        common = _common(writes, shows)

        def run(ctx: typer.Context, **given: Any) -> None:
            _run(function, ctx, {each: given.pop(each) for each in common} | {"writes": writes}, given)

        kind = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
            *(each.replace(kind=kind) for each in own),
            *(
                inspect.Parameter(each, kind, default=default, annotation=annotation)
                for each, (annotation, default) in common.items()
            ),
        ]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        text = help or inspect.getdoc(function) or ""
        app.command(name or function.__name__.replace("_", "-"), cls=GsCommand, help=text)(run)
        return function

    return attach


def _run(function: Callable[..., None], ctx: typer.Context, common: dict[str, Any], given: dict[str, Any]) -> None:
    """Run a command, and turn its error into a line and an exit status."""
    from cli.gs.call import Call, CommandOptions, report
    from cli.gs.problems import GsError

    fields = tuple(filter(None, (each.strip() for each in common.pop("fields").split(","))))
    options = CommandOptions(fields=fields, **common)
    chosen = ctx.get_parameter_source("form")
    if options.raw and chosen is not None and chosen.name == "COMMANDLINE" and options.form is not Format.JSON:
        raise typer.BadParameter(f"--json and -o {options.form} contradict one another: choose one of them.")

    began = time.monotonic()

    def connected() -> Any:
        from cli.gs.client import Deadline, connect

        return connect(Deadline(options.timeout, began=began), debug=options.debug, transport=ctx.obj)

    call = Call(options, connected)
    try:
        function(call, **given)
    except GsError as problem:
        call.tell_secrets()
        report(problem)
        raise typer.Exit(problem.exit_status) from problem
    except KeyboardInterrupt as stop:
        raise typer.Exit(130) from stop
    finally:
        call.tell_secrets()
        call.close()
