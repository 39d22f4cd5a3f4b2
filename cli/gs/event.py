"""gs event: list, follow and export the events of the log."""

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


app.add_typer(dead.app, name="dead", help="Records that could not be read or applied.")


def follow(call: Call, start: str | None, **given: str | None) -> None:
    """Print events as they happen, until stopped, or up to a time."""
    from cli.gs.sse import END
    from cli.gs.sse import follow as stream

    # A time such as 10m is counted from now, not from the time at which a connection breaks.
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
            call.note(f"To continue from here: --from {last}")


START = typer.Option(
    "--from",
    metavar="beginning|now|ID",
    help="Where to begin: now, unless --since is given; the ID for the next run is printed at the end.",
)
signed(follow, [("start", Annotated[str | None, START], None), *narrowing_options(EVENT.narrowings, EVENT)])
command(app)(follow)


def _print(call: Call, data: str) -> None:
    if call.options.raw:
        write(data + "\n")
        return
    try:
        event = json.loads(data)
    except ValueError:
        event = None
    if isinstance(event, dict):
        write(_line(event, call))


def _line(event: dict[str, Any], call: Call) -> str:
    """Return an event as text; in formats for programs it is one record, which can be read alone."""
    if call.options.form is Format.TABLE and not call.options.fields:
        said = [moment(event.get("time")), *(plain(event.get(field)) for field in ("type", "subject", "actor"))]
        data = event.get("data")
        return "  ".join([*said, printable(json.dumps(data, ensure_ascii=False)) if data else ""]).rstrip() + "\n"
    if call.options.form in (Format.JSON, Format.TABLE):
        shown = {field: event.get(field) for field in call.options.fields} if call.options.fields else event
        return json.dumps(shown, ensure_ascii=False) + "\n"
    text = one(event, call.options.fields, call.options.form)
    if call.options.form is Format.CSV:
        return text.partition("\n")[2]
    return "---\n" + text if call.options.form is Format.YAML else text.rstrip("\n").replace("\n", "\t") + "\n"


@command(app)
def export(
    call: Call,
    task: Annotated[
        str | None, typer.Option("--task", help="All events that this task led to.", autocompletion=names(TASK))
    ] = None,
    instance: Annotated[
        str | None,
        typer.Option("--instance", help="All events of this instance (name or ID).", autocompletion=names(INSTANCE)),
    ] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="All events of this aggregate: KIND/ID.")] = None,
    until: Annotated[str | None, typer.Option("--until", help=f"Leave out later events: {TIME}.")] = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="FILE", help="Write to this file instead of printing.")
    ] = None,
) -> None:
    """Export an incident as one file: events, and the history of everything they touched, to be replayed in a test."""
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
