"""gs event: the log itself."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.gs import dead
from cli.gs.call import Call
from cli.gs.columns import moment, plain, printable
from cli.gs.completion import names
from cli.gs.options import command
from cli.gs.output import Format, one, write
from cli.gs.parsing import moment_of
from cli.gs.problems import Usage
from cli.gs.resources import EVENT, INSTANCE, TASK, TIME
from cli.gs.standard import add_list, add_show, narrowing_options, signed

app = typer.Typer()

add_list(app, EVENT, skip=False)
add_show(app, EVENT)


app.add_typer(dead.app, name="dead", help="Records that nobody could read or apply.")


def follow(call: Call, start: str | None, **given: str | None) -> None:
    """Print events as they happen, until stopped, or up to a time."""
    from cli.gs.sse import END
    from cli.gs.sse import follow as stream

    # How long ago is meant from now on, not from when a connection breaks.
    times = {name: moment_of(text) for name in ("since", "until") if (text := given[name])}
    params = {"from": start, **given, **times}
    last = ""
    try:
        for sent in stream(call.client, "/events/stream", params):
            if sent.data and sent.kind != END:
                _print(call, sent.data)
            last = sent.id or last
    finally:
        if last:
            call.note(f"To go on from here: --from {last}")


START = typer.Option(
    "--from", metavar="beginning|now|ID", help="Where to begin: now, unless --since says; the ID is told at the end."
)
signed(follow, [("start", Annotated[str | None, START], None), *narrowing_options(EVENT.narrowings, EVENT)])
command(app)(follow)


def _print(call: Call, data: str) -> None:
    if call.wish.raw:
        write(data + "\n")
        return
    try:
        event = json.loads(data)
    except ValueError:
        event = None
    if isinstance(event, dict):
        write(_line(event, call))


def _line(event: dict[str, Any], call: Call) -> str:
    """One event; in the machine's formats one record each, so that a reader can go on at every line."""
    if call.wish.form is Format.TABLE and not call.wish.fields:
        said = [moment(event.get("time")), *(plain(event.get(field)) for field in ("type", "subject", "actor"))]
        data = event.get("data")
        return "  ".join([*said, printable(json.dumps(data, ensure_ascii=False)) if data else ""]).rstrip() + "\n"
    if call.wish.form in (Format.JSON, Format.TABLE):
        shown = {field: event.get(field) for field in call.wish.fields} if call.wish.fields else event
        return json.dumps(shown, ensure_ascii=False) + "\n"
    text = one(event, call.wish.fields, call.wish.form)
    if call.wish.form is Format.CSV:
        return text.partition("\n")[2]
    return "---\n" + text if call.wish.form is Format.YAML else text.rstrip("\n").replace("\n", "\t") + "\n"


@command(app)
def export(
    call: Call,
    task: Annotated[
        str | None, typer.Option("--task", help="All that this task led to.", autocompletion=names(TASK))
    ] = None,
    instance: Annotated[
        str | None,
        typer.Option("--instance", help="All of this instance (name or ID).", autocompletion=names(INSTANCE)),
    ] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="All of this aggregate: KIND/ID.")] = None,
    until: Annotated[str | None, typer.Option("--until", help=f"Nothing later: {TIME}.")] = None,
    file: Annotated[str | None, typer.Option("--file", metavar="FILE", help="Where to write it, not printed.")] = None,
) -> None:
    """Write an incident as one file: events, and the history of all they touched, to be folded again in a test."""
    if sum(each is not None for each in (task, instance, subject)) != 1:
        raise typer.BadParameter("Exactly one of --task, --instance and --subject is needed.")
    if file is not None and Path(file).exists():
        raise Usage(f"{file} exists already.", "Name another file, or remove it.")
    answer = call.client.get("/events/export", task=task, instance=instance, subject=subject, until=until)
    if file is None:
        write(answer.text)
        return
    try:
        Path(file).write_text(answer.text, encoding="utf-8")
    except OSError as error:
        raise Usage(f"{file} cannot be written: {error.strerror}.") from error
    events = answer.items("events")
    touched = len({event["subject"] for event in events})
    call.note(f"{len(events)} events of {touched} aggregates are in {file}.")
