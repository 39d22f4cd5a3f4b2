"""What is said about a field of a command besides its type, for whoever makes commands of people's words."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Refers:
    """The field holds the id of something of this kind; people may write its name instead. Empty: nothing is meant."""

    kind: str
