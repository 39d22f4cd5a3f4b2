"""gs task: accepted commands that take time."""

from typing import Annotated

import typer

from cli.gs.call import Call
from cli.gs.options import command
from cli.gs.problems import Failed, Refused
from cli.gs.resources import TASK
from cli.gs.standard import add_diff, add_history, add_list, add_show, argument
from cli.gs.waiting import Started, read
from cli.gs.waiting import wait as until_ended
from cli.gs.why import add_why

app = typer.Typer()
Tasks = Annotated[list[str], argument(TASK)]

add_list(app, TASK)
add_show(app, TASK, past=True)
add_history(app, TASK, "List everything that a task led to.")
add_diff(app, TASK)
add_why(app, TASK)


@command(app)
def wait(call: Call, tasks: Tasks) -> None:
    """Wait until tasks have ended; the exit status is 0 only if all of them finished."""
    ended, well = call.finish([_started(call, each) for each in tasks])
    _print(call, ended)
    if not well:
        raise Failed


@command(app, writes=True)
def cancel(call: Call, task: Annotated[str, argument(TASK)]) -> None:
    """Stop a task and undo what it did."""
    answer = call.client.write("POST", TASK.path(task, "cancel"), {})
    if not call.options.wait:
        call.show_answer(answer)
        return
    call.settle(answer)
    (ended,) = until_ended(call.client, [_started(call, task)])
    call.show(ended)
    if ended["status"] != "cancelled":
        raise Refused(f"Task {task} was not cancelled: it has {ended['status']}.")


def _started(call: Call, task_id: str) -> Started:
    found = read(call.client, task_id, new=False)
    return Started(task_id, str(found.get("instance_name") or task_id))


def _print(call: Call, ended: list[dict[str, object]]) -> None:
    if len(ended) == 1:
        call.show(ended[0])
    else:
        call.listing(ended, TASK.columns)
