"""Parking: an aggregate that a record could not be applied to takes no commands until a person releases it.

Why messages of their own: they concern any kind of aggregate, and stand beside its stream, since its state is what
could not be changed. The processor deals with them itself, before anything is decided.
"""

from typing import Annotated, ClassVar

from domain.core.fields import PERSONAL
from domain.core.messages import Command, Event


class ReleaseAggregate(Command):
    """Let an aggregate take commands again."""

    kind = "parking"
    relieves: ClassVar[bool] = True


class ParkingEvent(Event):
    """Whether an aggregate takes commands."""

    abstract: ClassVar[bool] = True
    kind = "parking"

    why: Annotated[str, PERSONAL]


class AggregateParked(ParkingEvent):
    """It takes none from now on: the record at this place could not be applied."""

    place: str


class AggregateReleased(ParkingEvent):
    """It takes commands again; why it did not."""
