"""The lifecycle commands of gs instance, made from the lifecycle table.

Why made: a verb is a file and a row in `domain/instance/actions`; its command and help follow. A row `hard-X` is the
switch `--hard` of X.
"""

import inspect
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from cli.gs.call import Call, Outcomes
from cli.gs.columns import Column
from cli.gs.options import command
from cli.gs.problems import Failed, Missing, Problem
from cli.gs.resources import ID, INSTANCE, NAME
from cli.gs.standard import argument
from domain.instance.action import InstanceAction
from domain.instance.actions import ACTIONS
from domain.instance.state import VmState

HARD = "hard-"
DONE = (ID, NAME, Column("status"), Column("task_id", "task"), Column("command_id", "command"))


@dataclass(frozen=True)
class Extra:
    """An option that only one verb has, and the field of its request that it becomes."""

    flag: str
    help: str
    switch: bool = False

    @property
    def name(self) -> str:
        """The field."""
        return self.flag.lstrip("-").replace("-", "_")


EXTRAS: dict[str, tuple[Extra, ...]] = {
    "delete": (Extra("--ignore", "Also from error.", switch=True),),
    "reset": (Extra("--root-device-id", "The root device to go on with."),),
}


def add(app: typer.Typer) -> None:
    """A command a verb that begins at an instance there is."""
    for name, action in ACTIONS.items():
        if action.begins and name.removeprefix(HARD) not in ACTIONS.keys() - {name}:
            _add(app, action, ACTIONS.get(HARD + name))


def _add(app: typer.Typer, action: InstanceAction, hard: InstanceAction | None) -> None:
    extras = EXTRAS.get(action.name, ())

    def run(call: Call, which: list[str], **given: Any) -> None:
        verb = HARD + action.name if given.pop("hard", False) else action.name
        act(call, which, verb, {key: value for key, value in given.items() if value})

    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("call", inspect.Parameter.POSITIONAL_ONLY, annotation=Call),
        inspect.Parameter("which", kind, annotation=Annotated[list[str], argument(INSTANCE)]),
    ]
    if hard:
        note = Annotated[bool, typer.Option("--hard", help=hard.help)]
        parameters.append(inspect.Parameter("hard", kind, default=False, annotation=note))
    for extra in extras:
        annotation: Any = Annotated[bool if extra.switch else str | None, typer.Option(extra.flag, help=extra.help)]
        default = False if extra.switch else None
        parameters.append(inspect.Parameter(extra.name, kind, default=default, annotation=annotation))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command(app, action.name, writes=True, help=action.help)(run)


def _ident(call: Call, text: str, action: InstanceAction) -> str:
    """The instance that is meant: what a verb can begin with decides where its name is looked for."""
    begins = action.begins - {VmState.SOFT_DELETED}
    if begins:
        try:
            return call.ident(INSTANCE, text)
        except Missing:
            if begins == action.begins:
                raise
    return call.ident(INSTANCE, text, deleted="true", status=VmState.SOFT_DELETED)


def act(call: Call, which: list[str], verb: str, body: dict[str, Any]) -> None:
    """Ask for a verb on each, wait for all, show what they are then."""
    from cli.gs.waiting import Started, verdict

    answers: dict[str, Any] = {}
    tasks: dict[str, Started] = {}
    outcomes = Outcomes()
    raw: str | None = None
    for text in which:
        try:
            ident = _ident(call, text, ACTIONS[verb])
            answer = call.client.write("POST", INSTANCE.path(ident, "actions", verb), body)
            raw = answer.text
            said = dict(answer.body) if isinstance(answer.body, dict) else {}
            if call.wish.wait and not said.get("task_id") and not said.get("already") and said.get("command_id"):
                known = verdict(call.client, said["command_id"])
                said |= {"task_id": known.get("task_id"), "already": known["verdict"] == "already"}
        except Problem as problem:
            outcomes.failed(problem)
            continue
        answers[ident] = said
        if said.get("already"):
            call.note(str(said.get("message") or f"{text} is so already."))
        elif said.get("task_id"):
            tasks[ident] = Started(said["task_id"], text)
    well = True
    if call.wish.wait:
        well = _wait(call, answers, tasks, alone=len(which) == 1)
    else:
        call.leave([started.task_id for started in tasks.values()])
        documents = [{"id": ident, **said} for ident, said in answers.items()]
        call.instances(documents, alone=len(which) == 1, columns=DONE, raw=raw if len(which) == 1 else None)
    outcomes.end()
    if not well:
        raise Failed


def _wait(call: Call, answers: dict[str, Any], tasks: dict[str, Any], *, alone: bool) -> bool:
    ended, well = call.finish(list(tasks.values()))
    failed = {ident for ident, task in zip(tasks, ended, strict=True) if task["status"] != "finished"}
    shown = []
    for ident, said in answers.items():
        if ident in failed:
            continue
        after = tasks[ident].task_id if ident in tasks else said.get("command_id")
        shown.append(call.found(INSTANCE, ident, after=after) or {"id": ident, "status": "deleted"})
    call.instances(shown, alone=alone)
    return well
