"""Waiting for tasks, with their progress meanwhile.

Why on standard error: what a command prints on standard output is its answer alone, whether or not it waited.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from cli.gs.client import Client
from cli.gs.columns import bytes_in_words
from cli.gs.problems import Refused, of_answer
from cli.gs.resources import TASK
from cli.terminal import echo
from domain.core.text import printable

ENDED = frozenset({"finished", "failed", "cancelled"})
FIRST_PAUSE = 0.1  # seconds; grows, so that quick tasks are told quickly and slow ones cost little
LONGEST_PAUSE = 1.0
GROWTH = 1.4
LINES = 8  # tasks shown at once on a terminal
VERDICT_PATIENCE = 60.0  # seconds without --timeout

Document = dict[str, Any]


@dataclass(frozen=True)
class Started:
    """A task, with a label of the resource that it works on."""

    task_id: str
    label: str
    asked_for: bool = True
    """Whether a user's command began it, whose verdict may have to be waited for; else the read models have it."""


class Teller(Protocol):
    """A display of the progress of tasks."""

    def tell(self, seen: Sequence[tuple[Started, Document]], seconds: float) -> None:
        """Show the progress of tasks; `seconds` have passed since the beginning."""


class LineTeller:
    """A display for logs: a line whenever a task takes another step."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}

    def tell(self, seen: Sequence[tuple[Started, Document]], seconds: float) -> None:
        """Print a line for each task that changed."""
        for started, task in seen:
            line = progress(started, task)
            if self._last.get(started.task_id) != line:
                self._last[started.task_id] = line
                echo(f"{line}, {seconds:.0f} s", err=True)


class LiveTeller:
    """A display for terminals: lines that change in place."""

    def __init__(self, status: Any) -> None:
        self._status = status

    def tell(self, seen: Sequence[tuple[Started, Document]], seconds: float) -> None:
        """Show the first few running tasks in place."""
        from rich.text import Text

        running = [(started, task) for started, task in seen if task["status"] not in ENDED]
        lines = [printable(f"{progress(started, task)}, {seconds:.0f} s") for started, task in running[:LINES]]
        if len(running) > LINES:
            lines.append(f"and {len(running) - LINES} more")
        self._status.update(Text("\n".join(lines)))


@contextmanager
def teller() -> Iterator[Teller]:
    """Return the display that fits standard error, a terminal or not."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield LineTeller()
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield LiveTeller(status)


def progress(started: Started, task: Document) -> str:
    """Return the progress of a task, such as `web-1: boot: CreateDisk (4 of 8)`."""
    status, steps = str(task["status"]), task.get("steps") or []
    said = [started.label, str(task.get("action") or "task")]
    if status in ENDED or status == "queued":
        return ": ".join((*said, status))
    step = str(task.get("step") or "") or "between steps"
    if status == "running" and steps:
        step += f" ({min(int(task.get('steps_done') or 0) + 1, len(steps))} of {len(steps)})"
    elif status != "running":
        step = f"{status} {step}"
    return ": ".join((*said, step)) + so_far(task.get("progress"))


def so_far(told: Document | None) -> str:
    """Return the progress of a step, such as `, 40 % (40M of 100M)`; empty for a step without progress."""
    if not told:
        return ""
    total = told.get("total") or 0
    sizes = f" ({bytes_in_words(told['done'])} of {bytes_in_words(total)})" if total else ""
    return f", {told['percent']:.0f} %{sizes}"


def wait(client: Client, tasks: Sequence[Started]) -> list[Document]:
    """Wait until all tasks have ended, and return them. Raises TimedOut, GsError."""
    seen: dict[str, Document] = {}
    pause = FIRST_PAUSE
    with teller() as voice:
        while True:
            for each in tasks:
                if seen.get(each.task_id, {}).get("status") not in ENDED:
                    seen[each.task_id] = read(client, each.task_id, new=each.asked_for and each.task_id not in seen)
                    known = [(one, seen[one.task_id]) for one in tasks if one.task_id in seen]
                    voice.tell(known, client.deadline.elapsed)
            if all(task["status"] in ENDED for task in seen.values()):
                return [seen[each.task_id] for each in tasks]
            client.pause(pause)
            pause = min(pause * GROWTH, LONGEST_PAUSE)


def read(client: Client, task_id: str, *, new: bool) -> Document:
    """Return a task. The service is asked to wait for a new one, which may not be in the read model yet."""
    answer = client.get(TASK.path(task_id), after=task_id if new else None)
    if not isinstance(answer.body, dict):
        raise Refused(f"The service's answer about task {task_id} is no JSON object.")
    return answer.body


def verdict(client: Client, command_id: str) -> Document:
    """Wait for the verdict on a command that was not decided at once, and return it. Raises GsError, TimedOut."""
    pause = FIRST_PAUSE
    began = client.deadline.elapsed
    while client.deadline.elapsed - began < VERDICT_PATIENCE or client.deadline.seconds is not None:
        answer = client.get(f"/commands/{command_id}")
        said = answer.get("verdict")
        if said == "refused":
            problem = answer.get("problem") or {}
            raise of_answer(int(problem.get("status", 409)), problem)
        if said in ("accepted", "already"):
            return dict(answer.body)
        client.pause(pause)
        pause = min(pause * GROWTH, LONGEST_PAUSE)
    what = f"Command {command_id} has no verdict after {VERDICT_PATIENCE:g} s."
    raise Refused(what, "The command is on the log and will be decided.")


def fault_lines(started: Started, task: Document) -> list[str]:
    """Return the lines that say why a task did not finish."""
    fault = task.get("fault") or {}
    where = f" at step {fault['step']}" if fault.get("step") else ""
    how = "was cancelled" if task["status"] == "cancelled" else "failed"
    why = f": {fault['message']} ({fault['code']})" if fault else ""
    lines = [f"{started.label}: {task.get('action', 'task')} {how}{where}{why}"]
    details = fault.get("details") or {}
    if details:
        said = ", ".join(f"{name} {value}" for name, value in details.items())
        lines.append(f"Hosts left after each filter: {said}" if fault["code"] == "no-valid-host" else said)
    if undo := task.get("undo_fault"):
        lines.append(f"Undoing it failed too: {undo['message']} ({undo['code']})")
    if hint := fault.get("hint"):
        lines.append(f"Hint: {hint}")
    return [printable(line) for line in lines]
