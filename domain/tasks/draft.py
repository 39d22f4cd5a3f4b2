"""A decision in the making: each event is applied as soon as it is decided, so that the next one is decided on it."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from domain.core.messages import Event

S = TypeVar("S")


class Draft(Generic[S]):
    """An aggregate with new events applied, and these events."""

    def __init__(self, subject_id: str, now: S | None, evolve: Callable[[S | None, Any, str], S]) -> None:
        self.id = subject_id
        self.after = now
        self.steps: list[tuple[S | None, Event, S]] = []
        """Each event, with the aggregate before and after it."""
        self._evolve = evolve

    @property
    def now(self) -> S:
        """The aggregate with the events so far; raises TypeError where there is none."""
        if self.after is None:
            raise TypeError(f"{self.id} does not exist yet")
        return self.after

    def emit(self, event: Event) -> None:
        """Add an event and apply it."""
        before, self.after = self.after, self._evolve(self.after, event, self.id)
        self.steps.append((before, event, self.after))
