"""Resources, as one value that can be added, subtracted and compared: of a host, or of an instance.

Why one value: a resource that is added here is asked for, held, shown and compared everywhere at once. Messages and
states inherit from it, so on the log its parts stand beside their other fields.
"""

from typing import Self

from domain.core.messages import Model


class Resources(Model):
    """An amount of each resource."""

    vcpus: int = 0
    memory: int = 0
    """Memory, in bytes of RAM."""
    disk: int = 0
    """Local disk space, in bytes."""

    @classmethod
    def of(cls, other: "Resources") -> "Resources":
        """Return the amounts alone, of something that has more fields than these."""
        return Resources(**{name: getattr(other, name) for name in RESOURCES})

    def amounts(self) -> dict[str, int]:
        """Return each resource's amount by its name."""
        return {name: getattr(self, name) for name in RESOURCES}

    def add(self, other: "Resources") -> Self:
        """Return the sum of these and the other's amounts."""
        return self.but(**{name: getattr(self, name) + getattr(other, name) for name in RESOURCES})

    def subtract(self, other: "Resources") -> Self:
        """Return these amounts less the other's; a difference may be below zero."""
        return self.but(**{name: getattr(self, name) - getattr(other, name) for name in RESOURCES})

    def fits(self, room: "Resources") -> bool:
        """Return whether there is room for every amount."""
        return all(getattr(self, name) <= getattr(room, name) for name in RESOURCES)


RESOURCES: tuple[str, ...] = tuple(Resources.model_fields)
"""Names of all resources, in the order in which people read them."""
