"""gs event: list, follow and export the events of the log."""

import json
from contextlib import nullcontext
from typing import Annotated, Any

import typer

from cli.gs import dead
from cli.gs.call import Call
from cli.gs.columns import moment, plain
from cli.gs.completion import closed, files, names
from cli.gs.new_file import NewFile
from cli.gs.options import command
from cli.gs.output import Format, escaped_json, one
from cli.gs.parsing import time_of
from cli.gs.resources import EVENT, INSTANCE, TASK, TIME
from cli.gs.standard import add_list, add_show, fields_of, narrowing_options, signed
from cli.terminal import write
from domain.core.paths import pick
from domain.core.text import printable

app = typer.Typer()

add_list(app, EVENT, skip=False)
add_show(app, EVENT)


app.add_typer(dead.app, name="dead", help="Records that could not be read or applied.")


def follow(call: Call, start: str | None, **given: str | None) -> None:
    """Print events as they happen, until stopped, or up to a time."""
    from cli.gs.sse import END
    from cli.gs.sse import follow as stream

    # A time such as 10m is counted from now, not from the time at which a connection breaks.
    times = {name: time_of(text, fixed=True) for name in ("since", "until") if (text := given[name])}
    params = {"from": start, **given, **times, "fields": fields_of(call, EVENT)}
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
    autocompletion=closed("beginning", "now"),
)
signed(follow, [("start", Annotated[str | None, START], None), *narrowing_options(EVENT.narrowings, EVENT)])
command(app)(follow)


def _print(call: Call, data: str) -> None:
    if call.options.raw:
        write(escaped_json(data) + "\n")
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
        return printable("  ".join([*said, json.dumps(data, ensure_ascii=False) if data else ""])).rstrip() + "\n"
    if call.options.form in (Format.JSON, Format.TABLE):
        shown = {field: pick(event, field) for field in call.options.fields} if call.options.fields else event
        return escaped_json(json.dumps(shown, ensure_ascii=False)) + "\n"
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
        str | None,
        typer.Option("--file", metavar="FILE", help="Write to this file instead of printing.", autocompletion=files()),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file, if it exists.")] = False,
) -> None:
    """Export an incident as one file: events, and the history of everything they touched, to be replayed in a test."""
    if sum(each is not None for each in (task, instance, subject)) != 1:
        raise typer.BadParameter("Exactly one of --task, --instance and --subject is needed.")
    last = time_of(until) if until else until
    with NewFile(file, force=force) if file is not None else nullcontext() as opened:
        answer = call.client.get("/events/export", task=task, instance=instance, subject=subject, until=last)
        if opened is None:
            write(escaped_json(answer.text))
            return
        opened.write(answer.text.encode())
    events = answer.items("events")
    touched = len({event["subject"] for event in events})
    call.note(f"{len(events)} events of {touched} aggregates are in {file}.")
