"""The lifecycle commands of gs instance, made from the lifecycle table.

Why made: a verb is a file and a row in `domain/instance/actions`; its command, its options and their help follow. A
row `hard-X` is the switch `--hard` of X.
"""

import inspect
import sys
from typing import Annotated, Any

import typer

from cli.gs.call import Call, Outcomes
from cli.gs.columns import plain
from cli.gs.field_options import parameter_of, sent
from cli.gs.options import command
from cli.gs.output import Format
from cli.gs.problems import Failed, GsError, Missing, Refused
from cli.gs.resources import DONE, INSTANCE
from cli.gs.standard import argument
from domain.core.fields import user_fields
from domain.instance.action import InstanceAction
from domain.instance.actions import ACTIONS
from domain.instance.state import VmState

HARD = "hard-"
SOFT_DELETED = frozenset({VmState.SOFT_DELETED})
AMONG_DELETED: dict[str, str] = {"deleted": "true", "status": VmState.SOFT_DELETED}
"""Parameters of a list of instances that shows those which can be restored."""
GONE = SOFT_DELETED | {VmState.DELETED}
OF_DELETED = ("id", "name", "status", "deleted", "purge_at")
"""Fields of a deleted instance that a table shows."""

app = typer.Typer()


def add(app: typer.Typer, action: InstanceAction, hard: InstanceAction | None) -> None:
    """Add a verb as a command to a group. Its options are the fields of its request, and of the hard verb's."""
    own, of_hard = user_fields(action.command), user_fields(hard.command) if hard else {}

    def run(call: Call, which: list[str], **given: Any) -> None:
        chosen, fields = (hard, of_hard) if hard and given.pop("hard") else (action, own)
        sure = given.pop("yes", True)
        body = sent({**of_hard, **own}, given)
        if strange := body.keys() - fields.keys():
            flag = f"--{min(strange).replace('_', '-')}"
            raise typer.BadParameter(f"{flag} does not go {'with' if chosen is hard else 'without'} --hard.")
        if chosen.ends is VmState.DELETED and not sure:
            must_be_wanted(call, which, chosen)
        act(call, which, chosen.name, body)

    kind = inspect.Parameter.KEYWORD_ONLY
    among = AMONG_DELETED if action.begins == SOFT_DELETED else None
    parameters = [
        inspect.Parameter("call", inspect.Parameter.POSITIONAL_ONLY, annotation=Call),
        inspect.Parameter("which", kind, annotation=Annotated[list[str], argument(INSTANCE, among)]),
    ]
    if hard:
        note = Annotated[bool, typer.Option("--hard", help=hard.help)]
        parameters.append(inspect.Parameter("hard", kind, default=False, annotation=note))
    if VmState.DELETED in (action.ends, hard and hard.ends):
        sure = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before something is deleted for good.")]
        parameters.append(inspect.Parameter("yes", kind, default=False, annotation=sure))
    for name, field in {**of_hard, **own}.items():
        needed = field.is_required() and (hard is None or name in own.keys() & of_hard.keys())
        parameters.append(parameter_of(name, field, needed=needed))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command(app, action.name, writes=True, help=action.help)(run)


def _ident(call: Call, text: str, action: InstanceAction) -> str:
    """Return the id of an instance. A verb on deleted instances finds its name among those. Raises Missing, Usage."""
    if action.begins != SOFT_DELETED:
        try:
            return call.ident(INSTANCE, text)
        except Missing:
            if not action.begins >= SOFT_DELETED:
                raise
    return call.ident(INSTANCE, text, **AMONG_DELETED)


def must_be_wanted(call: Call, which: list[str], action: InstanceAction) -> None:
    """Say what would be deleted for good, and ask whether that is wanted, if somebody can answer. Raises Refused."""
    if not at_terminal():
        return
    for text in which:
        found = call.client.get(INSTANCE.path(_ident(call, text, action)))
        addresses = plain(found.get("addresses"))
        host = (found.get("host") or {}).get("name") or "no host"
        call.note(f"{found.get('name')} ({found.get('id')}): {found.get('status')}, on {host}, addresses {addresses}")
    question = "Delete it for good?" if len(which) == 1 else f"Delete these {len(which)} for good?"
    if not typer.confirm(question, err=True):
        raise Refused("Nothing was deleted.")


def at_terminal() -> bool:
    """Return whether somebody can read a question, and answer it."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def act(call: Call, which: list[str], verb: str, body: dict[str, Any]) -> None:
    """Start a verb on each instance, wait for all, and print them. Raises Failed if any failed."""
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
            if call.options.wait and not said.get("task_id") and not said.get("already") and said.get("command_id"):
                known = verdict(call.client, said["command_id"])
                said |= {"task_id": known.get("task_id"), "already": known["verdict"] == "already"}
        except GsError as problem:
            outcomes.failed(problem)
            continue
        answers[ident] = said
        if said.get("already"):
            call.note(str(said.get("message") or f"{text} is as requested already; nothing was changed."))
        elif said.get("task_id"):
            tasks[ident] = Started(said["task_id"], text)
    well = True
    if call.options.wait:
        well = _wait(call, answers, tasks, alone=len(which) == 1, gone=ACTIONS[verb].ends in GONE)
    else:
        call.leave([started.task_id for started in tasks.values()])
        documents = [{"id": ident, **said} for ident, said in answers.items()]
        call.instances(documents, alone=len(which) == 1, columns=DONE, raw=raw if len(which) == 1 else None)
    outcomes.end()
    if not well:
        raise Failed


def _wait(call: Call, answers: dict[str, Any], tasks: dict[str, Any], *, alone: bool, gone: bool) -> bool:
    ended, well = call.finish(list(tasks.values()))
    failed = {ident for ident, task in zip(tasks, ended, strict=True) if task["status"] != "finished"}
    shown = []
    for ident, said in answers.items():
        if ident in failed:
            continue
        after = tasks[ident].task_id if ident in tasks else said.get("command_id")
        document = call.found(INSTANCE, ident, after=after) or {"id": ident, "status": "deleted"}
        brief = gone and call.options.form is Format.TABLE and not (call.options.raw or call.options.fields)
        shown.append({name: document[name] for name in OF_DELETED if document.get(name)} if brief else document)
    call.instances(shown, alone=alone)
    return well


for _name, _action in ACTIONS.items():
    # Only what begins at an instance there is: boot has a command of its own.
    if _action.begins and not _action.own_request and _name.removeprefix(HARD) not in ACTIONS.keys() - {_name}:
        add(app, _action, ACTIONS.get(HARD + _name))
