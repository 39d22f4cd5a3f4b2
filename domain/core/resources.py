"""What a host has and an instance needs, as one value that can be added, subtracted and compared.

Why one value: a resource that is added here is asked for, held, shown and compared everywhere at once. Messages and
states inherit from it, so on the log its parts stand beside their other fields.
"""

from typing import Self

from domain.core.messages import Model


class Resources(Model):
    """An amount of each resource."""

    vcpus: int = 0
    memory: int = 0
    """Bytes."""
    disk: int = 0
    """Bytes."""

    @classmethod
    def of(cls, other: "Resources") -> "Resources":
        """The amounts alone, of something that has more than these."""
        return Resources(**{name: getattr(other, name) for name in RESOURCES})

    def amounts(self) -> dict[str, int]:
        """Name of each resource -> its amount."""
        return {name: getattr(self, name) for name in RESOURCES}

    def add(self, other: "Resources") -> Self:
        """This with the other's amounts added."""
        return self.but(**{name: getattr(self, name) + getattr(other, name) for name in RESOURCES})

    def subtract(self, other: "Resources") -> Self:
        """This with the other's amounts taken away; what is left may be below zero."""
        return self.but(**{name: getattr(self, name) - getattr(other, name) for name in RESOURCES})

    def fits(self, room: "Resources") -> bool:
        """Whether there is room for all of it."""
        return all(getattr(self, name) <= getattr(room, name) for name in RESOURCES)


RESOURCES: tuple[str, ...] = tuple(Resources.model_fields)
"""Names of all resources, in the order in which people read them."""
