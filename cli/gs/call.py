"""A run of a command: its common options, and how its answer is printed.

Why an object: a command's function says only what it does; reading its own writes, waiting, formats and the exit
status are the same for all commands and are here once.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli.gs.columns import Column
from cli.gs.output import Format, escaped_json, many, one
from cli.gs.problems import Failed, GsError, Missing, Refused, TimedOut, Usage
from cli.gs.resources import INSTANCE, TASK, Resource
from cli.terminal import echo, urge, write
from domain.core.paths import located

if TYPE_CHECKING:
    from cli.gs.client import Answer, Client
    from cli.gs.waiting import Started

Document = dict[str, Any]


@dataclass(frozen=True)
class CommandOptions:
    """The options that every command takes; `timeout` is in seconds."""

    debug: bool
    raw: bool
    form: Format
    fields: tuple[str, ...]
    wait: bool
    timeout: float | None
    writes: bool = False
    """Whether the command changes something."""


class Call:
    """A run of a command, which its function gets as its first argument."""

    def __init__(self, options: CommandOptions, connected: "Callable[[], Client]") -> None:
        self.options = options
        self._connect = connected
        self._client: Client | None = None
        self._told_once: dict[str, str] = {}

    @property
    def client(self) -> "Client":
        """The client of the service, made at its first use: help and wrong usage need none."""
        if self._client is None:
            self._client = self._connect()
        return self._client

    def close(self) -> None:
        """Close the client, if it was opened."""
        if self._client is not None:
            self._client.close()

    def ident(self, resource: Resource, text: str, **where: str) -> str:
        """Return the id of the resource with this name or id. `where` has parameters of the list that is searched.

        Raises Missing, Usage.
        """
        from cli.gs.resolve import resolve

        return resolve(self.client, resource, text, **where)

    def idents(self, resource: Resource, texts: Sequence[str]) -> list[str]:
        """Return the ids of the resources with these names or ids. Raises Missing, Usage."""
        return [self.ident(resource, text) for text in texts]

    def note(self, text: str) -> None:
        """Print a line for the user on standard error."""
        echo(text, err=True)

    def only_now(self, name: str, secret: str) -> None:
        """Remember a secret that no later answer has: whatever happens, it is printed before the run ends."""
        self._told_once[name] = secret

    def told(self, names: Iterable[str]) -> None:
        """Say that the fields with these names were printed or written, as far as they are secrets."""
        for name in names:
            self._told_once.pop(name, None)

    def tell_secrets(self) -> None:
        """Print the secrets that the command did not get to print, on standard error: nobody has them otherwise."""
        while self._told_once:
            name, secret = self._told_once.popitem()
            urge([f"The {name.replace('_', ' ')} is shown only now:", *secret.splitlines()])

    def table(self, answer: "Answer", resource: Resource, columns: Sequence[Column] = ()) -> None:
        """Print a list, and say how to continue if there is more."""
        if self.options.raw:
            write(escaped_json(answer.text) + "\n")
            return
        shown = answer.items(resource.plural)
        self.listing(shown, columns or resource.columns)
        if following := answer.get("next"):
            # A page of events ends after a limited number of examined events, whatever it found.
            there = "There are more" if shown else "None so far, and there is more to look at"
            self.note(f"{there}: --marker {following}")

    def listing(self, documents: Sequence[Document], columns: Sequence[Column]) -> None:
        """Print documents as a list, with these columns unless the user chose fields."""
        shown = [Column(field) for field in self.fields_in(documents)] or columns
        write(many(documents, shown, self.options.form, whole=not self.options.fields))
        if self.options.form in (Format.JSON, Format.YAML) and not self.options.fields:
            self.told(name for each in documents for name in each)
        elif documents:
            self.told(each.path for each in shown)

    def show(self, document: Document, raw: str | None = None) -> None:
        """Print one document; `raw` is the service's own text of it."""
        if self.options.raw:
            import json

            write(escaped_json(raw if raw is not None else json.dumps(document, ensure_ascii=False)) + "\n")
            self.told(document)
            return
        fields = self.fields_in([document])
        write(one(document, fields, self.options.form))
        self.told(fields or document)

    def fields_in(self, documents: Sequence[Document]) -> list[str]:
        """Return the fields that the user chose, as these documents write them.

        Raises Usage for one that none of them has. What was written is written: there it is a note.
        """
        found = []
        for field in self.options.fields:
            there = next(filter(None, (located(each, field) for each in documents)), None)
            found.append(there[0] if there else field)
            if documents and there is None:
                from domain.core.choices import none_of

                known = sorted({name for each in documents for name in each})
                wrong = f"There is no such field: {none_of(field, known)}"
                if not self.options.writes:
                    raise Usage(wrong)
                self.note(wrong)
        return found

    def show_answer(self, answer: "Answer") -> None:
        """Print an answer that is one document."""
        if not isinstance(answer.body, dict):
            raise Refused("The service's answer is no JSON object.")
        self.show(answer.body, answer.text)

    def written(self, resource: Resource, answer: "Answer", ident: str = "", extra: Document | None = None) -> None:
        """Print what a write made, as the read model has it then. `extra` has fields that no later read shows."""
        known = dict(answer.body) if isinstance(answer.body, dict) else {}
        command_id = str(known.get("command_id") or "")
        ident = ident or str(known.get("id") or "")
        if "version" in known or not self.options.wait or not ident or not command_id:
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
        """Wait for the verdict on a write, so that the next command sees its effect. Raises GsError."""
        if answer.status == 202 and self.options.wait and (command_id := answer.get("command_id")):
            from cli.gs.waiting import verdict

            verdict(self.client, command_id)

    def leave(self, task_ids: Sequence[str]) -> None:
        """Wait until tasks can be read, but not for their end, so that the next command finds them."""
        for task_id in task_ids:
            self.client.look(TASK.path(task_id), after=task_id)

    def finish(self, tasks: "Sequence[Started]") -> tuple[list[Document], bool]:
        """Wait for tasks, and print the faults of those that failed. Returns the tasks, and whether all finished."""
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
                first, *others = fault_lines(started, task)
                for line in (f"Error: {first}", *others):
                    self.note(line)
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
        """Print the instances that a command worked on: a single one as a document, several as a list."""
        if alone:
            for document in documents:
                self.show(document, raw)
        elif self.options.raw:
            import json

            write(escaped_json(raw or json.dumps({INSTANCE.plural: list(documents)}, ensure_ascii=False)) + "\n")
            self.told(name for each in documents for name in each)
        else:
            self.listing(documents, [*(columns or INSTANCE.columns), *([Column(besides)] if besides else [])])

    def found(self, resource: Resource, ident: str, *, after: str) -> Document | None:
        """Return a document as it is after a command or task; None if it does not exist any more."""
        try:
            answer = self.client.get(resource.path(ident), after=after)
        except Missing:
            return None
        return dict(answer.body) if isinstance(answer.body, dict) else None


def report(problem: GsError) -> None:
    """Print an error, and its hint if it has one, on standard error."""
    if not str(problem):
        return
    code = f" ({problem.code})" if problem.code else ""
    echo(f"Error: {problem}{code}", err=True)
    if problem.hint:
        echo(f"Hint: {problem.hint}", err=True)


class Outcomes:
    """The failures of a command on several resources: each is printed at once, and the first sets the exit status."""

    def __init__(self) -> None:
        self._first: GsError | None = None

    def failed(self, problem: GsError) -> None:
        """Print a failure, and record its exit status."""
        report(problem)
        self._first = self._first or problem

    def end(self) -> None:
        """Raise Failed if there was a failure."""
        if self._first is not None:
            raise Failed(self._first.exit_status)
