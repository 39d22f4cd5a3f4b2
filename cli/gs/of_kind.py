"""The commands of a kind of aggregate that needs no module of its own, made from its row.

Why generated: a new kind is a row, and its commands follow.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from cli.gs.call import Call, Outcomes
from cli.gs.columns import Column
from cli.gs.field_options import parameter_of, sent
from cli.gs.options import command
from cli.gs.parsing import one_name, range_of
from cli.gs.problems import Failed, GsError
from cli.gs.resources import AGE, BY_NAME, BY_PROJECT, ID, KINDS, NAME, Narrowing, Resource
from cli.gs.standard import add_list, add_show, argument, article
from cli.gs.story import add_story
from domain.aggregates import AGGREGATES
from domain.core.fields import user_fields
from domain.core.messages import Command
from domain.kind import Kind, ListFilter

Send = Callable[[str], Any]
"""A function that sends a request for the resource with this id, and returns the service's answer."""


def resource_of(kind: Kind) -> Resource:
    """Make the row of a kind's group: its columns and the options of its list."""
    status = (Column("status"),) if kind.with_tasks else ()
    projects = (BY_PROJECT,) if kind.of_projects else ()
    shown = tuple(Column(field) for field in kind.shown)
    narrowings = (BY_NAME, *map(_narrowing, kind.filters), *projects)
    columns = (ID, NAME, *status, *shown, AGE)
    return Resource(kind.name, kind.plural, columns, narrowings=narrowings, deletable=True)


def _narrowing(each: ListFilter) -> Narrowing:
    flag = f"--{each.field.replace('_', '-')}"
    return Narrowing(
        flag,
        f"Only {each.help}.",
        each.field,
        of=f"{each.refers}.name" if each.by_name else each.refers,
        known=(lambda: each.values) if each.values else None,
        several=each.several,
        read=range_of if each.form == "range" else None,
    )


def app_of(name: str) -> typer.Typer:
    """Return the group of commands of a kind. Raises KeyError."""
    kind = AGGREGATES[name]
    resource = KINDS.setdefault(name, resource_of(kind))
    app = typer.Typer()
    add_list(app, resource)
    add_show(app, resource, past=True)
    add_story(app, resource)
    if kind.create is not None:
        _add_create(app, resource, kind.create)
    if kind.update is not None:
        _add_update(app, resource, kind.update)
    others = {action.name: action.command for action in kind.actions.values() if action.begins}
    if kind.delete is not None:
        help_text = _help(kind.delete)
        others.pop("delete", None)
        _add_act(app, resource, "delete", help_text, {}, lambda call, ident, body: _delete(call, resource, ident))
    for verb, each in others.items():
        _add_act(app, resource, verb, _help(each), user_fields(each), _verb(resource, verb))
    return app


def _add_create(app: typer.Typer, resource: Resource, wanted: type[Command]) -> None:
    fields = user_fields(wanted)

    def run(call: Call, argument: str | None, **given: Any) -> None:
        body = sent(fields, given)
        if "name" in fields:
            body["name"] = one_name(argument, body.pop("name", None))
        answer = call.client.write("POST", resource.path(), body)
        said = _decided(call, answer)
        if said.get("task_id"):
            ident = str(said["id"])
            _shown(call, resource, {ident: said}, {ident: str(body.get("name", ident))})
        else:
            call.written(resource, answer)

    own = typer.Argument(metavar="NAME", help="Its name, or --name.")
    parameters = [_parameter("argument", Annotated[str | None, own], None)]
    for name, field in fields.items():
        parameters.append(parameter_of(name, field, needed=field.is_required() and name != "name"))
    _attach(app, run, "create", f"Create {article(resource.noun)}.", parameters)


def _add_update(app: typer.Typer, resource: Resource, wanted: type[Command]) -> None:
    fields = user_fields(wanted)

    def run(call: Call, which: str, **given: Any) -> None:
        body = sent(fields, given)
        if not body:
            raise typer.BadParameter("Nothing is to be changed.")
        ident = call.ident(resource, which)
        call.written(resource, call.client.write("PATCH", resource.path(ident), body), ident)

    parameters = [_parameter("which", Annotated[str, argument(resource)], inspect.Parameter.empty)]
    parameters += [parameter_of(name, field, needed=False) for name, field in fields.items()]
    _attach(app, run, "update", _help(wanted), parameters)


def _delete(call: Call, resource: Resource, ident: str) -> Any:
    return call.client.write("DELETE", resource.path(ident))


def _verb(resource: Resource, verb: str) -> Callable[[Call, str, dict[str, Any]], Any]:
    return lambda call, ident, body: call.client.write("POST", resource.path(ident, "actions", verb), body)


def _add_act(
    app: typer.Typer,
    resource: Resource,
    verb: str,
    help_text: str,
    fields: Mapping[str, FieldInfo],
    ask: Callable[[Call, str, dict[str, Any]], Any],
) -> None:
    """Add a command that starts a verb on one or several resources, and waits for their tasks."""

    def run(call: Call, which: list[str], **given: Any) -> None:
        body = sent(fields, given)
        outcomes = Outcomes()
        answers: dict[str, dict[str, Any]] = {}
        labels: dict[str, str] = {}
        for text in which:
            try:
                ident = call.ident(resource, text)
                answers[ident] = _decided(call, ask(call, ident, body))
            except GsError as problem:
                outcomes.failed(problem)
                continue
            labels[ident] = text
        _shown(call, resource, answers, labels)
        outcomes.end()

    parameters = [_parameter("which", Annotated[list[str], argument(resource)], inspect.Parameter.empty)]
    parameters += [parameter_of(name, field, needed=field.is_required()) for name, field in fields.items()]
    _attach(app, run, verb, help_text, parameters)


def _decided(call: Call, answer: Any) -> dict[str, Any]:
    """Return the service's answer, with the id of its task if that was decided later."""
    from cli.gs.waiting import verdict

    said = dict(answer.body) if isinstance(answer.body, dict) else {}
    if answer.status == 202 and call.options.wait and not said.get("task_id") and said.get("command_id"):
        said["task_id"] = verdict(call.client, said["command_id"]).get("task_id")
    return said


def _shown(call: Call, resource: Resource, answers: Mapping[str, dict[str, Any]], labels: Mapping[str, str]) -> None:
    """Wait for the tasks of these answers, unless --no-wait was given, and print the resources. Raises Failed."""
    from cli.gs.waiting import Started

    tasks = {ident: str(said["task_id"]) for ident, said in answers.items() if said.get("task_id")}
    failed: set[str] = set()
    if not call.options.wait:
        call.leave(list(tasks.values()))
    elif tasks:
        ended, _ = call.finish([Started(task, labels[ident]) for ident, task in tasks.items()])
        failed = {ident for ident, task in zip(tasks, ended, strict=True) if task["status"] != "finished"}
    for ident, said in answers.items():
        if said.get("already"):
            call.note(str(said.get("message") or f"{labels[ident]} is as requested already; nothing was changed."))
        after = tasks.get(ident) or said.get("command_id")
        if call.options.wait and after and ident not in failed:
            call.show(call.found(resource, ident, after=after) or {"id": ident, "status": "deleted"})
        elif ident not in failed:
            call.show(said)
    if failed:
        raise Failed


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _attach(
    app: typer.Typer,
    run: Callable[..., None],
    name: str,
    help_text: str,
    parameters: Sequence[inspect.Parameter],
) -> None:
    call = inspect.Parameter("call", inspect.Parameter.POSITIONAL_ONLY, annotation=Call)
    run.__signature__ = inspect.Signature([call, *parameters])  # type: ignore[attr-defined]
    command(app, name, writes=True, help=help_text)(run)


def _help(wanted: type[Command]) -> str:
    return " ".join((wanted.__doc__ or "").split())
