"""Small things with a name: created, perhaps changed, deleted once, and nothing else to decide.

Why one place: that what is deleted is not there and never comes back, that a name is taken once, and that a change of
nothing is no event are the same for each. What a kind decides besides stands in its own file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from domain.core.errors import AlreadyExists, NotFound, deleted_at
from domain.core.messages import Command, Decision, Envelope, Event, Model, derived_id
from domain.core.names import must_be_name

S = TypeVar("S", bound=Model)


@dataclass(frozen=True)
class Named(Generic[S]):
    """The rules of a small kind; its state has `id`, `created`, `updated` and `deleted`, its events `at`."""

    kind: str
    state: type[S]
    create: type[Command]
    created: type[Event]
    """Event whose fields are the command's, `at`, and `project` where the thing belongs to one."""
    delete: type[Command]
    deleted: type[Event]
    update: type[Command] | None = None
    updated: type[Event] | None = None
    """Event whose fields are None where the thing stays as it was."""

    def evolve(self, now: S | None, event: Event, subject_id: str) -> S:
        """Return the thing after this event. Raises TypeError for an event that does not apply to it."""
        fact: Any = event
        if isinstance(event, self.created):
            return self.made(event, subject_id)
        if now is not None and isinstance(event, self.deleted):
            return now.but(deleted=fact.at, updated=fact.at)
        if now is not None and self.updated is not None and isinstance(event, self.updated):
            changes = {name: value for name, value in _fields(event) if value is not None}
            return now.but(updated=fact.at, **changes)
        raise TypeError(f"{event.type_name} does not apply to {self.kind} {subject_id}")

    def made(self, event: Event, subject_id: str, **more: Any) -> S:
        """Return the thing as the event creates it; `more` are fields of its state that are not in the event."""
        fact: Any = event
        return self.state(id=subject_id, created=fact.at, updated=fact.at, **dict(_fields(event)), **more)

    def decide(self, now: S | None, envelope: Envelope) -> Decision:
        """Return the events of a command. Raises AlreadyExists, NotFound, Invalid; TypeError for a command of another
        kind."""
        command, at = envelope.data, envelope.time
        if isinstance(command, self.create):
            must_be_name(name := getattr(command, "name"))  # noqa: B009
            if now is not None:
                raise AlreadyExists(kind=self.kind, id=name)
            project = {"project": envelope.project} if "project" in self.created.model_fields else {}
            return Decision([self.created(at=at, **project, **dict(command))])
        alive = self.alive(now, envelope)
        if isinstance(command, self.delete):
            return Decision([self.deleted(at=at)])
        if self.update is not None and self.updated is not None and isinstance(command, self.update):
            changes = {name: value for name, value in command if value not in (None, getattr(alive, name))}
            if "name" in changes:
                must_be_name(changes["name"])
            return Decision([self.updated(at=at, **changes)] if changes else [])
        article = "an" if self.kind[0] in "aeiou" else "a"
        raise TypeError(f"{command.type_name} is nothing {article} {self.kind} decides")

    def alive(self, now: S | None, envelope: Envelope) -> S:
        """Return the thing that the command is for. Raises NotFound for one that never existed or is deleted."""
        if now is None or not exists(now):
            deleted = deleted_at(now.deleted if now is not None else None)  # type: ignore[attr-defined]
            raise NotFound(kind=self.kind, id=envelope.subject.id, hint=deleted)
        return now


def heir_of(ident: str) -> str:
    """Return the id that a thing of a unique name has after the one with this id was deleted.

    It follows from the id before, so that of two that are created at once one is refused."""
    return derived_id(ident, "heir")


def exists(now: Any) -> bool:
    """Return whether a thing exists and is not deleted."""
    return now is not None and now.deleted is None


def _fields(event: Event) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in event if name != "at")
