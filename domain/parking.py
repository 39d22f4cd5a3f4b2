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
    """A fact about whether an aggregate accepts commands."""

    abstract: ClassVar[bool] = True
    kind = "parking"

    why: Annotated[str, PERSONAL]


class AggregateParked(ParkingEvent):
    """The aggregate accepts no commands from now on: the record at this place could not be applied."""

    place: str


class AggregateReleased(ParkingEvent):
    """The aggregate accepts commands again; `why` is the reason for which it did not."""
