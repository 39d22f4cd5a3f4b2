"""One run of one command: what it was asked for, and how its answer reaches the user.

Why an object: a command's function says only what it does; reading one's own writes, waiting, formats and exit
status are the same for all of them and stand here once.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli.gs.columns import Column, printable
from cli.gs.output import Format, many, one, write
from cli.gs.problems import Failed, GsError, Missing, Refused, TimedOut
from cli.gs.resources import INSTANCE, TASK, Resource

if TYPE_CHECKING:
    from cli.gs.client import Answer, Client
    from cli.gs.waiting import Started

Document = dict[str, Any]


@dataclass(frozen=True)
class Wish:
    """The options that every command takes."""

    debug: bool
    raw: bool
    form: Format
    fields: tuple[str, ...]
    wait: bool
    timeout: float | None


class Call:
    """What a command's function is given."""

    def __init__(self, wish: Wish, connected: "Callable[[], Client]") -> None:
        self.wish = wish
        self._connect = connected
        self._client: Client | None = None

    @property
    def client(self) -> "Client":
        """Made when it is first wanted: help and wrong usage need none."""
        if self._client is None:
            self._client = self._connect()
        return self._client

    def close(self) -> None:
        """Let go of what was opened."""
        if self._client is not None:
            self._client.close()

    def ident(self, resource: Resource, text: str, **where: str) -> str:
        """The id of what is meant by a name or an id; `where` narrows the list in which the name is looked for."""
        from cli.gs.resolve import resolve

        return resolve(self.client, resource, text, **where)

    def idents(self, resource: Resource, texts: Sequence[str]) -> list[str]:
        """Each one's id."""
        return [self.ident(resource, text) for text in texts]

    def note(self, text: str) -> None:
        """To the user, beside the answer."""
        print(printable(text), file=sys.stderr)

    def table(self, answer: "Answer", resource: Resource, columns: Sequence[Column] = ()) -> None:
        """Print a list answer, and say how to go on where there is more."""
        if self.wish.raw:
            write(answer.text + "\n")
            return
        shown = answer.items(resource.plural)
        self.listing(shown, columns or resource.columns)
        if following := answer.get("next"):
            # A page of events ends where it has looked at as many as it may, whatever it found.
            there = "There are more" if shown else "None so far, and there is more to look at"
            self.note(f"{there}: --marker {following}")

    def listing(self, documents: Sequence[Document], columns: Sequence[Column]) -> None:
        """Print documents."""
        shown = [Column(field) for field in self.wish.fields] or columns
        write(many(documents, shown, self.wish.form, whole=not self.wish.fields))

    def show(self, document: Document, raw: str | None = None) -> None:
        """Print one document; `raw` is the service's own text of it."""
        if self.wish.raw:
            import json

            write((raw if raw is not None else json.dumps(document, ensure_ascii=False)) + "\n")
            return
        write(one(document, self.wish.fields, self.wish.form))

    def show_answer(self, answer: "Answer") -> None:
        """Print an answer that is one document."""
        if not isinstance(answer.body, dict):
            raise Refused("The service's answer is no JSON object.")
        self.show(answer.body, answer.text)

    def written(self, resource: Resource, answer: "Answer", ident: str = "", extra: Document | None = None) -> None:
        """Print what a write made, as the read model has it then. `extra` is said only now and never again."""
        known = dict(answer.body) if isinstance(answer.body, dict) else {}
        command_id = str(known.get("command_id") or "")
        ident = ident or str(known.get("id") or "")
        if "version" in known or not self.wish.wait or not ident or not command_id:
            self.show({**known, **(extra or {})}, None if extra else answer.text)
            return
        if known.get("already"):
            self.note(str(known.get("message") or "Nothing was changed: the request is fulfilled already."))
        self.settle(answer)
        found = self.client.get(resource.path(ident), after=command_id)
        if extra:
            self.show({**(found.body or {}), **extra})
        else:
            self.show_answer(found)

    def settle(self, answer: "Answer") -> None:
        """Until the read model has what was written, so that the next command sees it. Raises Problem if refused."""
        if answer.status == 202 and self.wish.wait and (command_id := answer.get("command_id")):
            from cli.gs.waiting import verdict

            verdict(self.client, command_id)

    def leave(self, task_ids: Sequence[str]) -> None:
        """Without waiting for tasks: only until they can be read, so that the next command knows of them."""
        for task_id in task_ids:
            self.client.look(TASK.path(task_id), after=task_id)

    def finish(self, tasks: "Sequence[Started]") -> tuple[list[Document], bool]:
        """Wait for tasks and tell the faults of those that failed. Returns them, and whether all finished."""
        from cli.gs.waiting import fault_lines, wait

        try:
            ended = wait(self.client, tasks)
        except (TimedOut, KeyboardInterrupt) as stop:
            going_on = " ".join(each.task_id for each in tasks)
            if isinstance(stop, TimedOut):
                raise TimedOut(str(stop), f"It goes on: gs task wait {going_on}") from stop
            self.note(f"It goes on: gs task wait {going_on}")
            raise
        for started, task in zip(tasks, ended, strict=True):
            if task["status"] != "finished":
                print("Error: " + "\n".join(fault_lines(started, task)), file=sys.stderr)
        return ended, all(task["status"] == "finished" for task in ended)

    def instances(
        self,
        documents: Sequence[Document],
        *,
        alone: bool,
        columns: Sequence[Column] = (),
        besides: str = "",
        raw: str | None = None,
    ) -> None:
        """Print what a command did to instances: one as a whole, several as a list with one column more."""
        if alone:
            for document in documents:
                self.show(document, raw)
        elif self.wish.raw:
            import json

            write((raw or json.dumps({INSTANCE.plural: list(documents)}, ensure_ascii=False)) + "\n")
        else:
            self.listing(documents, [*(columns or INSTANCE.columns), *([Column(besides)] if besides else [])])

    def found(self, resource: Resource, ident: str, *, after: str) -> Document | None:
        """One document as it is after a command or task; None where that took it away."""
        try:
            answer = self.client.get(resource.path(ident), after=after)
        except Missing:
            return None
        return dict(answer.body) if isinstance(answer.body, dict) else None


def report(problem: GsError) -> None:
    """One or two lines: what, and what helps."""
    if not str(problem):
        return
    code = f" ({problem.code})" if problem.code else ""
    print(printable(f"Error: {problem}{code}"), file=sys.stderr)
    if problem.hint:
        print(printable(f"Hint: {problem.hint}"), file=sys.stderr)


class Outcomes:
    """Several things were asked for: each failure is told at once, and the first one's status is the command's."""

    def __init__(self) -> None:
        self._first: GsError | None = None

    def failed(self, problem: GsError) -> None:
        """Tell it, and remember."""
        report(problem)
        self._first = self._first or problem

    def end(self) -> None:
        """Raises Failed if anything did."""
        if self._first is not None:
            raise Failed(self._first.exit_status)
