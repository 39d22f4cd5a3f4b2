"""gs webhook: endpoints to which events are sent. A secret is shown once, when the service makes it."""

from typing import Annotated, Any

import typer

from cli.gs.call import Call
from cli.gs.completion import closed, narrowed
from cli.gs.options import command
from cli.gs.parsing import one_name, time_of, words
from cli.gs.problems import Failed, Refused
from cli.gs.resources import BY_PROJECT, EVENT, TIME, WEBHOOK, Narrowing
from cli.gs.standard import add_delete, add_list, add_show, argument
from cli.gs.story import add_story

app = typer.Typer()

Text = str | None
Which = Annotated[str, argument(WEBHOOK)]


def _filter(flag: str) -> Narrowing:
    return next(each for each in (*EVENT.narrowings, BY_PROJECT) if each.flag == flag)


def _option(flag: str) -> Any:
    found = _filter(flag)
    return typer.Option(flag, help=found.help, autocompletion=narrowed(found))


Types = Annotated[list[str] | None, _option("--type")]
Subject = Annotated[Text, _option("--subject")]
Actor = Annotated[Text, _option("--actor")]
OfProject = Annotated[Text, _option("--project-id")]
Task = Annotated[Text, _option("--task")]
Start = Annotated[
    Text,
    typer.Option(
        "--from",
        metavar="beginning|now|ID",
        help="Where to begin; an ID as gs event follow prints it.",
        autocompletion=closed("beginning", "now"),
    ),
]
Since = Annotated[Text, typer.Option("--since", help=f"Where to begin: {TIME}.")]
Description = Annotated[Text, typer.Option("--description", help="Description of the webhook.")]

add_list(app, WEBHOOK)
add_show(app, WEBHOOK)
add_story(app, WEBHOOK)


@command(app, writes=True)
def create(
    call: Call,
    url: Annotated[str, typer.Option("--url", help="URL of the endpoint: http or https.", show_default=False)],
    argument: Annotated[Text, typer.Argument(metavar="NAME", help="Name of the webhook, or --name.")] = None,
    name: Annotated[Text, typer.Option("--name", help="Name of the webhook.")] = None,
    description: Description = None,
    types: Types = None,
    subject: Subject = None,
    actor: Actor = None,
    project_id: OfProject = None,
    task: Task = None,
    start: Start = None,
    since: Since = None,
) -> None:
    """Create a webhook, which sends events to an endpoint, and show the secret of their signatures, once."""
    body: dict[str, Any] = {
        "name": one_name(argument, name),
        "url": url,
        "description": description,
        "wanted": _wanted(types, subject, actor, project_id, task),
        **_place(start, since),
    }
    answer = call.client.write("POST", WEBHOOK.path(), _given(body))
    _told_once(call, answer, needed=f"Webhook {body['name']} was made")


@command(app, writes=True)
def update(
    call: Call,
    which: Which,
    name: Annotated[Text, typer.Option("--name", help="New name of the webhook.")] = None,
    url: Annotated[Text, typer.Option("--url", help="New URL of the endpoint.")] = None,
    description: Description = None,
    types: Types = None,
    subject: Subject = None,
    actor: Actor = None,
    project_id: OfProject = None,
    task: Task = None,
    new_secret: Annotated[
        bool, typer.Option("--new-secret", help="Make a new secret; the old one is valid for another day.")
    ] = False,
) -> None:
    """Change a webhook; other fields keep their values. An empty text removes a filter."""
    wanted = _wanted(types, subject, actor, project_id, task)
    body = _given({"name": name, "url": url, "description": description, "wanted": wanted, "new_secret": new_secret})
    if not body:
        raise typer.BadParameter("Nothing is to be changed.")
    ident = call.ident(WEBHOOK, which)
    answer = call.client.write("PATCH", WEBHOOK.path(ident), body)
    _told_once(call, answer, needed=f"Webhook {which} has a new secret" if new_secret else "", ident=ident)


add_delete(app, WEBHOOK)


@command(app)
def test(call: Call, which: Which) -> None:
    """Send a test event; the exit status is 0 only if the endpoint accepted it."""
    answer = call.client.write("POST", WEBHOOK.path(call.ident(WEBHOOK, which), "test"), {})
    call.show_answer(answer)
    if not answer.get("delivered"):
        raise Failed


@command(app, writes=True)
def retry(call: Call, which: Which, start: Start = None, since: Since = None) -> None:
    """Retry undelivered events at once, or begin at another position, and enable the webhook if it is disabled."""
    ident = call.ident(WEBHOOK, which)
    body = _given(_place(start, since))
    call.written(WEBHOOK, call.client.write("POST", WEBHOOK.path(ident, "retry"), body), ident)


def _wanted(types: list[str] | None, subject: Text, actor: Text, project_id: Text, task: Text) -> dict[str, Any] | None:
    given = {
        "types": [each for each in words(types) or () if each] if types else None,
        "subject": subject,
        "actor": actor,
        "project_id": project_id,
        "task": task,
    }
    return {name: value for name, value in given.items() if value is not None} or None


def _place(start: Text, since: Text) -> dict[str, Any]:
    return {"from": start, "since": time_of(since, fixed=True) if since else None}


def _given(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None and value is not False}


def _told_once(call: Call, answer: Any, needed: str, ident: str = "") -> None:
    secret = answer.get("secret")
    if needed and not secret:
        raise Refused(
            f"{needed}, but the answer with its secret was lost, and it is told once.",
            "gs webhook update --new-secret makes another.",
        )
    if secret:
        call.only_now("secret", secret)
    call.written(WEBHOOK, answer, ident, extra={"secret": secret} if secret else None)
    if secret:
        call.note("The secret is shown only now: the receiver checks signatures with it.")
