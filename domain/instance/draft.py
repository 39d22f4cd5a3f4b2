"""A decision in the making: each event is applied as soon as it is decided, so that what follows sees it."""

from domain.core.messages import Event
from domain.instance.evolve import evolve
from domain.instance.state import Instance


class Draft:
    """The instance as it will be, and the events that make it so."""

    def __init__(self, instance_id: str, now: Instance | None) -> None:
        self.id = instance_id
        self.after = now
        self.steps: list[tuple[Instance | None, Event, Instance]] = []
        """Each event, with the instance before and after it."""

    @property
    def now(self) -> Instance:
        """The instance with the events so far; raises TypeError where there is none."""
        if self.after is None:
            raise TypeError(f"instance {self.id} does not exist yet")
        return self.after

    def emit(self, event: Event) -> None:
        """Record a fact."""
        before, self.after = self.after, evolve(self.after, event, self.id)
        self.steps.append((before, event, self.after))
